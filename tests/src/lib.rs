//! The harness: a farm of pretend machines with real agents around a real server, and a clock that a test turns.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a harness that cannot go on says so and stops the test"
)]

pub mod clock;
pub mod container;
pub mod database;
pub mod farm;
pub mod inventory;
pub mod law;
pub mod look;
pub mod port;
pub mod real;
pub mod sshd;
pub mod yard;

pub use clock::FakeClock;
pub use database::Database;
pub use farm::{Farm, Lent, ask};
pub use look::{has_account, ours};
pub use yard::Yard;
