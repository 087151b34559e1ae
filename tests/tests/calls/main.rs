//! Whole calls with real clients, a file for each thing that is proven. One binary: they share a network namespace.
#![allow(clippy::unwrap_used)]

mod admin;
mod agents;
mod bad_input;
mod barge_in;
mod booking;
mod carriers;
mod channels;
mod company;
mod crash;
mod credit;
mod encrypted;
mod faults;
mod flood;
mod gateways;
mod keypad;
mod linphone;
mod listen;
mod live;
mod moved;
mod outbound;
mod races;
mod recorded;
mod released;
mod reviewer;
mod sequential;
mod softphone;
mod startup;
mod strangers;
mod transfer;
mod trunk;
mod vendors;
