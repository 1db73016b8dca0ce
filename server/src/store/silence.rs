//! Held machines that fell silent, and reservations that miss a machine: where they are found, and given others.

use super::event::{About, record};
use super::machine::by_id;
use super::replace::{GiveUp, choose_another, give_up, put};
use super::reservation::load;
use super::row::{AssignmentRow, micros, readable, text};
use super::schema::{assignment, machine, pool, reservation};
use super::{Conn, Failure, Store};
use diesel::prelude::*;
use jiff::SignedDuration;
use model::machine::Machine;
use model::pool::GRACE;
use model::reservation::OnFailure;
use model::{AssignmentId, MachineId, PoolName, ReservationId, Timestamp};
use std::time::Duration;

/// For how long many machines that fell silent together are taken for a fault of the network. After that they are as
/// good as gone.
const DOUBTED_FOR: SignedDuration = SignedDuration::from_hours(1);

/// How much of the fleet fell silent of late.
#[derive(Debug, Clone, Copy)]
pub struct Silence {
    pub silent: usize,
    pub of: usize,
}

impl Store {
    /// How long a held machine of this pool, or of none, may be silent before it counts as failed.
    pub async fn patience(&self, pool: Option<PoolName>) -> Result<SignedDuration, Failure> {
        let ttl = self.ttl;
        self.read(move |conn| patience(conn, pool.as_ref(), ttl)).await
    }

    /// Machines that have worked, were not heard of since, and whose holders were promised others.
    pub async fn machines_silent(&self, since: Timestamp) -> Result<Vec<MachineId>, Failure> {
        self.read(move |conn| {
            let ids: Vec<String> = assignment::table
                .inner_join(machine::table)
                .inner_join(reservation::table)
                .filter(reservation::ended_at.is_null())
                .filter(reservation::on_failure.eq(OnFailure::Replace.name()))
                .filter(assignment::cleaned_at.is_null().and(assignment::given_up_at.is_null()))
                .filter(assignment::ready_at.is_not_null())
                .filter(machine::seen_at.le(micros(since)))
                .select(machine::id)
                .load(conn)?;
            Ok(readable(ids.iter().map(|id| text("machine.id", id))))
        })
        .await
    }

    pub async fn silence(&self, now: Timestamp) -> Result<Silence, Failure> {
        let since = micros(now - self.ttl);
        self.read(move |conn| {
            let of_late = machine::gone_at
                .is_null()
                .and(machine::retired_at.is_null())
                .and(machine::seen_at.gt(since - DOUBTED_FOR.as_micros() as i64));
            let of: i64 = machine::table.filter(of_late).count().get_result(conn)?;
            let silent: i64 =
                machine::table.filter(of_late.and(machine::seen_at.le(since))).count().get_result(conn)?;
            Ok(Silence { silent: silent as usize, of: of as usize })
        })
        .await
    }

    /// Puts another machine in the place of one that is silent still. When none is free, it keeps its seat, which says so.
    pub async fn assignment_substitute(
        &self,
        id: AssignmentId,
        hearing_since: Timestamp,
        now: Timestamp,
    ) -> Result<GiveUp, Failure> {
        let ttl = self.ttl;
        self.write(move |conn| {
            let row: AssignmentRow =
                assignment::table.find(id.to_string()).select(AssignmentRow::as_select()).first(conn)?;
            let silent = by_id(conn, &row.machine_id)?;
            let patience = patience(conn, silent.pool.as_ref(), ttl)?;
            let is_held =
                silent.holding.as_ref().is_some_and(|held| held.assignment == id && !held.is_leaving(now));
            if is_held && silent.fails_at(hearing_since, patience).is_some_and(|at| at <= now) {
                return substitute(conn, id, &row, &silent, ttl, now);
            }
            Ok(GiveUp::default())
        })
        .await
    }

