//! Berth's agent: converges one machine to what the server wants of it, and takes access away in time without the
//! server.
//!
//! [`converge::converge`] is all it does to a machine; [`sync::run`] and [`once::once`] are two ways to be told, and
//! [`watch::watch`] goes by what a visit has told.

pub mod clean;
pub mod clock;
pub mod converge;
pub mod identity;
pub mod install;
pub mod keeper;
pub mod launch;
#[cfg(any(test, fuzzing))]
pub mod laws;
pub mod ledger;
pub mod link;
pub mod moment;
pub mod notice;
pub mod observe;
pub mod once;
pub mod plan;
pub mod records;
#[cfg(test)]
#[path = "../../fuzz/replay.rs"]
mod replay;
pub mod resident;
mod service;
pub mod sync;
pub mod trust;
pub mod turn;
pub mod watch;

pub use clock::Clock;
pub use identity::Identity;
pub use launch::Launch;
pub use link::Link;
pub use moment::Moment;
pub use sync::Outcome;
pub use trust::Trust;
