//! Ways to a machine.

mod address;
mod agent;
pub mod probe;
pub mod ssh;

pub use agent::Agents;
pub use ssh::{Ssh, VisitError};
