//! Machines given up for a reservation, and others put in their place.

use super::choose::{Spares, choose};
use super::event::{About, record};
use super::leaving::leave_one;
use super::reservation::{after, end, load, seat};
use super::row::{AssignmentRow, MachineRow, micros, text};
use super::schema::{assignment, machine};
use super::{Conn, Failure, Store};
use diesel::prelude::*;
use jiff::SignedDuration;
use model::allocate::Want;
use model::machine::Machine;
use model::reservation::{EndedBy, Reservation};
use model::{AssignmentId, MachineId, ReservationId, Timestamp};
use std::time::Duration;

/// How long a machine is kept back after it failed, doubled with every failure in a row.
const ASIDE: SignedDuration = SignedDuration::from_mins(1);
const ASIDE_DOUBLINGS: i64 = 6;
/// A reservation whose machines were replaced so often fails: the ask itself must be at fault.
const REPLACEMENTS_PER_SEAT: usize = 3;

/// What became of a machine that was given up.
#[derive(Debug, Default)]
pub struct GiveUp {
    pub reservation: Option<ReservationId>,
    /// Whose specs changed.
    pub machines: Vec<MachineId>,
}

impl Store {
    /// Gives up a machine that could not be made ready and puts another in its place, or ends the reservation.
    pub async fn assignment_give_up(
        &self,
        id: AssignmentId,
        why: String,
        set_aside: bool,
        now: Timestamp,
    ) -> Result<GiveUp, Failure> {
        let ttl = self.ttl;
        self.write(move |conn| {
            let row = assignment_row(conn, id)?;
            if row.given_up_at.is_some() || row.cleaned_at.is_some() || row.ready_at.is_some() {
                return Ok(GiveUp::default());
            }
            if set_aside {
                put_aside(conn, &row.machine_id, &why, now)?;
            }
            give_up(conn, id, &why, now)?;
            replace(conn, &row, &why, ttl, now)
        })
        .await
    }
}

fn assignment_row(conn: &mut Conn, id: AssignmentId) -> Result<AssignmentRow, Failure> {
    Ok(assignment::table.find(id.to_string()).select(AssignmentRow::as_select()).first(conn)?)
}

/// Ends one seat. Its machine is told, and goes if it is to be recycled.
pub(crate) fn give_up(conn: &mut Conn, id: AssignmentId, why: &str, now: Timestamp) -> Result<(), Failure> {
    diesel::update(assignment::table.find(id.to_string()))
        .set((assignment::given_up_at.eq(micros(now)), assignment::last_error.eq(why)))
        .execute(conn)?;
    leave_one(conn, &id.to_string(), now)
}

fn put_aside(conn: &mut Conn, machine: &str, why: &str, now: Timestamp) -> Result<(), Failure> {
    let row: MachineRow = machine::table.find(machine).select(MachineRow::as_select()).first(conn)?;
    let doublings = row.failures.clamp(0, ASIDE_DOUBLINGS) as i32;
    let until = now + ASIDE * 2_i32.pow(doublings as u32);
    diesel::update(machine::table.find(machine))
        .set((
            machine::aside_until.eq(micros(until)),
            machine::aside_why.eq(why),
            machine::failures.eq(machine::failures + 1),
        ))
        .execute(conn)?;
    record(now, "machine.set_aside", About { machine: Some(&row.name), detail: why, ..About::default() });
    Ok(())
}

/// Another machine for a seat that lost its own. When there is none to be had, the reservation fails, unless it waits
/// for one: see [`Store::reservations_refill`].
pub(crate) fn replace(
    conn: &mut Conn,
    lost: &AssignmentRow,
    why: &str,
    ttl: Duration,
    now: Timestamp,
) -> Result<GiveUp, Failure> {
    let mut found = load(conn, &lost.reservation_id)?;
    let mut machines: Vec<MachineId> = vec![text("machine.id", &lost.machine_id)?];
    if found.ended_at.is_some() || found.expires_at <= now {
        return Ok(GiveUp { reservation: Some(found.id), machines });
    }
    let goes_on = found.outlives_failures();
    let spent = !goes_on && found.seats.len() > found.count as usize * (1 + REPLACEMENTS_PER_SEAT);
    let another = if found.named || spent { None } else { choose_another(conn, &found, ttl, now)? };
    match another {
        Some(machine) => {
            put(conn, &found, &machine, why, now)?;
            machines.push(machine.id);
        }
        None if goes_on => {
            let about = About { reservation: Some(&lost.reservation_id), detail: why, ..About::default() };
            record(now, "reservation.short", about);
        }
        None => {
            end(conn, &mut found, EndedBy::Failed(why.to_owned()), now)?;
            machines.extend(found.live_seats().map(|seat| seat.machine));
        }
    }
    Ok(GiveUp { reservation: Some(found.id), machines })
}

/// A free machine this reservation has not had yet. One that goes on may come back to a machine that failed, once that is
/// free again, but not where its account cannot be made.
pub(crate) fn choose_another(
    conn: &mut Conn,
    of: &Reservation,
    ttl: Duration,
    now: Timestamp,
) -> Result<Option<Machine>, Failure> {
    let (spares, in_vain) = if of.outlives_failures() {
        (Spares::Given, refused_by(conn, of.id)?)
    } else {
        (Spares::KeptBack, of.seats.iter().map(|seat| seat.machine).collect())
    };
    for count in 1..=in_vain.len() as u32 + 1 {
        let want = Want::Count { count, labels: of.labels.clone() };
        match choose(conn, &want, after(of.sudo), spares, ttl, now) {
            Ok(found) => {
                if let Some(fresh) = found.into_iter().find(|machine| !in_vain.contains(&machine.id)) {
                    return Ok(Some(fresh));
                }
            }
            Err(Failure::Shortage(_)) => return Ok(None),
            Err(other) => return Err(other),
        }
    }
    Ok(None)
}

fn refused_by(conn: &mut Conn, of: ReservationId) -> Result<Vec<MachineId>, Failure> {
    let machines: Vec<String> = assignment::table
        .filter(assignment::reservation_id.eq(of.to_string()).and(assignment::refused_at.is_not_null()))
        .select(assignment::machine_id)
        .load(conn)?;
    machines.iter().map(|id| text("machine.id", id)).collect()
}

pub(crate) fn put(
    conn: &mut Conn,
    of: &Reservation,
    machine: &Machine,
    why: &str,
    now: Timestamp,
) -> Result<(), Failure> {
    let id = of.id.to_string();
    seat(conn, &id, machine, now)?;
    let about = About { reservation: Some(&id), detail: why, ..About::default() };
    record(now, "reservation.replaced", about);
    Ok(())
}
