//! What must be true after each step.

use super::machine::Machine;
use super::server::TTL;
use super::world::World;
use model::allocate::is_free;
use model::phase::{Phase, reservation_phase};
use model::reservation::{Assignment, Reservation};
use model::{AssignmentId, Timestamp};
use std::collections::{BTreeMap, BTreeSet};
use tests::look::{Trace, login_of};

/// How long a machine may take until its account works; the machine loop's own limit.
const READY_WITHIN: jiff::SignedDuration = jiff::SignedDuration::from_secs(15);

/// One law is not kept yet: a machine that hears of a longer lease only after the shorter one has ended refuses it, and
/// the server goes on calling it ready.
fn is_strict() -> bool {
    std::env::var_os("BERTH_STRICT").is_some()
}

/// Until when each account that was ready is to be there at least: the end that its machine has confirmed last.
#[derive(Default)]
pub(super) struct Promises {
    ends: BTreeMap<AssignmentId, Timestamp>,
    /// The end has come, by what the machine could know.
    over: BTreeSet<AssignmentId>,
}

impl World {
    pub(super) fn check_laws(&mut self) -> Result<(), String> {
        self.machines.iter_mut().try_for_each(Machine::look)?;
        self.one_holder_per_machine()?;
        self.what_is_there_has_a_seat()?;
        self.what_is_offered_is_clean()?;
        self.no_uid_is_given_twice()?;
        self.what_was_acknowledged_stands()?;
        self.nothing_ends_early()?;
        if is_strict() { self.what_is_refused_is_not_ready() } else { Ok(()) }
    }

    fn one_holder_per_machine(&self) -> Result<(), String> {
        for machine in &self.machines {
            let holders: Vec<_> = self.open_seats(machine).map(|(of, _)| of.username.as_str()).collect();
            law(holders.len() <= 1, || format!("{} is held by {holders:?} at once", machine.name))?;
        }
        Ok(())
    }

    /// Whatever is on a machine belongs to a seat that is not closed: an account is either somebody's, or known to be
    /// on its way out.
    fn what_is_there_has_a_seat(&self) -> Result<(), String> {
        for machine in &self.machines {
            let seats: Vec<_> = self.open_seats(machine).collect();
            let is_known = |trace: &Trace| {
                seats.iter().any(|(of, seat)| trace.belongs_to(of.username.as_str(), seat.uid))
            };
            let stray = machine.traces.iter().find(|trace| !is_known(trace));
            law(stray.is_none(), || format!("{} has what nobody holds it for: {stray:?}", machine.name))?;
        }
        Ok(())
    }

    fn what_is_offered_is_clean(&self) -> Result<(), String> {
        for (machine, row) in self.machines.iter().zip(&self.facts.machines) {
            let offered = is_free(row, self.time.now(), TTL);
            let left = &machine.traces;
            law(!offered || left.is_empty(), || format!("{} is offered and has {left:?}", machine.name))?;
        }
        Ok(())
    }

    /// The machine has said that the account cannot be there, so nobody may be told that it is.
    fn what_is_refused_is_not_ready(&self) -> Result<(), String> {
        for row in &self.facts.machines {
            let Some(holding) = &row.holding else { continue };
            let told = holding.ended_at.is_none() && holding.ready && holding.expires_at > self.time.now();
            law(!(told && holding.refused), || {
                format!("{} refuses an account that is called ready: {:?}", row.name, holding.last_error)
            })?;
        }
        Ok(())
    }

    fn no_uid_is_given_twice(&self) -> Result<(), String> {
        let mut given = BTreeSet::new();
        for seat in self.facts.reservations.iter().flat_map(|of| &of.seats) {
            law(given.insert((seat.machine, seat.uid)), || {
                format!("uid {} was given twice on {}", seat.uid, seat.machine_name)
            })?;
        }
        Ok(())
    }

    fn what_was_acknowledged_stands(&self) -> Result<(), String> {
        for ask in self.asks.iter().filter(|ask| ask.id.is_some()) {
            let found = self.facts.reservations.iter().find(|of| Some(of.id) == ask.id);
            let Some(found) = found else { return Err(format!("{} was acknowledged and is lost", ask.name)) };
            law(found.username.as_str() == ask.body.username, || format!("{} is another one's", ask.name))?;
            law(!ask.doubled, || format!("{} has two reservations", ask.name))?;
            law(!ask.released || found.ended_at.is_some(), || {
                format!("{} was released and goes on", ask.name)
            })?;
            law(ask.ends.contains(&found.expires_at), || {
                format!("{} ends at {}, not {:?}", ask.name, found.expires_at, ask.ends)
            })?;
        }
        let answered = self.asks.iter().filter(|ask| ask.id.is_some()).count();
        let in_doubt = self.asks.iter().filter(|ask| ask.in_doubt).count();
        let unasked = self.facts.reservations.len() - answered;
        law(unasked <= in_doubt, || format!("{unasked} reservations that nobody asked for"))
    }

