//! Berth's server: requests write facts, loops make them true.

pub mod api;
pub mod app;
pub mod clock;
pub mod config;
#[cfg(any(test, fuzzing))]
pub mod laws;
pub mod metrics;
mod private;
pub mod reach;
pub mod reconcile;
#[cfg(test)]
#[path = "../../fuzz/replay.rs"]
mod replay;
pub mod seal;
pub mod secret;
pub mod serve;
pub mod store;
pub mod tls;
