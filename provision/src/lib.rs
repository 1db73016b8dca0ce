//! Where machines come from. A provider makes them, lists what it made and destroys them; what is on them is
//! the agent's business. Machines that somebody registered by hand need no provider.

pub mod docker;
pub mod provider;
pub mod simulated;

pub use docker::Docker;
pub use futures_util::future::BoxFuture;
pub use provider::{Order, Place, ProvideError, Provider, Purpose};
pub use simulated::{Door, DoorError, Simulated};
