//! Everything over TLS, and nothing to those who are not who they should be.

mod agent;
pub(crate) mod authority;
mod impostor;
mod process;
mod server;
