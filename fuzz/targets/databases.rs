#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| playbooks::unix::laws::databases(bytes));
