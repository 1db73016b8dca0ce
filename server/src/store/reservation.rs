//! Reservations: made, extended, ended, and their machines replaced.

use super::choose::{Spares, choose};
use super::event::{About, record};
use super::leaving::leave_all;
use super::row::{
    AssignmentRow, MachineRow, ReservationRow, Rows, StoredAccount, micros, number, readable, text,
    time_option, to_json,
};
use super::schema::{assignment, idempotency, machine, meta, reservation};
use super::sql::Value::{Number, Text, TextOrNull};
use super::sql::execute;
use super::{Conn, Failure, Store};
use diesel::prelude::*;
use jiff::SignedDuration;
use model::allocate::Want;
use model::auth::{Quota, Usage};
use model::machine::{Machine, Uids};
use model::pool::AfterUse;
use model::reservation::{Assignment, EndedBy, OnFailure, Owner, Reservation};
use model::{AccountId, AssignmentId, Labels, ReservationId, Timestamp, UidRange, UserName};
use std::collections::HashMap;

const WEEK: SignedDuration = SignedDuration::from_hours(7 * 24);
/// Where in `meta` the fleet's next UID is.
pub(crate) const FLEET_UID: &str = "next_fleet_uid";

pub struct NewReservation {
    /// Whose it is to be, and what that account may have.
    pub owner: Option<(Owner, Quota)>,
    pub username: UserName,
    pub want: Want,
    pub account: StoredAccount,
    pub expires_at: Timestamp,
    pub on_failure: OnFailure,
}

/// A client's `Idempotency-Key` with a digest of what was asked under it.
pub struct Key {
    pub key: String,
    pub request: String,
}

impl Key {
    /// What this key made before; refused when it was used for something else.
    pub(crate) fn find(&self, conn: &mut Conn) -> Result<Option<String>, Failure> {
        let found: Option<(String, String)> = idempotency::table
            .find(&self.key)
            .select((idempotency::request, idempotency::resource))
            .first(conn)
            .optional()?;
        match found {
            Some((request, _)) if request != self.request => Err(Failure::KeyReused(
                "this Idempotency-Key was used for a different request; use a new one".to_owned(),
            )),
            found => Ok(found.map(|(_, resource)| resource)),
        }
    }

    pub(crate) fn keep(&self, conn: &mut Conn, resource: &str, now: Timestamp) -> Result<(), Failure> {
        diesel::insert_into(idempotency::table)
            .values((
                idempotency::key.eq(&self.key),
                idempotency::request.eq(&self.request),
                idempotency::resource.eq(resource),
                idempotency::created_at.eq(micros(now)),
            ))
            .execute(conn)?;
        Ok(())
    }
}

impl Store {
    /// All or nothing, in one transaction. Returns the reservation and whether it is new.
    pub async fn reservation_create(
        &self,
        new: NewReservation,
        key: Option<Key>,
        now: Timestamp,
    ) -> Result<(Reservation, bool), Failure> {
        let ttl = self.ttl;
        self.write(move |conn| {
            if let Some(id) = key.as_ref().map(|key| key.find(conn)).transpose()?.flatten() {
                return Ok((load(conn, &id)?, false));
            }
            if let Some((owner, quota)) = &new.owner {
                let lasts = new.expires_at.duration_since(now);
                quota.allow(usage(conn, owner.id, now)?, new.want.count(), lasts)?;
            }
            let chosen = choose(conn, &new.want, after(new.account.sudo), Spares::KeptBack, ttl, now)?;
            let row = insert(conn, &new, now)?;
            let seats = chosen.iter().map(|machine| seat(conn, &row.id, machine, now));
            let seats = seats.collect::<Result<_, _>>()?;
            if let Some(key) = key {
                key.keep(conn, &row.id, now)?;
            }
            record(
                now,
                "reservation.created",
                About { reservation: Some(&row.id), detail: new.username.as_str(), ..About::default() },
            );
            Ok((row.into_reservation(seats)?, true))
        })
        .await
    }

    /// What an account has, and has had of late.
    pub async fn usage(&self, of: AccountId, now: Timestamp) -> Result<Usage, Failure> {
        self.read(move |conn| usage(conn, of, now)).await
    }

