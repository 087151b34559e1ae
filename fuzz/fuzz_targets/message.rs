//! Any bytes as a message; `sip-stack/tests/corpus` runs the same function over the corpus on stable.
#![no_main]

#[path = "../../sip-stack/tests/corpus/look.rs"]
mod look;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| look::message(bytes));
