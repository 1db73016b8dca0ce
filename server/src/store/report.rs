//! Reports of agents: what a machine was seen to have becomes facts here, in one place.

use super::cleaning::{self, words};
use super::event::{About, record};
use super::machine::{held, news, refuse_gone};
use super::restore;
use super::row::{AssignmentRow, MachineRow, ReservationRow, micros, text, to_json};
use super::schema::{assignment, machine};
use super::sql::Value::{Number, NumberOrNull, Text, TextOrNull};
use super::sql::execute;
use super::{Conn, Failure, Store};
use diesel::prelude::*;
use model::cleaning::Cleaning;
use model::phase::CLEAN_TRIES;
use model::report::{AccountState, Report};
use model::session::{Claim, Quarantine, Verdict};
use model::spec::Spec;
use model::wire::SyncRequest;
use model::{AssignmentId, Epoch, Incarnation, MachineId, ReservationId, Timestamp};

/// What a report came to.
#[derive(Debug)]
pub struct Received {
    pub machine: MachineId,
    /// It is to go once it is empty.
    pub retired: bool,
    /// Present when it is newer than what was reported.
    pub spec: Option<Spec>,
    pub seen: Vec<Seen>,
    /// The report did not count: whoever wrote it may be dead. It is answered with this, at once.
    pub challenge: Option<u64>,
    /// Cleanings that have ended and need not be told again.
    pub kept: Vec<AssignmentId>,
    /// Those among them that are news.
    pub cleaned: Vec<Cleaning>,
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
    /// Refuses a credential that is no machine's.
    pub async fn credential_check(&self, credential: String, of: Incarnation) -> Result<(), Failure> {
        self.read(move |conn| machine_of(conn, &credential, of).map(drop)).await
    }

    /// Records that a machine was seen, and what it has, if it speaks of its newest generation. `fresh` is a random
    /// number, for a challenge.
    pub async fn machine_report(
        &self,
        credential: String,
        request: SyncRequest,
        fresh: u64,
        now: Timestamp,
    ) -> Result<Received, Failure> {
        let epoch = self.epoch;
        self.write(move |conn| {
            let mut row = machine_of(conn, &credential, request.incarnation)?;
            refuse_gone(&row)?;
            let mut received = Received::nothing(&row)?;
            hear(conn, epoch, &mut row, &request, fresh, &mut received, now)?;
            if received.challenge.is_none() {
                received.spec = news(conn, epoch, &row, request.report.generation_of(epoch))?;
            }
            Ok(received)
        })
        .await
    }
}

impl Received {
    fn nothing(row: &MachineRow) -> Result<Self, Failure> {
        Ok(Self {
            machine: text("machine.id", &row.id)?,
            retired: row.retired_at.is_some(),
            spec: None,
            seen: vec![],
            challenge: None,
            kept: vec![],
            cleaned: vec![],
        })
    }
}

/// Whether a letter counts, before what it says.
fn hear(
    conn: &mut Conn,
    epoch: Epoch,
    row: &mut MachineRow,
    request: &SyncRequest,
    fresh: u64,
    received: &mut Received,
    now: Timestamp,
) -> Result<(), Failure> {
    if is_set_apart(conn, epoch, row, &request.report, now)? {
        return Ok(());
    }
    let mut claim = row.claim();
    match claim.hear(&request.session, request.challenge, fresh) {
        Verdict::Challenged(challenge) => {
            received.challenge = Some(challenge);
            let values = &[Number(challenge as i64), Text(&row.id)];
            execute(conn, "UPDATE machine SET challenge = ? WHERE id = ?", values)?;
            Ok(())
        }
        Verdict::Cloned => quarantine(conn, row, Quarantine::Cloned, "", now),
        Verdict::Counts => receive(conn, epoch, row, &claim, &request.report, received, now),
    }
}

/// Nothing it says counts; only that it says something.
fn is_set_apart(
    conn: &mut Conn,
    epoch: Epoch,
    row: &mut MachineRow,
    report: &Report,
    now: Timestamp,
) -> Result<bool, Failure> {
    if row.quarantined.is_none() || restore::take_over(conn, epoch, row, report, now)? {
        return Ok(false);
    }
    let values = &[Number(micros(now)), Text(&row.id)];
    execute(conn, "UPDATE machine SET seen_at = ? WHERE id = ?", values)?;
    Ok(true)
}

fn quarantine(
    conn: &mut Conn,
    row: &mut MachineRow,
    why: Quarantine,
    detail: &str,
    now: Timestamp,
) -> Result<(), Failure> {
    let values = &[Text(why.name()), Number(micros(now)), Text(&row.id)];
    execute(conn, "UPDATE machine SET quarantined = ?, seen_at = ? WHERE id = ?", values)?;
    row.quarantined = Some(why.name().to_owned());
    let detail = if detail.is_empty() { why.to_string() } else { format!("{why}: {detail}") };
    record(
        now,
        "machine.quarantined",
        About { machine: Some(&row.name), detail: &detail, ..About::default() },
    );
    Ok(())
}