    pub async fn reservation_get(&self, id: ReservationId) -> Result<Reservation, Failure> {
        self.read(move |conn| load(conn, &id.to_string())).await
    }

    /// Newest first, from before `cursor` on.
    pub async fn reservation_list(
        &self,
        owner: Option<AccountId>,
        username: Option<String>,
        live_only: bool,
        cursor: Option<ReservationId>,
        limit: u32,
    ) -> Result<Rows<Reservation>, Failure> {
        self.read(move |conn| {
            let mut query = reservation::table.select(ReservationRow::as_select()).into_boxed();
            if let Some(cursor) = cursor {
                query = query.filter(reservation::id.lt(cursor.to_string()));
            }
            if let Some(owner) = owner {
                query = query.filter(reservation::account_id.eq(owner.to_string()));
            }
            if let Some(username) = username {
                query = query.filter(reservation::username.eq(username));
            }
            if live_only {
                query = query.filter(reservation::ended_at.is_null());
            }
            let rows: Vec<ReservationRow> =
                query.order(reservation::id.desc()).limit(i64::from(limit)).load(conn)?;
            Rows::of(rows, limit, |rows| with_seats(conn, rows))
        })
        .await
    }

    /// Sets another end; refused once it has ended. A quota is the owner's.
    pub async fn reservation_extend(
        &self,
        id: ReservationId,
        expires_at: Timestamp,
        quota: Option<Quota>,
        now: Timestamp,
    ) -> Result<Reservation, Failure> {
        self.write(move |conn| {
            let id = id.to_string();
            let mut found = load(conn, &id)?;
            if found.ended_at.is_some() || found.expires_at <= now {
                return Err(Failure::Conflict("this reservation has ended; make a new one".to_owned()));
            }
            if let Some((quota, owner)) = quota.zip(found.owner.as_ref()) {
                let more = expires_at.duration_since(found.expires_at).saturating_mul(found.count as i32);
                let lasts = expires_at.duration_since(found.created_at);
                quota.allow_time(usage(conn, owner.id, now)?.spent, lasts, more)?;
            }
            diesel::update(reservation::table.find(&id))
                .set(reservation::expires_at.eq(micros(expires_at)))
                .execute(conn)?;
            bump(conn, &id)?;
            found.unconfirm();
            found.expires_at = expires_at;
            let until = format!("until {expires_at}");
            record(
                now,
                "reservation.extended",
                About { reservation: Some(&id), detail: &until, ..About::default() },
            );
            Ok(found)
        })
        .await
    }

    /// Ends a reservation now; a second time changes nothing.
    pub async fn reservation_release(
        &self,
        id: ReservationId,
        now: Timestamp,
    ) -> Result<Reservation, Failure> {
        self.write(move |conn| {
            let mut found = load(conn, &id.to_string())?;
            if found.ended_at.is_none() {
                end(conn, &mut found, EndedBy::Released, now)?;
            }
            Ok(found)
        })
        .await
    }

    /// Ends everything whose time is up; returns what it ended.
    pub async fn reservations_expire(&self, now: Timestamp) -> Result<Vec<Reservation>, Failure> {
        self.write(move |conn| {
            let due: Vec<String> = reservation::table
                .filter(reservation::ended_at.is_null().and(reservation::expires_at.le(micros(now))))
                .select(reservation::id)
                .load(conn)?;
            for id in &due {
                end_row(conn, id, &EndedBy::Expired, now)?;
            }
            Ok(readable(due.iter().map(|id| load(conn, id))))
        })
        .await
    }

    pub async fn next_expiry(&self) -> Result<Option<Timestamp>, Failure> {
        self.read(|conn| {
            let next: Option<i64> = reservation::table
                .filter(reservation::ended_at.is_null())
                .select(diesel::dsl::min(reservation::expires_at))
                .first(conn)?;
            time_option(next)
        })
        .await
    }

    /// Forgets idempotency keys after a day.
    pub async fn keys_forget(&self, now: Timestamp) -> Result<(), Failure> {
        let before = micros(now) - 24 * 3600 * 1_000_000;
        self.write(move |conn| {
            diesel::delete(idempotency::table.filter(idempotency::created_at.lt(before))).execute(conn)?;
            Ok(())
        })
        .await
    }
}

