//! The visible states, each computed from stored facts in one place.

use crate::machine::Machine;
use crate::reservation::{Assignment, Reservation};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// After so many failed tries to get clean a machine asks for an operator; its agent goes on trying.
pub const CLEAN_TRIES: u32 = 5;

/// Where a reservation, or one machine of it, stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Accounts are being made.
    Pending,
    /// Log-in works on every machine.
    Ready,
    /// Accounts are being taken away.
    Ending,
    /// Nothing of it is left on any machine.
    Ended,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MachineState {
    /// Observed clean; may be given to the next one who asks.
    Free,
    Held,
    /// Has to be observed clean, at its newest generation, before anything else.
    Cleaning,
    Maintenance(String),
    /// Not heard of for longer than the time to live.
    Unreachable {
        since: Timestamp,
    },
    /// Taken out of service; goes when nothing is left on it.
    Retiring,
}

impl MachineState {
    pub const NAMES: [&str; 6] = ["free", "held", "cleaning", "maintenance", "unreachable", "retiring"];

    pub fn name(&self) -> &'static str {
        match self {
            Self::Free => "free",
            Self::Held => "held",
            Self::Cleaning => "cleaning",
            Self::Maintenance(_) => "maintenance",
            Self::Unreachable { .. } => "unreachable",
            Self::Retiring => "retiring",
        }
    }
}

pub fn machine_state(machine: &Machine, now: Timestamp, ttl: Duration) -> MachineState {
    if machine.retired_at.is_some() {
        return MachineState::Retiring;
    }
    if let Some(holding) = &machine.holding {
        let leaving = holding.ended || holding.expires_at <= now;
        return match (&holding.last_error, leaving) {
            (_, false) => MachineState::Held,
            (Some(why), true) if holding.attempts >= CLEAN_TRIES => {
                MachineState::Maintenance(format!("could not clean: {why}"))
            }
            (_, true) => MachineState::Cleaning,
        };
    }
    if machine.cordoned_at.is_some() {
        return MachineState::Maintenance("cordoned".to_owned());
    }
    let Some(seen_at) = machine.seen_at else {
        return MachineState::Unreachable { since: machine.created_at };
    };
    if now.duration_since(seen_at) > jiff::SignedDuration::try_from(ttl).unwrap_or(jiff::SignedDuration::MAX)
    {
        return MachineState::Unreachable { since: seen_at };
    }
    if let Some(aside) = machine.set_aside.as_ref().filter(|aside| now < aside.until) {
        return MachineState::Maintenance(aside.why.clone());
    }
    if let Some(problem) = &machine.problem {
        return MachineState::Maintenance(problem.clone());
    }
    if machine.uids_left() == 0 {
        return MachineState::Maintenance("its UIDs are used up: retire it and register it anew".to_owned());
    }
    if machine.seen_generation != machine.generation {
        return MachineState::Cleaning;
    }
    MachineState::Free
}

pub fn reservation_phase(reservation: &Reservation, now: Timestamp) -> Phase {
    let open = |seat: &&Assignment| seat.cleaned_at.is_none();
    if reservation.ended_at.is_some() {
        return if reservation.seats.iter().any(|seat| open(&seat)) { Phase::Ending } else { Phase::Ended };
    }
    if reservation.expires_at <= now {
        return Phase::Ending;
    }
    let ready = reservation.live_seats().filter(|seat| seat.ready_at.is_some()).count();
    if ready >= reservation.count as usize { Phase::Ready } else { Phase::Pending }
}

/// The same for one machine of a reservation.
pub fn seat_phase(reservation: &Reservation, seat: &Assignment, now: Timestamp) -> Phase {
    let leaving =
        reservation.ended_at.is_some() || reservation.expires_at <= now || seat.given_up_at.is_some();
    match (seat.cleaned_at, leaving, seat.ready_at) {
        (Some(_), _, _) => Phase::Ended,
        (None, true, _) => Phase::Ending,
        (None, false, Some(_)) => Phase::Ready,
        (None, false, None) => Phase::Pending,
    }
}
