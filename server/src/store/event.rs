//! What happened, in order, never changed.

use super::row::{Rows, micros, readable, text, time};
use super::schema::event;
use super::{Conn, Failure, Store};
use diesel::prelude::*;
use model::audit::{Actor, hash};
use model::wire::EventView;
use model::{MachineName, ReservationId, Timestamp};
use std::cell::RefCell;

/// What an event is about, beside its kind.
#[derive(Default)]
pub(crate) struct About<'a> {
    pub machine: Option<&'a str>,
    pub reservation: Option<&'a str>,
    pub detail: &'a str,
}

struct Noted {
    at: Timestamp,
    kind: String,
    machine: Option<String>,
    reservation: Option<String>,
    detail: String,
}

thread_local! {
    /// What the change that this thread makes has recorded so far: there is one at a time.
    static NOTED: RefCell<Vec<Noted>> = const { RefCell::new(Vec::new()) };
}

/// Notes that something happened. It is written at the end of the change that it is part of, or not at all.
pub(crate) fn record(now: Timestamp, kind: &str, about: About<'_>) {
    let About { machine, reservation, detail } = about;
    let noted = Noted {
        // As the database keeps it.
        at: Timestamp::from_microsecond(micros(now)).unwrap_or(now),
        kind: kind.to_owned(),
        machine: machine.map(str::to_owned),
        reservation: reservation.map(str::to_owned),
        detail: detail.to_owned(),
    };
    NOTED.with_borrow_mut(|all| all.push(noted));
}

/// Makes a change, and writes what it recorded as the doing of `actor`: both or neither.
pub(crate) fn recorded<T>(
    conn: &mut Conn,
    actor: &Actor,
    change: impl FnOnce(&mut Conn) -> Result<T, Failure>,
) -> Result<T, Failure> {
    NOTED.take();
    conn.transaction(|conn| {
        let outcome = change(conn)?;
        append(conn, actor, NOTED.take())?;
        Ok(outcome)
    })
}

fn append(conn: &mut Conn, actor: &Actor, noted: Vec<Noted>) -> Result<(), Failure> {
    if noted.is_empty() {
        return Ok(());
    }
    // Nobody else writes between this look and the end of the transaction.
    let last =
        event::table.select((event::seq, event::hash)).order(event::seq.desc()).first(conn).optional()?;
    let (mut seq, mut before): (i64, String) = last.unwrap_or_default();
    for Noted { at, kind, machine, reservation, detail } in noted {
        seq += 1;
        let mut view = EventView {
            seq,
            at,
            kind,
            machine: machine.map(|name| text("event.machine", &name)).transpose()?,
            reservation: reservation.map(|id| text("event.reservation", &id)).transpose()?,
            detail,
            actor: actor.who.to_string(),
            source: actor.source.clone(),
            hash: String::new(),
        };
        view.hash = hash(&before, &view);
        insert(conn, &view)?;
        before = view.hash;
    }
    Ok(())
}

fn insert(conn: &mut Conn, view: &EventView) -> Result<(), Failure> {
    diesel::insert_into(event::table)
        .values((
            event::seq.eq(view.seq),
            event::at.eq(micros(view.at)),
            event::kind.eq(&view.kind),
            event::machine.eq(view.machine.as_ref().map(MachineName::as_str)),
            event::reservation.eq(view.reservation.map(|id| id.to_string())),
            event::detail.eq(&view.detail),
            event::actor.eq(&view.actor),
            event::source.eq(&view.source),
            event::hash.eq(&view.hash),
        ))
        .execute(conn)?;
    Ok(())
}

#[derive(Queryable, Selectable)]
#[diesel(table_name = event)]
struct EventRow {
    seq: i64,
    at: i64,
    kind: String,
    machine: Option<String>,
    reservation: Option<String>,
    detail: String,
    actor: String,
    source: Option<String>,
    hash: String,
}

/// Which events to list.
#[derive(Debug, Clone, Default)]
pub struct EventFilter {
    pub machine: Option<String>,
    pub reservation: Option<String>,
    pub actor: Option<String>,
    /// A kind, or what several begin with, such as `machine`.
    pub kind: Option<String>,
}

impl Store {
    /// Events after `seq`, oldest first.
    pub async fn event_list(
        &self,
        after: i64,
        filter: EventFilter,
        limit: u32,
    ) -> Result<Rows<EventView>, Failure> {
        self.read(move |conn| list(conn, after, filter, limit)).await
    }

    /// The number of the last event.
    pub async fn event_last(&self) -> Result<i64, Failure> {
        self.read(last).await
    }

    /// Events after `seq`, and the number after which there may be more: what lies between is not for this filter.
    pub async fn event_news(
        &self,
        after: i64,
        filter: EventFilter,
        limit: u32,
    ) -> Result<(Vec<EventView>, i64), Failure> {
        self.read(move |conn| {
            // Before the list: what is written meanwhile comes with the next one.
            let last = last(conn)?;
            let Rows { items, is_last } = list(conn, after, filter, limit)?;
            let seen = items.last().map_or(after, |event| event.seq);
            Ok((items, if is_last { seen.max(last) } else { seen }))
        })
        .await
    }
}

fn last(conn: &mut Conn) -> Result<i64, Failure> {
    let last: Option<i64> = event::table.select(diesel::dsl::max(event::seq)).first(conn)?;
    Ok(last.unwrap_or_default())
}

fn list(conn: &mut Conn, after: i64, filter: EventFilter, limit: u32) -> Result<Rows<EventView>, Failure> {
    let mut query = event::table.filter(event::seq.gt(after)).into_boxed();
    if let Some(machine) = filter.machine {
        query = query.filter(event::machine.eq(machine));
    }
    if let Some(reservation) = filter.reservation {
        query = query.filter(event::reservation.eq(reservation));
    }
    if let Some(actor) = filter.actor {
        query = query.filter(event::actor.eq(actor));
    }
    if let Some(kind) = filter.kind {
        query = query.filter(event::kind.eq(kind.clone()).or(event::kind.like(format!("{kind}.%"))));
    }
    let rows: Vec<EventRow> =
        query.order(event::seq).limit(i64::from(limit)).select(EventRow::as_select()).load(conn)?;
    Rows::of(rows, limit, |rows| Ok(readable(rows.into_iter().map(EventRow::into_view))))
}

/// Events after `after`, oldest first; one that cannot be read is an error.
pub(crate) fn event_page(conn: &mut Conn, after: i64, limit: u32) -> Result<Vec<EventView>, Failure> {
    let rows: Vec<EventRow> = event::table
        .filter(event::seq.gt(after))
        .order(event::seq)
        .limit(i64::from(limit))
        .select(EventRow::as_select())
        .load(conn)?;
    rows.into_iter().map(EventRow::into_view).collect()
}

impl EventRow {
    fn into_view(self) -> Result<EventView, Failure> {
        Ok(EventView {
            seq: self.seq,
            at: time(self.at)?,
            kind: self.kind,
            machine: self.machine.map(|name| text::<MachineName>("event.machine", &name)).transpose()?,
            reservation: self
                .reservation
                .map(|id| text::<ReservationId>("event.reservation", &id))
                .transpose()?,
            detail: self.detail,
            actor: self.actor,
            source: self.source,
            hash: self.hash,
        })
    }
}
