//! Reports of agents: what a machine was seen to have becomes facts here, in one place.

use super::event::{About, record};
use super::machine::{held, refuse_gone, spec_of};
use super::row::{AssignmentRow, MachineRow, ReservationRow, micros, text, to_json};
use super::schema::{assignment, machine};
use super::sql::Value::{Number, Text, TextOrNull};
use super::sql::execute;
use super::{Conn, Failure, Store};
use diesel::prelude::*;
use model::report::{AccountState, Report};
use model::spec::Spec;
use model::{Incarnation, MachineId, ReservationId, Timestamp};

/// What a report came to.
#[derive(Debug)]
pub struct Received {
    pub machine: MachineId,
    /// It is to go once it is empty.
    pub retired: bool,
    /// Present when it is newer than what was reported.
    pub spec: Option<Spec>,
    pub seen: Vec<Seen>,
}

/// What a report changed.
#[derive(Debug, PartialEq, Eq)]
pub enum Seen {
    /// The machine confirmed its newest spec; for whom, if it is held.
    Settled(Option<ReservationId>),
    Ready(ReservationId),
    Clean(ReservationId),
    /// It could not be made ready there; the machine loop decides what follows.
    Trouble,
}

impl Store {
    /// Records that a machine was seen, and what it has, if it speaks of its newest generation.
    pub async fn machine_report(
        &self,
        credential: String,
        incarnation: Incarnation,
        report: Report,
        now: Timestamp,
    ) -> Result<Received, Failure> {
        let epoch = self.epoch;
        self.write(move |conn| {
            let row = machine_of(conn, &credential, incarnation)?;
            refuse_gone(&row)?;
            let seen = receive(conn, &row, &report, now)?;
            let newer = row.generation > report.generation as i64;
            let spec = if newer { Some(spec_of(conn, epoch, &row)?) } else { None };
            let machine = text("machine.id", &row.id)?;
            Ok(Received { machine, retired: row.retired_at.is_some(), spec, seen })
        })
        .await
    }
}

fn machine_of(conn: &mut Conn, credential: &str, incarnation: Incarnation) -> Result<MachineRow, Failure> {
    let row: Option<MachineRow> = machine::table
        .filter(machine::credential.eq(credential))
        .select(MachineRow::as_select())
        .first(conn)
        .optional()?;
    row.filter(|row| row.incarnation.as_deref() == Some(incarnation.to_string().as_str())).ok_or_else(|| {
        Failure::Unauthorised("no machine has this credential; enrol with a join token".to_owned())
    })
}

fn receive(conn: &mut Conn, row: &MachineRow, report: &Report, now: Timestamp) -> Result<Vec<Seen>, Failure> {
    let held = held(conn, &row.id)?;
    let current = report.generation as i64 == row.generation;
    let problem = problem(row, report, held.as_ref().map(|(seat, _)| seat.id.as_str()));
    let seen_generation = if current { row.generation } else { row.seen_generation };
    let mut seen = Vec::new();
    if seen_generation != row.seen_generation {
        let held =
            held.as_ref().map(|(_, reservation)| text("reservation.id", &reservation.id)).transpose()?;
        seen.push(Seen::Settled(held));
    }
    // A report of an older generation says nothing about what is wanted now.
    if let (true, Some((seat, reservation))) = (current, held) {
        seen.extend(receive_seat(conn, row, &seat, &reservation, report, now)?);
    }
    let works = seen.iter().any(|seen| matches!(seen, Seen::Ready(_)));
    execute(
        conn,
        "UPDATE machine SET seen_at = ?, seen_generation = ?, problem = ?, facts = ?, failures = ? WHERE id = ?",
        &[
            Number(micros(now)),
            Number(seen_generation),
            TextOrNull(problem.as_deref()),
            Text(&to_json(&report.facts)?),
            Number(if works { 0 } else { row.failures }),
            Text(&row.id),
        ],
    )?;
    Ok(seen)
}

fn receive_seat(
    conn: &mut Conn,
    row: &MachineRow,
    seat: &AssignmentRow,
    reservation: &ReservationRow,
    report: &Report,
    now: Timestamp,
) -> Result<Option<Seen>, Failure> {
    let id: ReservationId = text("reservation.id", &reservation.id)?;
    let there = report.accounts.iter().find(|account| account.assignment.to_string() == seat.id);
    let ended = reservation.ended_at.is_some() || seat.given_up_at.is_some();
    let target = assignment::table.find(&seat.id);
    match (there.map(|account| &account.state), ended) {
        (None | Some(AccountState::Refused { .. }), true) => {
            let values = &[Number(micros(now)), Text(&seat.id)];
            execute(conn, "UPDATE assignment SET cleaned_at = ? WHERE id = ?", values)?;
            let about = About { machine: Some(&row.name), reservation: Some(&reservation.id), detail: "" };
            record(conn, now, "machine.cleaned", about)?;
            Ok(Some(Seen::Clean(id)))
        }
        (Some(AccountState::Ready), false) if seat.ready_at.is_none() => {
            let values = &[Number(micros(now)), Text(&seat.id)];
            execute(conn, "UPDATE assignment SET ready_at = ?, last_error = NULL WHERE id = ?", values)?;
            Ok(Some(Seen::Ready(id)))
        }
        (Some(AccountState::Failed { why }), false) => {
            diesel::update(target).set(assignment::last_error.eq(why)).execute(conn)?;
            Ok(None)
        }
        (Some(AccountState::Refused { why }), false) => {
            diesel::update(target)
                .set((assignment::refused_at.eq(micros(now)), assignment::last_error.eq(why)))
                .execute(conn)?;
            Ok(Some(Seen::Trouble))
        }
        (Some(AccountState::Leaving { why, attempts }), true) => {
            diesel::update(target)
                .set((assignment::attempts.eq(i64::from(*attempts)), assignment::last_error.eq(why)))
                .execute(conn)?;
            Ok(None)
        }
        (None | Some(AccountState::Ready | AccountState::Leaving { .. }), false)
        | (Some(AccountState::Ready | AccountState::Failed { .. }), true) => Ok(None),
    }
}

/// Anything that keeps this machine from being given away, beyond the account it is to have.
fn problem(row: &MachineRow, report: &Report, held: Option<&str>) -> Option<String> {
    if report.generation as i64 > row.generation {
        return Some(format!(
            "it has seen generation {}, this database knows only {}: was a backup restored? retire it and register it anew",
            report.generation, row.generation
        ));
    }
    let foreign =
        report.accounts.iter().find(|account| Some(account.assignment.to_string().as_str()) != held);
    foreign
        .map(|account| format!("account `{}` of an earlier time is still there", account.name))
        .or_else(|| report.problems.first().cloned())
}
