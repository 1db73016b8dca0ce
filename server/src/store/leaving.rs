//! How machines go: retired, lost, destroyed; and what becomes of whoever was on them.

use super::cleaning;
use super::event::{About, record};
use super::machine::{by_id, by_name, held};
use super::replace::{GiveUp, give_up, replace};
use super::row::{MachineRow, micros, text};
use super::schema::{assignment, machine, pool};
use super::sql::Value::{Number, Text};
use super::sql::execute;
use super::{Conn, Failure, Store, ssh};
use diesel::prelude::*;
use model::machine::{Machine, Uids};
use model::{MachineId, ReservationId, Timestamp};
use std::time::Duration;

impl Store {
    /// Takes a machine out of service. Whoever is on it loses the account first; then it goes. One in quarantine cannot
    /// be waited for: whoever was on it gets another machine, and one that nobody can destroy is gone at once.
    pub async fn machine_retire(&self, name: &str, now: Timestamp) -> Result<(Machine, GiveUp), Failure> {
        let (name, ttl) = (name.to_owned(), self.ttl);
        self.write(move |conn| {
            let found = by_name(conn, &name)?;
            if let Some(other) = ssh::behind(conn, found.id)?.first() {
                return Err(Failure::Conflict(format!(
                    "machine `{other}` is reached through `{name}`: retire that one first, or give it another `jump`"
                )));
            }
            let outcome = match (found.quarantined, &found.pool) {
                (None, _) => retire(conn, &found, now).map(|()| GiveUp::default()),
                (Some(why), Some(_)) => retire_quarantined(conn, &found, &why.to_string(), ttl, now),
                (Some(why), None) => {
                    go(conn, found.id, now)?;
                    note(&found, "machine.retired", now);
                    vacate(conn, found.id, &why.to_string(), ttl, now)
                }
            };
            Ok((by_id(conn, &found.id.to_string())?, outcome?))
        })
        .await
    }

    /// Retires a machine unless somebody was given it meanwhile.
    pub async fn machine_retire_idle(&self, id: MachineId, now: Timestamp) -> Result<(), Failure> {
        self.write(move |conn| {
            let found = by_id(conn, &id.to_string())?;
            if found.holding.is_some() {
                return Ok(());
            }
            retire(conn, &found, now)
        })
        .await
    }

    /// The same of a pool's, which wants one fewer from then on. Says whether nobody was on it.
    pub async fn machine_discard(&self, id: MachineId, now: Timestamp) -> Result<bool, Failure> {
        self.write(move |conn| {
            let found = by_id(conn, &id.to_string())?;
            if found.holding.is_some() {
                return Ok(false);
            }
            if let Some(of) = found.pool.as_ref().filter(|_| found.retired_at.is_none()) {
                diesel::update(pool::table.filter(pool::name.eq(of.as_str()).and(pool::size.gt(0))))
                    .set(pool::size.eq(pool::size - 1))
                    .execute(conn)?;
            }
            retire(conn, &found, now).map(|()| true)
        })
        .await
    }

    /// A machine is no longer there: whoever held it has lost it, and gets another if there is one.
    pub async fn machine_lost(&self, id: MachineId, now: Timestamp) -> Result<GiveUp, Failure> {
        let ttl = self.ttl;
        self.write(move |conn| {
            let found = by_id(conn, &id.to_string())?;
            go(conn, id, now)?;
            note(&found, "machine.lost", now);
            vacate(conn, id, &format!("machine `{}` has vanished", found.name), ttl, now)
        })
        .await
    }

    /// A retired machine exists no longer. If somebody's account was on it, that is gone with it: the surest way to be
    /// clean.
    pub async fn machine_gone(&self, id: MachineId, now: Timestamp) -> Result<GiveUp, Failure> {
        let ttl = self.ttl;
        self.write(move |conn| {
            let row: MachineRow =
                machine::table.find(id.to_string()).select(MachineRow::as_select()).first(conn)?;
            go(conn, id, now)?;
            let open = held(conn, &row.id)?;
            let uids: Uids = text("machine.uids", &row.uids)?;
            let was_used = row.next_uid > i64::from(uids.range().first);
            if row.pool.is_some() && was_used {
                let detail = open.as_ref().map(|(seat, of)| cleaning::words(&of.username, seat, &[]));
                let about = About {
                    machine: Some(&row.name),
                    reservation: open.as_ref().map(|(_, of)| of.id.as_str()),
                    detail: detail.as_deref().unwrap_or_default(),
                };
                record(now, "machine.recycled", about);
            }
            if open.is_none() && was_used {
                return Ok(GiveUp { reservation: last_on(conn, id)?, machines: vec![] });
            }
            vacate(conn, id, &format!("machine `{}` was destroyed", row.name), ttl, now)
        })
        .await
    }
}

