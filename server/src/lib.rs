//! Berth's server: requests write facts, loops make them true.

pub mod api;
pub mod app;
pub mod clock;
pub mod config;
pub mod metrics;
pub mod reach;
pub mod reconcile;
pub mod seal;
pub mod secret;
pub mod serve;
pub mod store;
pub mod tls;
