//! How a machine is changed: the [`Host`] trait, behind which everything lies that an agent does to a machine, and
//! the Unix account databases as pure edits.

pub mod fake;
pub mod host;
mod kernel;
pub mod real;
#[cfg(test)]
#[path = "../../fuzz/replay.rs"]
mod replay;
pub mod unix;

pub use fake::{FakeHost, When};
pub use host::{Cleared, Db, Found, Home, Host, Litter, Who};
pub use real::RealHost;
