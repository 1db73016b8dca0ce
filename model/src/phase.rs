//! The visible states, each computed from stored facts in one place.

use crate::machine::Machine;
use crate::reservation::{Assignment, Reservation};
use crate::ssh::Ssh;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// After so many failed tries to get clean a machine asks for an operator; its agent goes on trying.
pub const CLEAN_TRIES: u32 = 5;

/// Where a reservation, or one machine of it, stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
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
    /// Looked at only; never given to anybody.
    Listed,
}

impl MachineState {
    pub const NAMES: [&str; 7] =
        ["free", "held", "cleaning", "maintenance", "unreachable", "retiring", "listed"];

    pub fn name(&self) -> &'static str {
        match self {
            Self::Free => "free",
            Self::Held => "held",
            Self::Cleaning => "cleaning",
            Self::Maintenance(_) => "maintenance",
            Self::Unreachable { .. } => "unreachable",
            Self::Retiring => "retiring",
            Self::Listed => "listed",
        }
    }
}

pub fn machine_state(machine: &Machine, now: Timestamp, ttl: Duration) -> MachineState {
    if machine.retired_at.is_some() {
        return MachineState::Retiring;
    }
    if machine.listing.is_some() {
        return MachineState::Listed;
    }
    if let Some(quarantine) = machine.quarantined {
        return MachineState::Maintenance(quarantine.to_string());
    }
    if let Some(holding) = &machine.holding {
        return match (&holding.last_error, holding.is_leaving(now)) {
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
    if let Some(ssh) = machine.ssh.as_ref().filter(|ssh| ssh.host_key.is_none()) {
        return MachineState::Maintenance(unpinned(ssh));
    }
    if let Some(since) = silent_since(machine, now, ttl) {
        return MachineState::Unreachable { since };
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

/// Since when it was not heard of, if that is for longer than the time to live; whoever is on it may be there still.
pub fn silent_since(machine: &Machine, now: Timestamp, ttl: Duration) -> Option<Timestamp> {
    let Some(seen_at) = machine.seen_at else { return Some(machine.created_at) };
    let ttl = jiff::SignedDuration::try_from(ttl).unwrap_or(jiff::SignedDuration::MAX);
    (now.duration_since(seen_at) > ttl).then_some(seen_at)
}

/// No credential goes to a machine that nobody vouches for.
fn unpinned(ssh: &Ssh) -> String {
    match (&ssh.offered, &ssh.error) {
        (Some(_), _) => "its SSH host key waits for somebody to confirm it".to_owned(),
        (None, Some(error)) => format!("its SSH host key could not be seen: {error}"),
        (None, None) => "its SSH host key was not seen yet".to_owned(),
    }
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

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::listing::Listing;
    use crate::machine::{FIRST_UID, Holding, LAST_UID, SetAside, Uids};
    use crate::reservation::OnFailure;
    use crate::session::Quarantine;
    use crate::{AssignmentId, Incarnation, Labels, MachineId, ReservationId};

    const TTL: Duration = Duration::from_secs(60);

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    /// Free at the beginning of time.
    pub(crate) fn machine(name: &str) -> Machine {
        Machine {
            id: MachineId::new(at(0)),
            name: name.parse().unwrap(),
            host: "127.0.0.1".to_owned(),
            port: 22,
            labels: Labels::default(),
            pool: None,
            created_at: at(0),
            incarnation: Some(Incarnation::new(at(0))),
            uids: Uids::default(),
            next_uid: FIRST_UID,
            generation: 3,
            seen_generation: 3,
            seen_at: Some(at(0)),
            problem: None,
            facts: crate::report::Facts::default(),
            cordoned_at: None,
            retired_at: None,
            quarantined: None,
            set_aside: None,
            failures: 0,
            holding: None,
            ssh: None,
            listing: None,
        }
    }

    pub(crate) fn held(expires_at: i64) -> Holding {
        Holding { expires_at: at(expires_at), ..holding() }
    }

    fn holding() -> Holding {
        Holding {
            assignment: AssignmentId::new(at(0)),
            reservation: ReservationId::new(at(0)),
            since: at(0),
            expires_at: at(50),
            ended_at: None,
            sudo: false,
            on_failure: OnFailure::Keep,
            ready: true,
            refused: false,
            attempts: 0,
            last_error: None,
        }
    }

    fn state(change: impl FnOnce(&mut Machine), second: i64) -> String {
        let mut machine = machine("m");
        change(&mut machine);
        match machine_state(&machine, at(second), TTL) {
            MachineState::Maintenance(why) => format!("maintenance: {why}"),
            other => other.name().to_owned(),
        }
    }

    #[test]
    fn a_machine_is_free_only_when_nothing_speaks_against_it() {
        assert_eq!(state(|_| {}, 60), "free");
        assert_eq!(state(|_| {}, 61), "unreachable");
        assert_eq!(state(|machine| machine.seen_at = None, 0), "unreachable");
        assert_eq!(state(|machine| machine.generation = 4, 0), "cleaning");
        assert_eq!(state(|machine| machine.cordoned_at = Some(at(0)), 0), "maintenance: cordoned");
        assert_eq!(
            state(|machine| machine.problem = Some("full disk".to_owned()), 0),
            "maintenance: full disk"
        );
        assert_eq!(state(|machine| machine.retired_at = Some(at(0)), 0), "retiring");
        assert!(state(|machine| machine.next_uid = LAST_UID + 1, 0).contains("UIDs are used up"));
        let other = Uids::Own("20000-60000".parse().unwrap());
        assert_eq!(state(|machine| (machine.uids, machine.next_uid) = (other, 60_000), 0), "free");
        assert!(
            state(|machine| (machine.uids, machine.next_uid) = (other, 60_001), 0)
                .contains("UIDs are used up")
        );
        let aside = SetAside { until: at(10), why: "slow".to_owned() };
        assert_eq!(state(|machine| machine.set_aside = Some(aside.clone()), 9), "maintenance: slow");
        assert_eq!(state(|machine| machine.set_aside = Some(aside), 10), "free");
    }

    #[test]
    fn a_machine_somebody_had_is_held_then_cleaned_then_asks_for_help() {
        let held = |change: fn(&mut Holding)| {
            move |machine: &mut Machine| {
                let mut holding = holding();
                change(&mut holding);
                machine.holding = Some(holding);
            }
        };
        assert_eq!(state(held(|_| {}), 49), "held");
        assert_eq!(state(held(|_| {}), 50), "cleaning");
        assert_eq!(state(held(|holding| holding.ended_at = Some(at(1))), 2), "cleaning");
        let failing = |holding: &mut Holding| {
            (holding.attempts, holding.last_error) = (CLEAN_TRIES, Some("busy".to_owned()));
        };
        assert_eq!(state(held(failing), 49), "held");
        assert_eq!(state(held(failing), 50), "maintenance: could not clean: busy");
    }

    #[test]
    fn a_listed_machine_is_never_free() {
        let listed = |machine: &mut Machine| machine.listing = Some(Listing::default());
        assert_eq!([state(listed, 0), state(listed, 61)], ["listed", "listed"]);
        let retired = |machine: &mut Machine| {
            (machine.listing, machine.retired_at) = (Some(Listing::default()), Some(at(0)));
        };
        assert_eq!(state(retired, 0), "retiring");
    }

    #[test]
    fn a_quarantined_machine_is_kept_back_whatever_else_it_says() {
        let quarantined = |quarantine| {
            move |machine: &mut Machine| {
                (machine.quarantined, machine.holding) = (Some(quarantine), Some(holding()));
            }
        };
        assert!(
            state(quarantined(Quarantine::Cloned), 0).starts_with("maintenance: two machines use its key")
        );
        assert!(state(quarantined(Quarantine::Ahead), 60).contains("was a backup restored?"));
        assert!(
            state(|machine| machine.quarantined = Some(Quarantine::Cloned), 0).starts_with("maintenance")
        );
    }

    fn reservation(seats: Vec<Assignment>) -> Reservation {
        Reservation {
            owner: None,
            id: ReservationId::new(at(0)),
            username: "alice".parse().unwrap(),
            count: 2,
            labels: Labels::default(),
            named: false,
            sudo: false,
            on_failure: OnFailure::Keep,
            created_at: at(0),
            expires_at: at(50),
            ended_at: None,
            ended_by: None,
            seats,
        }
    }

    fn seat(ready: bool) -> Assignment {
        let machine = machine("m");
        Assignment {
            id: AssignmentId::new(at(0)),
            machine: machine.id,
            machine_name: machine.name,
            host: machine.host,
            port: machine.port,
            uid: FIRST_UID,
            created_at: at(0),
            ready_at: ready.then(|| at(1)),
            given_up_at: None,
            cleaned_at: None,
            last_error: None,
            ends_by: None,
            in_sync: true,
        }
    }

    #[test]
    fn a_reservation_is_ready_when_each_of_its_machines_is() {
        assert_eq!(reservation_phase(&reservation(vec![seat(true), seat(false)]), at(2)), Phase::Pending);
        let mut whole = reservation(vec![seat(true), seat(true)]);
        assert_eq!(reservation_phase(&whole, at(49)), Phase::Ready);
        assert_eq!(reservation_phase(&whole, at(50)), Phase::Ending);
        // One that was given up does not count, though it was ready once.
        whole.seats[0].given_up_at = Some(at(3));
        assert_eq!(reservation_phase(&whole, at(4)), Phase::Pending);
        assert_eq!(seat_phase(&whole, &whole.seats[0], at(4)), Phase::Ending);
        assert_eq!(seat_phase(&whole, &whole.seats[1], at(4)), Phase::Ready);
    }

    #[test]
    fn only_a_reservation_that_worked_and_wants_others_outlives_failures() {
        let asked = |on_failure, second_works| Reservation {
            on_failure,
            ..reservation(vec![seat(true), seat(second_works)])
        };
        assert!(asked(OnFailure::Replace, true).outlives_failures());
        assert!(!asked(OnFailure::Replace, false).outlives_failures());
        assert!(!asked(OnFailure::Keep, true).outlives_failures());
        let mut short = asked(OnFailure::Replace, true);
        short.seats[0].given_up_at = Some(at(3));
        assert!(short.outlives_failures(), "it has worked");
    }

    #[test]
    fn a_reservation_has_ended_when_every_machine_was_seen_clean() {
        let mut ended = reservation(vec![seat(true), seat(true)]);
        ended.ended_at = Some(at(5));
        ended.seats[0].cleaned_at = Some(at(6));
        assert_eq!(reservation_phase(&ended, at(7)), Phase::Ending);
        assert_eq!(seat_phase(&ended, &ended.seats[0], at(7)), Phase::Ended);
        ended.seats[1].cleaned_at = Some(at(6));
        assert_eq!(reservation_phase(&ended, at(7)), Phase::Ended);
    }
}
