//! Hands bytes to `targets::load`, which says what must hold.

#![no_main]

#[path = "../targets.rs"]
mod targets;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| targets::load(bytes));