    fn nothing_ends_early(&mut self) -> Result<(), String> {
        self.hear_promises();
        for (of, seat) in self.facts.reservations.iter().flat_map(seats_of) {
            let Some(end) = self.promises.ends.get(&seat.id).copied() else { continue };
            let machine = self.machine_of(seat);
            if machine.latest_belief() >= end {
                self.promises.ends.remove(&seat.id);
                self.promises.over.insert(seat.id);
                continue;
            }
            let there = login_of(&machine.seen, of.username.as_str());
            law(there == Some(seat.uid), || {
                format!("`{}` vanished from {} before its end at {end}", of.username, machine.name)
            })?;
        }
        Ok(())
    }

    /// A seat that is ready and confirmed keeps what it says now. A new end that is not confirmed yet counts at once if it
    /// is nearer, since the machine may hear of it any moment; if it is further away, not before the machine says so.
    fn hear_promises(&mut self) {
        let is_live = |of: &Reservation, seat: &Assignment| {
            of.ended_at.is_none() && seat.given_up_at.is_none() && seat.ready_at.is_some()
        };
        let mut live = BTreeSet::new();
        for (of, seat) in self.facts.reservations.iter().flat_map(seats_of) {
            if !is_live(of, seat) || self.promises.over.contains(&seat.id) {
                continue;
            }
            live.insert(seat.id);
            let end = self.promises.ends.entry(seat.id).or_insert(of.expires_at);
            *end = if seat.in_sync { of.expires_at } else { of.expires_at.min(*end) };
        }
        self.promises.ends.retain(|seat, _| live.contains(seat));
    }

    /// Right after the loops: nobody waits any longer for a machine that does not get ready.
    pub(super) fn who_waits_is_not_forgotten(&self) -> Result<(), String> {
        for (of, seat) in self.facts.reservations.iter().flat_map(seats_of) {
            let waits = of.ended_at.is_none() && seat.given_up_at.is_none() && seat.ready_at.is_none();
            let late = self.time.now() > seat.created_at + READY_WITHIN;
            law(!(waits && late), || {
                format!("`{}` waits for {} since {}", of.username, seat.machine_name, seat.created_at)
            })?;
        }
        Ok(())
    }

    // --- in the end

    pub(super) fn is_settled(&self) -> Result<(), String> {
        let now = self.time.now();
        for of in &self.facts.reservations {
            let phase = reservation_phase(of, now);
            let done = matches!(phase, Phase::Ready | Phase::Ended);
            law(done, || format!("the reservation of `{}` is {phase:?}: {of:?}", of.username))?;
        }
        Ok(())
    }

    pub(super) fn is_as_in_the_beginning(&self) -> Result<(), String> {
        for of in &self.facts.reservations {
            let phase = reservation_phase(of, self.time.now());
            law(phase == Phase::Ended, || {
                format!("the reservation of `{}` is {phase:?}: {of:?}", of.username)
            })?;
        }
        for (machine, row) in self.machines.iter().zip(&self.facts.machines) {
            law(is_free(row, self.time.now(), TTL), || format!("{} is not free: {row:?}", machine.name))?;
            let left = &machine.traces;
            law(left.is_empty(), || format!("{} has {left:?}", machine.name))?;
        }
        Ok(())
    }

    fn open_seats(&self, machine: &Machine) -> impl Iterator<Item = (&Reservation, &Assignment)> {
        let seats = self.facts.reservations.iter().flat_map(seats_of);
        seats.filter(|(_, seat)| seat.cleaned_at.is_none() && seat.machine_name.as_str() == machine.name)
    }

    fn machine_of(&self, seat: &Assignment) -> &Machine {
        let found = self.machines.iter().find(|machine| machine.name == seat.machine_name.as_str());
        found.expect("seats are on machines of this world")
    }
}

fn seats_of(reservation: &Reservation) -> impl Iterator<Item = (&Reservation, &Assignment)> {
    reservation.seats.iter().map(move |seat| (reservation, seat))
}

fn law(holds: bool, breach: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(breach()) }
}