/// How a report shows that this database is older than what it has told.
fn ahead(
    conn: &mut Conn,
    epoch: Epoch,
    row: &MachineRow,
    report: &Report,
    held: Option<&str>,
) -> Result<Option<(Quarantine, String)>, Failure> {
    let known = restore::known(epoch, row, report)?;
    let newest = known.unwrap_or(row.generation as u64);
    let why = if known.is_some() { Quarantine::Restored } else { Quarantine::Ahead };
    if report.generation > newest {
        let seen = report.generation;
        return Ok(Some((why, format!("it has seen generation {seen}, and {newest} is the newest here"))));
    }
    let ready = report.accounts.iter().filter(|account| account.state == AccountState::Ready);
    for account in ready {
        let id = account.assignment.to_string();
        if held == Some(id.as_str()) {
            continue;
        }
        let known: i64 = assignment::table.find(&id).count().get_result(conn)?;
        if known == 0 {
            return Ok(Some((why, format!("account `{}` is on it, and unknown here", account.name))));
        }
    }
    Ok(None)
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

/// The report of a visit: we asked for it ourselves, of a machine whose key is pinned.
pub(crate) fn receive_visit(
    conn: &mut Conn,
    epoch: Epoch,
    id: MachineId,
    report: &Report,
    now: Timestamp,
) -> Result<Received, Failure> {
    let mut row: MachineRow =
        machine::table.find(id.to_string()).select(MachineRow::as_select()).first(conn)?;
    let mut received = Received::nothing(&row)?;
    if row.gone_at.is_none() && !is_set_apart(conn, epoch, &mut row, report, now)? {
        let claim = row.claim();
        receive(conn, epoch, &mut row, &claim, report, &mut received, now)?;
    }
    Ok(received)
}

fn receive(
    conn: &mut Conn,
    epoch: Epoch,
    row: &mut MachineRow,
    claim: &Claim,
    report: &Report,
    received: &mut Received,
    now: Timestamp,
) -> Result<(), Failure> {
    let held = held(conn, &row.id)?;
    let held_id = held.as_ref().map(|(seat, _)| seat.id.clone());
    if let Some((quarantined, why)) = ahead(conn, epoch, row, report, held_id.as_deref())? {
        return quarantine(conn, row, quarantined, &why, now);
    }
    received.cleaned = cleaning::keep(conn, &row.id, &report.cleanings)?;
    let heard = report.cleanings.iter().take(cleaning::MOST_AT_ONCE);
    let ended = heard.filter(|cleaning| cleaning.ended_at.is_some());
    received.kept = ended.map(|cleaning| cleaning.assignment).collect();
    let current = report.generation_of(epoch) as i64 == row.generation;
    if current && row.seen_generation != row.generation {
        let of = held.as_ref().map(|(_, of)| text("reservation.id", &of.id)).transpose()?;
        received.seen.push(Seen::Settled(of));
    }
    // A report of an older generation says nothing about what is wanted now.
    if let (true, Some((seat, reservation))) = (current, held) {
        received.seen.extend(receive_seat(conn, row, &seat, &reservation, report, now)?);
    }
    let works = received.seen.iter().any(|seen| matches!(seen, Seen::Ready(_)));
    let problem = problem(report, held_id.as_deref());
    execute(
        conn,
        "UPDATE machine SET seen_at = ?, seen_generation = ?, problem = ?, facts = ?, failures = ?, \
         session = ?, former_sessions = ?, challenge = ?, has_returned = ? WHERE id = ?",
        &[
            Number(micros(now)),
            Number(if current { row.generation } else { row.seen_generation }),
            TextOrNull(problem.as_deref()),
            Text(&to_json(&report.facts)?),
            Number(if works { 0 } else { row.failures }),
            TextOrNull(claim.session.as_deref()),
            Text(&claim.formers.join(" ")),
            NumberOrNull(claim.challenge.map(|challenge| challenge as i64)),
            Number(claim.has_returned.into()),
            Text(&row.id),
        ],
    )?;
    Ok(())
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
        // Who was root may have taught the agent to say so: only the machine's end counts.
        (None | Some(AccountState::Refused { .. }), true) if reservation.sudo != 0 && row.pool.is_some() => {
            Ok(None)
        }
        (None | Some(AccountState::Refused { .. }), true) => {
            let values = &[Number(micros(now)), Text(&seat.id)];
            execute(conn, "UPDATE assignment SET cleaned_at = ? WHERE id = ?", values)?;
            let detail = words(&reservation.username, seat, &report.cleanings);
            let about =
                About { machine: Some(&row.name), reservation: Some(&reservation.id), detail: &detail };
            record(now, "machine.cleaned", about);
            Ok(Some(Seen::Clean(id)))
        }
        (Some(AccountState::Ready), false) if seat.ready_at.is_none() => {
            let values = &[Number(micros(now)), Text(&seat.id)];
            execute(conn, "UPDATE assignment SET ready_at = ?, last_error = NULL WHERE id = ?", values)?;
            Ok(Some(Seen::Ready(id)))
        }
        // It was silent, or in trouble, and is no longer.
        (Some(AccountState::Ready), false) if seat.last_error.is_some() => {
            diesel::update(target).set(assignment::last_error.eq(None::<String>)).execute(conn)?;
            Ok(None)
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
            if seat.attempts < i64::from(CLEAN_TRIES) && *attempts >= CLEAN_TRIES {
                let why: String = why.chars().take(Cleaning::LONGEST_LINE).collect();
                let detail = format!("{} after {attempts} tries: {why}", reservation.username);
                let about =
                    About { machine: Some(&row.name), reservation: Some(&reservation.id), detail: &detail };
                record(now, "machine.unclean", about);
            }
            Ok(None)
        }
        (None | Some(AccountState::Ready | AccountState::Leaving { .. }), false)
        | (Some(AccountState::Ready | AccountState::Failed { .. }), true) => Ok(None),
    }
}

/// Anything that keeps this machine from being given away, beyond the account it is to have.
fn problem(report: &Report, held: Option<&str>) -> Option<String> {
    let foreign =
        report.accounts.iter().find(|account| Some(account.assignment.to_string().as_str()) != held);
    foreign
        .map(|account| format!("account `{}` of an earlier time is still there", account.name))
        .or_else(|| report.problems.first().cloned())
}
