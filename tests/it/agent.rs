//! The agent alone: what it makes of one machine, and how it hears of it.

mod bench;
mod broken;
mod clock;
mod converge;
mod given;
mod link;
mod once;
mod sync;
mod watch;
