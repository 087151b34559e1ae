//! Whole calls with real clients, a file for each thing that is proven. One binary: they share a network namespace.
#![allow(clippy::unwrap_used)]

mod booking;
mod keypad;
