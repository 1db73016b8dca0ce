//! A machine as the database knows it: facts only; its state is computed in [`crate::phase`].

use crate::listing::Listing;
use crate::report::Facts;
use crate::reservation::OnFailure;
use crate::session::Quarantine;
use crate::ssh::Ssh;
use crate::{AssignmentId, Incarnation, Labels, MachineId, MachineName, PoolName, ReservationId, UidRange};
use jiff::{SignedDuration, Timestamp};
use std::fmt;
use std::str::FromStr;

/// UIDs given to accounts, each once per incarnation: above login.defs' UID_MAX and systemd's ranges, below the
/// first subordinate ids.
pub const FIRST_UID: u32 = 66_000;
pub const LAST_UID: u32 = 99_999;
/// Given once in a whole fleet: above every subordinate id in use, and no negative `int`.
const FLEET: UidRange = UidRange { first: 2_000_300_000, last: 2_000_999_999 };

/// Where the UIDs of a machine's accounts come from. Each is given once, and never again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Uids {
    /// Counted by each machine for itself.
    Own(UidRange),
    /// Counted by all machines of this kind together, so that files they share tell their owners apart.
    Fleet,
}

impl Uids {
    pub fn range(self) -> UidRange {
        match self {
            Self::Own(range) => range,
            Self::Fleet => FLEET,
        }
    }
}

impl Default for Uids {
    fn default() -> Self {
        Self::Own(UidRange::default())
    }
}

impl fmt::Display for Uids {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Own(range) => range.fmt(f),
            Self::Fleet => f.write_str("fleet"),
        }
    }
}

impl FromStr for Uids {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "fleet" {
            return Ok(Self::Fleet);
        }
        text.parse().map(Self::Own).map_err(|why| format!("{why}; or `fleet`"))
    }
}

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
    pub uids: Uids,
    /// Where its own count has got to.
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
    pub quarantined: Option<Quarantine>,
    pub set_aside: Option<SetAside>,
    /// How often in a row it could not be made ready; sets the length of the next time aside.
    pub failures: u32,
    /// The one open assignment, if any.
    pub holding: Option<Holding>,
    /// Present if the server logs in to it; absent: an agent of its own has always spoken for it.
    pub ssh: Option<Ssh>,
    /// Present if it is listed and looked at only.
    pub listing: Option<Listing>,
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
    /// Its account may become root, so that no agent can vouch for the machine afterwards.
    pub sudo: bool,
    pub on_failure: OnFailure,
    pub ready: bool,
    /// The machine said that this account cannot be made there.
    pub refused: bool,
    /// How often the machine tried to get clean, and what it said last.
    pub attempts: u32,
    pub last_error: Option<String>,
}

impl Holding {
    /// Its time is over, and its account is to be taken away.
    pub fn is_leaving(&self, now: Timestamp) -> bool {
        self.ended_at.is_some() || self.expires_at <= now
    }
}

impl Machine {
    pub fn uids_left(&self) -> u32 {
        (self.uids.range().last + 1).saturating_sub(self.next_uid)
    }

    /// When it counts as failed, if it stays silent until then, so that another has to take its place. Absent where nobody
    /// was promised that. Before `hearing_since` we could not have heard it, so that much is not held against it.
    pub fn fails_at(&self, hearing_since: Timestamp, patience: SignedDuration) -> Option<Timestamp> {
        let holding = self.holding.as_ref()?;
        if holding.on_failure == OnFailure::Keep || !holding.ready || holding.ended_at.is_some() {
            return None;
        }
        let heard_at = self.seen_at.unwrap_or(holding.since).max(hearing_since);
        Some(heard_at.saturating_add(patience).unwrap_or(Timestamp::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::phase::tests::{held, machine};

    #[test]
    fn uids_are_a_range_or_the_fleets() {
        for text in ["fleet", "20000-60000", "66000-99999"] {
            assert_eq!(text.parse::<Uids>().map(|uids| uids.to_string()), Ok(text.to_owned()));
        }
        assert_eq!(FLEET.to_string().parse(), Ok(FLEET));
        assert!("Fleet".parse::<Uids>().unwrap_err().ends_with("or `fleet`"));
    }

    #[test]
    fn only_a_machine_that_worked_and_whose_holder_wants_another_fails() {
        fn at(second: i64) -> Timestamp {
            Timestamp::from_second(second).unwrap()
        }
        let patience = SignedDuration::from_secs(100);
        let fails_at = |change: fn(&mut Machine, &mut Holding), hearing_since| {
            let mut holding = Holding { on_failure: OnFailure::Replace, ..held(1000) };
            let mut machine = machine("m");
            change(&mut machine, &mut holding);
            machine.holding = Some(holding);
            machine.fails_at(at(hearing_since), patience)
        };
        assert_eq!(fails_at(|machine, _| machine.seen_at = Some(at(7)), 0), Some(at(107)));
        assert_eq!(fails_at(|machine, _| machine.seen_at = Some(at(7)), 50), Some(at(150)), "we were deaf");
        assert_eq!(fails_at(|machine, _| machine.seen_at = None, 0), Some(at(100)));
        assert_eq!(fails_at(|_, holding| holding.on_failure = OnFailure::Keep, 0), None);
        assert_eq!(fails_at(|_, holding| holding.ready = false, 0), None);
        assert_eq!(fails_at(|_, holding| holding.ended_at = Some(Timestamp::UNIX_EPOCH), 0), None);
        assert_eq!(machine("m").fails_at(at(0), patience), None);
    }
}
