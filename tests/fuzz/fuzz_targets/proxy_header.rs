#![no_main]

#[path = "../properties.rs"]
#[allow(dead_code, reason = "each target looks at one of them")]
mod properties;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| properties::proxy_header(bytes));
