//! What agents say of taking accounts away: kept with the assignment, and worded.

use super::event::{About, record};
use super::machine::by_name;
use super::row::{AssignmentRow, ReservationRow, Rows, json, readable, text, to_json};
use super::schema::{assignment, machine, reservation};
use super::sql::Value::Text;
use super::sql::execute;
use super::{Conn, Failure, Store};
use diesel::prelude::*;
use model::cleaning::{Cleaning, Residue};
use model::machine::Machine;
use model::phase::{MachineState, machine_state};
use model::wire::CleaningView;
use model::{AssignmentId, Timestamp};

/// More than an agent has to tell at once.
pub(crate) const MOST_AT_ONCE: usize = 100;

impl Store {
    /// Has a machine that does not get clean try again at once.
    pub async fn machine_clean(&self, name: &str, now: Timestamp) -> Result<Machine, Failure> {
        let (name, ttl) = (name.to_owned(), self.ttl);
        self.write(move |conn| {
            let found = by_name(conn, &name)?;
            let state = machine_state(&found, now, ttl);
            let holding = found.holding.as_ref().filter(|holding| holding.is_leaving(now));
            let Some(holding) = holding.filter(|_| found.quarantined.is_none()) else {
                return Err(Failure::Conflict(not_leaving(&name, &state)));
            };
            diesel::update(assignment::table.find(holding.assignment.to_string()))
                .set(assignment::attempts.eq(0))
                .execute(conn)?;
            diesel::update(machine::table.find(found.id.to_string()))
                .set(machine::generation.eq(machine::generation + 1))
                .execute(conn)?;
            let reservation = holding.reservation.to_string();
            let about = About { machine: Some(&name), reservation: Some(&reservation), detail: "" };
            record(now, "machine.clean_requested", about);
            by_name(conn, &name)
        })
        .await
    }

    /// What was taken away from machines of this name, those gone among them; the newest first, from before `cursor` on.
    pub async fn cleaning_list(
        &self,
        name: &str,
        cursor: Option<AssignmentId>,
        limit: u32,
    ) -> Result<Rows<CleaningView>, Failure> {
        let name = name.to_owned();
        self.read(move |conn| {
            let known: i64 = machine::table.filter(machine::name.eq(&name)).count().get_result(conn)?;
            if known == 0 {
                return Err(Failure::NotFound(format!(
                    "there is no machine `{name}`; GET /v1/machines lists them"
                )));
            }
            let before = cursor.map_or_else(|| "~".to_owned(), |id| id.to_string());
            let rows: Vec<(AssignmentRow, ReservationRow, String)> = assignment::table
                .inner_join(reservation::table)
                .inner_join(machine::table)
                .filter(machine::name.eq(&name).and(assignment::cleaning.is_not_null()))
                .filter(assignment::id.lt(before))
                .order(assignment::id.desc())
                .limit(i64::from(limit))
                .select((AssignmentRow::as_select(), ReservationRow::as_select(), machine::name))
                .load(conn)?;
            Rows::of(rows, limit, |rows| Ok(readable(rows.into_iter().map(view))))
        })
        .await
    }
}

fn not_leaving(name: &str, state: &MachineState) -> String {
    let remedy = match state {
        MachineState::Held => "release its reservation first, and it is cleaned",
        MachineState::Maintenance(_) => "look at its reason (`berth machine get`)",
        MachineState::Free
        | MachineState::Cleaning
        | MachineState::Unreachable { .. }
        | MachineState::Retiring
        | MachineState::Listed => "there is nothing to take away",
    };
    format!("nobody is leaving `{name}`, which is {}; {remedy}", state.name())
}

/// Keeps those that are about this machine: the newest wins, but nothing takes the place of one that has ended except
/// another that has. Returns those whose end is news.
pub(crate) fn keep(conn: &mut Conn, machine: &str, cleanings: &[Cleaning]) -> Result<Vec<Cleaning>, Failure> {
    let mut ended = Vec::new();
    for cleaning in cleanings.iter().take(MOST_AT_ONCE).cloned().map(trimmed) {
        let id = cleaning.assignment.to_string();
        let found: Option<Option<String>> = assignment::table
            .find(&id)
            .filter(assignment::machine_id.eq(machine))
            .select(assignment::cleaning)
            .first(conn)
            .optional()?;
        let Some(before) = found else { continue };
        let before = before.map(|text| json::<Cleaning>("assignment.cleaning", &text)).transpose()?;
        let had_ended = before.as_ref().is_some_and(|before| before.ended_at.is_some());
        let is_late = had_ended && cleaning.ended_at.is_none();
        if is_late || before.as_ref() == Some(&cleaning) {
            continue;
        }
        execute(
            conn,
            "UPDATE assignment SET cleaning = ? WHERE id = ?",
            &[Text(&to_json(&cleaning)?), Text(&id)],
        )?;
        if cleaning.ended_at.is_some() && !had_ended {
            ended.push(cleaning);
        }
    }
    Ok(ended)
}

