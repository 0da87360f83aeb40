#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| rowmill::checks::check_job_file(bytes));
