#![no_main]

#[path = "../records.rs"]
mod records;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| records::tls_records(bytes));