/// What an account holds, and has had within a week.
fn usage(conn: &mut Conn, owner: AccountId, now: Timestamp) -> Result<Usage, Failure> {
    let owner = owner.to_string();
    let machines: i64 = assignment::table
        .inner_join(reservation::table)
        .filter(reservation::account_id.eq(&owner).and(reservation::ended_at.is_null()))
        .filter(assignment::cleaned_at.is_null().and(assignment::given_up_at.is_null()))
        .count()
        .get_result(conn)?;
    let since = micros(now - WEEK);
    let made: Vec<(i64, i64, i64, Option<i64>)> = reservation::table
        .filter(reservation::account_id.eq(&owner).and(reservation::created_at.gt(since)))
        .select((reservation::count, reservation::created_at, reservation::expires_at, reservation::ended_at))
        .load(conn)?;
    let spent = made.into_iter().map(|(count, created_at, expires_at, ended_at)| {
        SignedDuration::from_micros((ended_at.unwrap_or(expires_at) - created_at).saturating_mul(count))
    });
    Ok(Usage { machines: number("count", machines)?, spent: spent.sum() })
}

fn insert(conn: &mut Conn, new: &NewReservation, now: Timestamp) -> Result<ReservationRow, Failure> {
    let (labels, named) = match &new.want {
        Want::Count { labels, .. } => (labels.clone(), 0),
        Want::Named(_) => (Labels::default(), 1),
    };
    let row = ReservationRow {
        id: ReservationId::new(now).to_string(),
        username: new.username.to_string(),
        count: i64::from(new.want.count()),
        labels: to_json(&labels)?,
        named,
        account: to_json(&new.account)?,
        created_at: micros(now),
        expires_at: micros(new.expires_at),
        ended_at: None,
        ended_by: None,
        reason: None,
        sudo: new.account.sudo.into(),
        on_failure: new.on_failure.name().to_owned(),
        account_id: new.owner.as_ref().map(|(owner, _)| owner.id.to_string()),
        account_name: new.owner.as_ref().map(|(owner, _)| owner.name.to_string()),
    };
    diesel::insert_into(reservation::table).values(row.clone()).execute(conn)?;
    Ok(row)
}

/// Somebody who was root may have left anything: see [`AfterUse`].
pub(crate) fn after(sudo: bool) -> AfterUse {
    if sudo { AfterUse::Recycle } else { AfterUse::Clean }
}

/// Gives a machine to a reservation, with a UID that machine never gave to anybody.
pub(crate) fn seat(
    conn: &mut Conn,
    reservation: &str,
    machine: &Machine,
    now: Timestamp,
) -> Result<Assignment, Failure> {
    // Nobody else writes between the look at this machine and here.
    let uid = match machine.uids {
        Uids::Own(_) => machine.next_uid,
        Uids::Fleet => fleet_uid(conn, machine.uids.range())?,
    };
    execute(
        conn,
        "UPDATE machine SET next_uid = ?, generation = generation + 1 WHERE id = ?",
        &[Number(i64::from(uid) + 1), Text(&machine.id.to_string())],
    )?;
    let seat = Assignment {
        ends_by: None,
        id: AssignmentId::new(now),
        machine: machine.id,
        machine_name: machine.name.clone(),
        host: machine.host.clone(),
        port: machine.port,
        uid,
        created_at: now,
        ready_at: None,
        given_up_at: None,
        cleaned_at: None,
        last_error: None,
        in_sync: false,
    };
    diesel::insert_into(assignment::table).values(AssignmentRow::new(reservation, &seat)).execute(conn)?;
    Ok(seat)
}

