//! Access is taken away, and nothing of it is left: seen from outside, on real machines.

#![allow(
    clippy::print_stdout,
    reason = "how much was tried, and how long it took, is part of what they show"
)]

mod disk;
mod expiry;
mod hostile;
mod kills;
mod links;
mod traces;
