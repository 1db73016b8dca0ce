#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| cli::inventory_law(bytes));
