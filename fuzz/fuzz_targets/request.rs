#![no_main]

// What the doors take from the library is the core's.
extern crate strongroom_core as strongroom;

#[path = "../targets/doors.rs"]
mod doors;
#[path = "../targets/request.rs"]
mod target;

libfuzzer_sys::fuzz_target!(|data: &[u8]| target::run(data));