    /// Notes at a seat what it waits for.
    pub async fn assignment_note(&self, id: AssignmentId, why: String) -> Result<(), Failure> {
        self.write(move |conn| note(conn, id, &why)).await
    }

    /// Gives others to reservations that lost machines while none was free.
    pub async fn reservations_refill(&self, now: Timestamp) -> Result<Vec<GiveUp>, Failure> {
        let ttl = self.ttl;
        let short = self.read(move |conn| short(conn, now)).await?;
        let mut refilled = Vec::new();
        for id in short {
            refilled.push(self.write(move |conn| refill(conn, id, ttl, now)).await);
        }
        Ok(readable(refilled.into_iter()))
    }
}

fn patience(conn: &mut Conn, pool: Option<&PoolName>, ttl: Duration) -> Result<SignedDuration, Failure> {
    let ttl = SignedDuration::try_from(ttl).unwrap_or(SignedDuration::MAX);
    let grace: Option<i64> = match pool {
        Some(name) => pool::table.find(name.as_str()).select(pool::grace).first(conn).optional()?,
        None => None,
    };
    Ok(ttl.saturating_add(grace.map_or(GRACE, SignedDuration::from_secs)))
}

fn substitute(
    conn: &mut Conn,
    id: AssignmentId,
    row: &AssignmentRow,
    silent: &Machine,
    ttl: Duration,
    now: Timestamp,
) -> Result<GiveUp, Failure> {
    let of = load(conn, &row.reservation_id)?;
    let heard_at = silent.seen_at.unwrap_or(silent.created_at);
    let why = format!("machine `{}` was last heard of at {heard_at}", silent.name);
    let waits = format!("{why}, and no other is free to take its place");
    let is_known = row.last_error.as_ref() == Some(&waits);
    if !is_known {
        let about = About {
            machine: Some(silent.name.as_str()),
            reservation: Some(&row.reservation_id),
            detail: &why,
        };
        record(now, "machine.failed", about);
    }
    let Some(another) = choose_another(conn, &of, ttl, now)? else {
        if !is_known {
            note(conn, id, &waits)?;
        }
        return Ok(GiveUp::default());
    };
    give_up(conn, id, &why, now)?;
    put(conn, &of, &another, &why, now)?;
    Ok(GiveUp { reservation: Some(of.id), machines: vec![silent.id, another.id] })
}

fn note(conn: &mut Conn, id: AssignmentId, why: &str) -> Result<(), Failure> {
    diesel::update(assignment::table.find(id.to_string()))
        .set(assignment::last_error.eq(why))
        .execute(conn)?;
    Ok(())
}

/// Reservations that have fewer machines than they want.
fn short(conn: &mut Conn, now: Timestamp) -> Result<Vec<ReservationId>, Failure> {
    let live = assignment::table
        .filter(assignment::reservation_id.eq(reservation::id).and(assignment::given_up_at.is_null()))
        .count()
        .single_value();
    let ids: Vec<String> = reservation::table
        .filter(reservation::ended_at.is_null().and(reservation::expires_at.gt(micros(now))))
        .filter(reservation::on_failure.eq(OnFailure::Replace.name()))
        .filter(reservation::count.nullable().gt(live))
        .select(reservation::id)
        .load(conn)?;
    Ok(readable(ids.iter().map(|id| text("reservation.id", id))))
}

fn refill(conn: &mut Conn, id: ReservationId, ttl: Duration, now: Timestamp) -> Result<GiveUp, Failure> {
    let mut outcome = GiveUp { reservation: Some(id), machines: vec![] };
    loop {
        let of = load(conn, &id.to_string())?;
        let is_over = of.ended_at.is_some() || of.expires_at <= now;
        if is_over || of.live_seats().count() >= of.count as usize {
            return Ok(outcome);
        }
        let Some(another) = choose_another(conn, &of, ttl, now)? else { return Ok(outcome) };
        put(conn, &of, &another, "one was free at last", now)?;
        outcome.machines.push(another.id);
    }
}
