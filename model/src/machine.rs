//! A machine as the database knows it: facts only; its state is computed in [`crate::phase`].

use crate::report::Facts;
use crate::{AssignmentId, Incarnation, Labels, MachineId, MachineName, PoolName, ReservationId};
use jiff::Timestamp;

/// UIDs given to accounts, each once per incarnation: above login.defs' UID_MAX and systemd's ranges, below the
/// first subordinate ids.
pub const FIRST_UID: u32 = 66_000;
pub const LAST_UID: u32 = 99_999;

#[derive(Debug, Clone, PartialEq)]
pub struct Machine {
    pub id: MachineId,
    pub name: MachineName,
    pub host: String,
    pub port: u16,
    pub labels: Labels,
    /// The pool that made it and will destroy it; absent: registered by somebody.
    pub pool: Option<PoolName>,
    pub created_at: Timestamp,
    /// Absent until an agent has enrolled.
    pub incarnation: Option<Incarnation>,
    pub next_uid: u32,
    /// Of the newest spec.
    pub generation: u64,
    /// Of the newest report.
    pub seen_generation: u64,
    pub seen_at: Option<Timestamp>,
    /// What the newest report said stands in the way.
    pub problem: Option<String>,
    pub facts: Facts,
    pub cordoned_at: Option<Timestamp>,
    pub retired_at: Option<Timestamp>,
    pub set_aside: Option<SetAside>,
    /// How often in a row it could not be made ready; sets the length of the next time aside.
    pub failures: u32,
    /// The one open assignment, if any.
    pub holding: Option<Holding>,
}

/// Kept back for a while after it could not be made ready.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetAside {
    pub until: Timestamp,
    pub why: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holding {
    pub assignment: AssignmentId,
    pub reservation: ReservationId,
    pub since: Timestamp,
    /// When access ends by itself.
    pub expires_at: Timestamp,
    /// When the reservation ended, or this machine was given up for it.
    pub ended_at: Option<Timestamp>,
    pub ready: bool,
    /// The machine said that this account cannot be made there.
    pub refused: bool,
    /// How often the machine tried to get clean, and what it said last.
    pub attempts: u32,
    pub last_error: Option<String>,
}

impl Machine {
    pub fn uids_left(&self) -> u32 {
        (LAST_UID + 1).saturating_sub(self.next_uid)
    }
}
