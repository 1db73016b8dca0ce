//! Words and pure decisions of Berth: no IO, no async, no clock. `now` is always an argument.
//!
//! Text from outside becomes a type here once, at the door; everything past it holds.

pub mod account;
pub mod adoption;
pub mod allocate;
pub mod audit;
pub mod auth;
pub mod breaker;
pub mod cleaning;
pub mod dial;
pub mod duration;
pub mod id;
#[cfg(any(test, fuzzing))]
pub mod laws;
pub mod listing;
pub mod machine;
pub mod name;
mod object;
pub mod phase;
pub mod pool;
#[cfg(test)]
#[path = "../../fuzz/replay.rs"]
mod replay;
pub mod report;
pub mod reservation;
pub mod service;
pub mod session;
pub mod spec;
pub mod ssh;
#[cfg(feature = "schema")]
pub mod text;
pub mod uids;
pub mod visit;
pub mod wire;

pub use id::{AccountId, AssignmentId, Epoch, Incarnation, MachineId, ReservationId, TokenId};
pub use jiff::Timestamp;
pub use name::{AccountName, GroupName, Labels, MachineName, PoolName, UserName};
pub use uids::UidRange;

/// Input that was refused: the field it stood in and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{field}`: {why}")]
pub struct Invalid {
    pub field: &'static str,
    pub why: String,
    /// It is well formed, and cannot be done all the same: for the time, who asks, or what else is asked.
    pub is_unfit: bool,
}

impl Invalid {
    pub fn new(field: &'static str, why: impl Into<String>) -> Self {
        Self { field, why: why.into(), is_unfit: false }
    }

    pub fn unfit(field: &'static str, why: impl Into<String>) -> Self {
        Self { is_unfit: true, ..Self::new(field, why) }
    }
}

/// Serialises a type as its text and parses it back through `FromStr`, so that no value skips its checks.
macro_rules! serde_as_text {
    ($type:ty) => {
        impl serde::Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                to.serialize_str(self.as_str())
            }
        }
        impl<'de> serde::Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                let text = <String as serde::Deserialize>::deserialize(from)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}
pub(crate) use serde_as_text;