/// The next of the sequence that all machines of the fleet draw from.
fn fleet_uid(conn: &mut Conn, range: UidRange) -> Result<u32, Failure> {
    let kept: Option<String> = meta::table.find(FLEET_UID).select(meta::value).first(conn).optional()?;
    let is_first = kept.is_none();
    let uid: u32 = kept.map_or(Ok(range.first), |kept| text("meta.value", &kept))?;
    if !range.contains(uid) {
        return Err(Failure::Conflict(
            "the UIDs of the fleet are used up; set another range for its pools".into(),
        ));
    }
    let next = (uid + 1).to_string();
    if is_first {
        diesel::insert_into(meta::table)
            .values((meta::key.eq(FLEET_UID), meta::value.eq(next)))
            .execute(conn)?;
    } else {
        diesel::update(meta::table.find(FLEET_UID)).set(meta::value.eq(next)).execute(conn)?;
    }
    Ok(uid)
}

/// A newer generation for every machine that still has something of this reservation.
fn bump(conn: &mut Conn, reservation: &str) -> Result<(), Failure> {
    execute(
        conn,
        "UPDATE machine SET generation = generation + 1 WHERE id IN \
         (SELECT machine_id FROM assignment WHERE reservation_id = ? AND cleaned_at IS NULL)",
        &[Text(reservation)],
    )?;
    Ok(())
}

/// Ends a reservation, in the database and in `found`.
pub(crate) fn end(
    conn: &mut Conn,
    found: &mut Reservation,
    by: EndedBy,
    now: Timestamp,
) -> Result<(), Failure> {
    end_row(conn, &found.id.to_string(), &by, now)?;
    found.unconfirm();
    (found.ended_at, found.ended_by) = (Some(now), Some(by));
    Ok(())
}

/// Reads nothing of it, so that the end comes whatever the row holds.
fn end_row(conn: &mut Conn, id: &str, by: &EndedBy, now: Timestamp) -> Result<(), Failure> {
    let (kind, reason) = match by {
        EndedBy::Released => ("released", None),
        EndedBy::Expired => ("expired", None),
        EndedBy::Failed(why) => ("failed", Some(why.as_str())),
    };
    // Nothing is left to log in to: the hash in `account` has no more use.
    execute(
        conn,
        "UPDATE reservation SET ended_at = ?, ended_by = ?, reason = ?, account = '{}' WHERE id = ?",
        &[Number(micros(now)), Text(kind), TextOrNull(reason), Text(id)],
    )?;
    leave_all(conn, id, now)?;
    let about = About { reservation: Some(id), detail: reason.unwrap_or_default(), ..About::default() };
    record(now, &format!("reservation.{kind}"), about);
    Ok(())
}

pub(crate) fn load(conn: &mut Conn, id: &str) -> Result<Reservation, Failure> {
    let row: Option<ReservationRow> =
        reservation::table.find(id).select(ReservationRow::as_select()).first(conn).optional()?;
    let missing =
        || Failure::NotFound(format!("there is no reservation `{id}`; GET /v1/reservations lists them"));
    let row = row.ok_or_else(missing)?;
    // Not by the way of lists: the statement of a single one is prepared once and kept.
    let seats: Vec<(AssignmentRow, MachineRow)> = assignment::table
        .inner_join(machine::table)
        .filter(assignment::reservation_id.eq(id))
        .order(assignment::id)
        .select((AssignmentRow::as_select(), MachineRow::as_select()))
        .load(conn)?;
    let seats = seats.into_iter().map(|(seat, machine)| seat.into_assignment(machine));
    row.into_reservation(seats.collect::<Result<_, _>>()?)
}

fn with_seats(conn: &mut Conn, rows: Vec<ReservationRow>) -> Result<Vec<Reservation>, Failure> {
    let ids: Vec<&str> = rows.iter().map(|row| row.id.as_str()).collect();
    let found: Vec<(AssignmentRow, MachineRow)> = assignment::table
        .inner_join(machine::table)
        .filter(assignment::reservation_id.eq_any(ids))
        .order(assignment::id)
        .select((AssignmentRow::as_select(), MachineRow::as_select()))
        .load(conn)?;
    let mut seats: HashMap<String, Vec<Result<Assignment, Failure>>> = HashMap::new();
    for (seat, machine) in found {
        seats.entry(seat.reservation_id.clone()).or_default().push(seat.into_assignment(machine));
    }
    Ok(readable(rows.into_iter().map(|row| {
        let seats = seats.remove(&row.id).unwrap_or_default();
        row.into_reservation(seats.into_iter().collect::<Result<_, _>>()?)
    })))
}
