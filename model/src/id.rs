//! Ids: UUIDv7, made of a given `now`, so that they sort by the time they were made at.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr, sync::Mutex};
use uuid::{ContextV7, Uuid};

/// Keeps ids of one millisecond in the order they were made.
static SEQUENCE: Mutex<ContextV7> = Mutex::new(ContextV7::new());

fn uuid_at(now: Timestamp) -> Uuid {
    let seconds = now.as_second().max(0) as u64;
    let nanos = now.subsec_nanosecond().max(0) as u32;
    let sequence = SEQUENCE.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    Uuid::new_v7(uuid::Timestamp::from_unix(&*sequence, seconds, nanos))
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
        #[serde(transparent)]
        pub struct $name(Uuid);

        impl $name {
            pub fn new(now: Timestamp) -> Self {
                Self(uuid_at(now))
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
        impl FromStr for $name {
            type Err = uuid::Error;
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                text.parse().map(Self)
            }
        }
    };
}

id!(MachineId);
id!(ReservationId);
id!(AccountId);
id!(TokenId);
id!(
    /// One machine held for one reservation; the key of an account on a machine.
    AssignmentId
);
id!(
    /// One life of a machine: a new one begins when an agent enrols. UIDs are never reused within one.
    Incarnation
);
id!(
    /// One life of a database: made with it, so that an agent can tell an empty or foreign server from its own.
    Epoch
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_one_instant_keep_their_order() {
        let now: Timestamp = "2026-01-02T03:04:05Z".parse().unwrap();
        let made: Vec<_> = (0..1000).map(|_| MachineId::new(now)).collect();
        assert!(made.is_sorted());
        assert_eq!(made[0], made[0].to_string().parse().unwrap());
    }
}