/// What an agent sends is a stranger's text: it must not fill our disk.
fn trimmed(mut cleaning: Cleaning) -> Cleaning {
    let cut = |line: &mut String| {
        if let Some((at, _)) = line.char_indices().nth(Cleaning::LONGEST_LINE) {
            line.truncate(at);
        }
    };
    cleaning.examples.truncate(Cleaning::MOST_LINES);
    cleaning.refused.truncate(Cleaning::MOST_LINES);
    cleaning.unswept.truncate(Cleaning::MOST_LINES);
    cleaning.examples.iter_mut().for_each(cut);
    cleaning.unswept.iter_mut().for_each(cut);
    for refused in &mut cleaning.refused {
        cut(&mut refused.what);
        cut(&mut refused.why);
    }
    cleaning
}

/// In words, for an event: from the report at hand, or what was kept of an earlier one.
pub(crate) fn words(username: &str, seat: &AssignmentRow, reported: &[Cleaning]) -> String {
    let kept = || seat.cleaning.as_deref().and_then(|text| serde_json::from_str(text).ok());
    let at_hand = reported.iter().find(|cleaning| cleaning.assignment.to_string() == seat.id);
    at_hand.cloned().or_else(kept).map(|cleaning| worded(username, &cleaning)).unwrap_or_default()
}

/// `alice: 3 processes, 1 cron job, 2 files in 41 ms`
fn worded(username: &str, cleaning: &Cleaning) -> String {
    let removed: Vec<String> = cleaning
        .removed
        .iter()
        .filter(|(_, count)| **count > 0)
        .map(|(kind, count)| counted(*kind, *count))
        .collect();
    let removed = if removed.is_empty() { "nothing left".to_owned() } else { removed.join(", ") };
    format!("{username}: {removed} in {} ms", cleaning.took_in_all().div_ceil(1000))
}

fn counted(kind: Residue, count: u32) -> String {
    let (one, many) = match kind {
        Residue::Process => ("process", "processes"),
        Residue::Key => ("key file", "key files"),
        Residue::Sudo => ("sudo rule", "sudo rules"),
        Residue::Cron => ("cron job", "cron jobs"),
        Residue::At => ("at job", "at jobs"),
        Residue::Linger => ("lingering session", "lingering sessions"),
        Residue::Mount => ("mount", "mounts"),
        Residue::Ipc => ("IPC object", "IPC objects"),
        Residue::Home => ("home", "homes"),
        Residue::Mail => ("mailbox", "mailboxes"),
        Residue::Entry => ("account entry", "account entries"),
        Residue::Backup => ("backup entry", "backup entries"),
        Residue::File => ("file", "files"),
        Residue::Acl => ("access list", "access lists"),
    };
    format!("{count} {}", if count == 1 { one } else { many })
}

fn view((seat, of, machine): (AssignmentRow, ReservationRow, String)) -> Result<CleaningView, Failure> {
    let kept = seat.cleaning.as_deref().unwrap_or_default();
    let cleaning: Cleaning = json("assignment.cleaning", kept)?;
    let ms = |micros: u64| micros as f64 / 1000.0;
    Ok(CleaningView {
        machine: text("machine.name", &machine)?,
        assignment: cleaning.assignment,
        reservation: text("reservation.id", &of.id)?,
        username: text("reservation.username", &of.username)?,
        uid: seat.uid as u32,
        began_at: cleaning.began_at,
        ended_at: cleaning.ended_at,
        attempts: cleaning.attempts,
        took_ms: ms(cleaning.took_in_all()),
        steps_ms: cleaning.took.iter().map(|(step, micros)| (*step, ms(*micros))).collect(),
        removed: cleaning.removed,
        examples: cleaning.examples,
        refused: cleaning.refused,
        unswept: cleaning.unswept,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::cleaning::{CleaningStep, Refused};

    fn cleaning() -> Cleaning {
        let now = Timestamp::UNIX_EPOCH;
        Cleaning::began(AssignmentId::new(now), "alice".parse().unwrap(), 66_000, now)
    }

    #[test]
    fn what_was_removed_is_told_in_a_line() {
        let mut told = cleaning();
        assert_eq!(worded("alice", &told), "alice: nothing left in 0 ms");
        told.removed =
            [(Residue::File, 2), (Residue::Process, 3), (Residue::Cron, 1), (Residue::Mail, 0)].into();
        told.took = [(CleaningStep::Kill, 40_000), (CleaningStep::Sweep, 900)].into();
        assert_eq!(worded("alice", &told), "alice: 3 processes, 1 cron job, 2 files in 41 ms");
        told.took = [(CleaningStep::Kill, u64::MAX), (CleaningStep::Sweep, 900)].into();
        assert!(worded("alice", &told).ends_with(" ms"));
    }

    #[test]
    fn strangers_lines_are_cut() {
        let mut long = cleaning();
        let line = "é".repeat(Cleaning::LONGEST_LINE + 1);
        long.examples = vec![line.clone(); Cleaning::MOST_LINES + 1];
        long.unswept = long.examples.clone();
        long.refused = vec![Refused { kind: Residue::File, what: line.clone(), why: line }; 99];
        let short = trimmed(long);
        let lengths = |lines: &[String]| (lines.len(), lines[0].chars().count());
        assert_eq!(lengths(&short.examples), (Cleaning::MOST_LINES, Cleaning::LONGEST_LINE));
        assert_eq!(lengths(&short.unswept), (Cleaning::MOST_LINES, Cleaning::LONGEST_LINE));
        assert_eq!(short.refused.len(), Cleaning::MOST_LINES);
        assert_eq!(short.refused[0].why.chars().count(), Cleaning::LONGEST_LINE);
    }
}
