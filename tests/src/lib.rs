//! Whole calls with real clients.
