//! Berth's typed client: one method per route of the server's API, errors worded for whoever must act.

mod answer;
mod client;
#[cfg(test)]
mod client_tests;
mod error;
mod filter;
mod stream;

pub use answer::Answer;
pub use client::{Client, is_private_enough};
pub use error::Error;
pub use filter::{EventFilter, MachineFilter, ReservationFilter, Slice, phase_word};
pub use stream::EventStream;
