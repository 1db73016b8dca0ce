//! What happened, in order, never changed.

use super::row::{micros, readable, text, time};
use super::schema::event;
use super::{Conn, Failure, Store};
use diesel::prelude::*;
use model::wire::EventView;
use model::{MachineName, ReservationId, Timestamp};

/// What an event is about, beside its kind.
#[derive(Default)]
pub(crate) struct About<'a> {
    pub machine: Option<&'a str>,
    pub reservation: Option<&'a str>,
    pub detail: &'a str,
}

pub(crate) fn record(conn: &mut Conn, now: Timestamp, kind: &str, about: About<'_>) -> Result<(), Failure> {
    diesel::insert_into(event::table)
        .values((
            event::at.eq(micros(now)),
            event::kind.eq(kind),
            event::machine.eq(about.machine),
            event::reservation.eq(about.reservation),
            event::detail.eq(about.detail),
        ))
        .execute(conn)?;
    Ok(())
}

type Row = (i64, i64, String, Option<String>, Option<String>, String);

impl Store {
    /// Events after `seq`, oldest first.
    pub async fn event_list(&self, after: i64, limit: u32) -> Result<Vec<EventView>, Failure> {
        self.read(move |conn| {
            let rows: Vec<Row> = event::table
                .filter(event::seq.gt(after))
                .order(event::seq)
                .limit(i64::from(limit))
                .load(conn)?;
            Ok(readable(rows.into_iter().map(view)))
        })
        .await
    }
}

fn view((seq, at, kind, machine, reservation, detail): Row) -> Result<EventView, Failure> {
    Ok(EventView {
        seq,
        at: time(at)?,
        kind,
        machine: machine.map(|name| text::<MachineName>("event.machine", &name)).transpose()?,
        reservation: reservation.map(|id| text::<ReservationId>("event.reservation", &id)).transpose()?,
        detail,
    })
}
