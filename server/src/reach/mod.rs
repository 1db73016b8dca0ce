//! Ways to a machine.

mod agent;

pub use agent::Agents;
