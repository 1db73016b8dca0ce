//! Berth's typed client: one method per route of the server's API, errors worded for whoever must act.

mod answer;
mod client;
#[cfg(test)]
mod client_tests;
mod error;
mod filter;
mod stream;
// Of the binary, for the fuzzer.
#[cfg(fuzzing)]
#[allow(dead_code, unused_imports)]
mod inventory;
#[cfg(fuzzing)]
#[allow(dead_code)]
mod labels;

pub use answer::Answer;
pub use client::{Client, is_private_enough};
pub use error::Error;
pub use filter::{EventFilter, MachineFilter, ReservationFilter, Slice, phase_word};
pub use stream::EventStream;

/// See `fuzz/targets`.
#[cfg(fuzzing)]
pub fn inventory_law(bytes: &[u8]) {
    inventory::laws::listed(bytes);
}
