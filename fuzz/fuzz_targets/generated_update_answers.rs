#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    imgplan_fuzz::generated::update_answers(input);
});
