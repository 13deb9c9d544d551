#![no_main]
#[path = "../targets/mod.rs"]
#[allow(dead_code, reason = "each binary takes one of them")]
mod targets;

libfuzzer_sys::fuzz_target!(|data: &[u8]| targets::packets::run(data));
