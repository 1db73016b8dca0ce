//! What every source of machines can do.

use futures_util::future::BoxFuture;
use model::pool::{Listed, Size};
use model::service::Service;
use model::{MachineId, MachineName, PoolName};
use std::fmt;

/// A source of machines. Every call may be repeated: the second one finds what the first one did.
pub trait Provider: Send + Sync {
    /// As in a pool's `provider`.
    fn kind(&self) -> &'static str;

    /// Where its machines are, if another one of its kind could not see them: servers on other hosts have other ones.
    fn home(&self) -> BoxFuture<'_, Result<Option<String>, ProvideError>> {
        Box::pin(async { Ok(None) })
    }

    /// Makes the machine, or finishes making it, and starts its agent. Idempotent on the order's id.
    fn create<'a>(&'a self, order: &'a Order) -> BoxFuture<'a, Result<Place, ProvideError>>;

    /// The machines of this pool that exist and are ours: one complete answer or an error, never a part. One
    /// whose making was cut short is left out, so that it is created again; `destroy` finds it all the same.
    fn list_owned<'a>(&'a self, pool: &'a PoolName) -> BoxFuture<'a, Result<Vec<Listed>, ProvideError>>;

    /// Returns when the machine is gone; one that does not exist is.
    fn destroy<'a>(&'a self, id: MachineId) -> BoxFuture<'a, Result<(), ProvideError>>;
}

/// A machine to be made.
#[derive(Clone)]
pub struct Order {
    pub id: MachineId,
    pub name: MachineName,
    pub pool: PoolName,
    /// What it is made of; empty where the provider knows only one thing.
    pub image: String,
    pub purpose: Purpose,
}

/// What a machine is for.
#[derive(Clone)]
pub enum Purpose {
    /// Somebody is to log in.
    Lent {
        /// How large it is, where the provider can tell; absent: as its kind of machine usually is.
        size: Option<Size>,
        /// Lets its agent enrol, once.
        join_token: String,
    },
    /// It runs what its image has in it.
    Service {
        service: Service,
        /// Its own secret.
        token: String,
    },
}

/// The tokens stay out of every log.
impl fmt::Debug for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { id, name, pool, image, purpose: _ } = self;
        write!(f, "Order({name}, {id}, pool {pool}, image {image:?})")
    }
}

/// Where people log in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    pub host: String,
    pub port: u16,
}

/// Told apart by what there is to do; the text is for an operator.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProvideError {
    /// It will never work as asked for: change the pool, or make what it names.
    #[error("{0}")]
    Invalid(String),
    /// Something that is not ours is in the way; it is left alone.
    #[error("{0}")]
    Conflict(String),
    /// We may not.
    #[error("{0}")]
    Denied(String),
    /// Later it may work.
    #[error("{0}")]
    Transient(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_does_not_show_its_token() {
        let order = Order {
            id: MachineId::new(model::Timestamp::UNIX_EPOCH),
            name: "m1".parse().unwrap(),
            pool: "p".parse().unwrap(),
            image: "berth-debian".to_owned(),
            purpose: Purpose::Lent { size: None, join_token: "tell-nobody".to_owned() },
        };
        assert!(!format!("{order:?}").contains("tell-nobody"));
    }
}