fn retire(conn: &mut Conn, found: &Machine, now: Timestamp) -> Result<(), Failure> {
    if found.retired_at.is_some() {
        return Ok(());
    }
    mark_retired(conn, found, now)?;
    if let Some(holding) = &found.holding {
        give_up(conn, holding.assignment, "its machine was retired", now)?;
    }
    Ok(())
}

/// Its seat stays open until the provider has destroyed it.
fn retire_quarantined(
    conn: &mut Conn,
    found: &Machine,
    why: &str,
    ttl: Duration,
    now: Timestamp,
) -> Result<GiveUp, Failure> {
    if found.retired_at.is_none() {
        mark_retired(conn, found, now)?;
    }
    match held(conn, &found.id.to_string())? {
        Some((seat, of)) if seat.given_up_at.is_none() && of.ended_at.is_none() => {
            give_up(conn, text("assignment.id", &seat.id)?, why, now)?;
            replace(conn, &seat, why, ttl, now)
        }
        Some(_) | None => Ok(GiveUp::default()),
    }
}

fn mark_retired(conn: &mut Conn, found: &Machine, now: Timestamp) -> Result<(), Failure> {
    diesel::update(machine::table.find(found.id.to_string()))
        .set((machine::retired_at.eq(micros(now)), machine::generation.eq(machine::generation + 1)))
        .execute(conn)?;
    note(found, "machine.retired", now);
    Ok(())
}

pub(crate) fn go(conn: &mut Conn, id: MachineId, now: Timestamp) -> Result<(), Failure> {
    execute(
        conn,
        "UPDATE machine SET retired_at = COALESCE(retired_at, ?), gone_at = ? WHERE id = ?",
        &[Number(micros(now)), Number(micros(now)), Text(&id.to_string())],
    )?;
    ssh::forget(conn, id)?;
    Ok(())
}

pub(crate) fn note(found: &Machine, kind: &str, now: Timestamp) {
    record(now, kind, About { machine: Some(found.name.as_str()), ..About::default() });
}

/// Every seat of a reservation ends: their machines get a newer generation, and are retired in the same moment if they
/// are to be recycled.
pub(crate) fn leave_all(conn: &mut Conn, reservation: &str, now: Timestamp) -> Result<(), Failure> {
    execute(
        conn,
        "UPDATE machine SET generation = generation + 1, retired_at = CASE WHEN retired_at IS NULL AND \
         (EXISTS (SELECT 1 FROM reservation WHERE id = ? AND sudo = 1) \
         OR pool IN (SELECT name FROM pool WHERE after_use = 'recycle')) THEN ? ELSE retired_at END \
         WHERE id IN (SELECT machine_id FROM assignment WHERE reservation_id = ? AND cleaned_at IS NULL)",
        &[Text(reservation), Number(micros(now)), Text(reservation)],
    )?;
    Ok(())
}

/// The same for one seat.
pub(crate) fn leave_one(conn: &mut Conn, assignment: &str, now: Timestamp) -> Result<(), Failure> {
    execute(
        conn,
        "UPDATE machine SET generation = generation + 1, retired_at = CASE WHEN retired_at IS NULL AND \
         (EXISTS (SELECT 1 FROM reservation WHERE sudo = 1 AND id = \
         (SELECT reservation_id FROM assignment WHERE id = ?)) \
         OR pool IN (SELECT name FROM pool WHERE after_use = 'recycle')) THEN ? ELSE retired_at END \
         WHERE id = (SELECT machine_id FROM assignment WHERE id = ?)",
        &[Text(assignment), Number(micros(now)), Text(assignment)],
    )?;
    Ok(())
}

/// Closes the seat of a machine that is no more: the account went with it. Whoever still had a right to it gets another.
fn vacate(
    conn: &mut Conn,
    id: MachineId,
    why: &str,
    ttl: Duration,
    now: Timestamp,
) -> Result<GiveUp, Failure> {
    let Some((seat, of)) = held(conn, &id.to_string())? else { return Ok(GiveUp::default()) };
    let has_ended = seat.given_up_at.is_some() || of.ended_at.is_some();
    if !has_ended {
        give_up(conn, text("assignment.id", &seat.id)?, why, now)?;
    }
    let values = &[Number(micros(now)), Text(&seat.id)];
    execute(conn, "UPDATE assignment SET cleaned_at = ? WHERE id = ?", values)?;
    if has_ended {
        return Ok(GiveUp { reservation: Some(text("reservation.id", &of.id)?), machines: vec![] });
    }
    replace(conn, &seat, why, ttl, now)
}

/// Who was on a machine last: its agent may have said that it is clean, and have been destroyed before we could pass that
/// on to those who wait for it. Not long ago, so that the newest are looked through first.
fn last_on(conn: &mut Conn, id: MachineId) -> Result<Option<ReservationId>, Failure> {
    let last: Option<String> = assignment::table
        .filter(assignment::machine_id.eq(id.to_string()))
        .order(assignment::id.desc())
        .select(assignment::reservation_id)
        .first(conn)
        .optional()?;
    last.map(|id| text("reservation.id", &id)).transpose()
}
