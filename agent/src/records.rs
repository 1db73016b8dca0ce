//! What cleaning came to, kept with the ledger until the server has it.

use model::cleaning::{Cleaning, CleaningStep, Refused, Residue};
use model::{AssignmentId, Timestamp};
use playbooks::{Cleared, Who};
use serde::{Deserialize, Serialize};

/// Of those that have ended so many are kept: a server may be dead for long, and a ledger must not grow for ever.
const MOST_ENDED: usize = 64;

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Records(Vec<Cleaning>);

impl Records {
    pub fn all(&self) -> &[Cleaning] {
        &self.0
    }

    /// Another attempt begins.
    pub(crate) fn begin(&mut self, who: &Who, now: Timestamp) {
        if !self.0.iter().any(|record| record.assignment == who.assignment) {
            self.0.push(Cleaning::began(who.assignment, who.name.clone(), who.uid, now));
        }
        let Some(record) = self.of(who) else { return };
        record.attempts += 1;
        record.refused.clear();
        record.unswept.clear();
    }

    pub fn attempts(&self, who: &Who) -> u32 {
        self.0.iter().find(|record| record.assignment == who.assignment).map_or(0, |record| record.attempts)
    }

    pub(crate) fn took(&mut self, who: &Who, step: CleaningStep, micros: u64) {
        if let Some(record) = self.of(who) {
            *record.took.entry(step).or_default() += micros;
        }
    }

    pub(crate) fn removed(&mut self, who: &Who, kind: Residue, count: usize, what: &str) {
        let Some(record) = self.of(who) else { return };
        *record.removed.entry(kind).or_default() += count as u32;
        push(&mut record.examples, what.to_owned());
    }

    /// What one look for litter found, of all that it was for.
    pub(crate) fn cleared(&mut self, whose: &[Who], cleared: &Cleared) {
        for who in whose {
            for found in cleared.found.iter().filter(|found| found.uid == who.uid) {
                match &found.removed {
                    Ok(()) => self.removed(who, found.kind, 1, &found.what),
                    Err(why) => self.refused(who, found.kind, &found.what, why),
                }
            }
            if let Some(record) = self.of(who) {
                cleared.unswept.iter().for_each(|place| push(&mut record.unswept, place.clone()));
            }
        }
    }

    fn refused(&mut self, who: &Who, kind: Residue, what: &str, why: &str) {
        let Some(record) = self.of(who) else { return };
        let known = record.refused.iter().any(|refused| refused.kind == kind && refused.what == what);
        if !known && record.refused.len() < Cleaning::MOST_LINES {
            record.refused.push(Refused { kind, what: short(what.to_owned()), why: short(why.to_owned()) });
        }
    }

    /// Seen to be gone.
    pub(crate) fn end(&mut self, who: &Who, now: Timestamp) {
        if let Some(record) = self.of(who) {
            record.ended_at = Some(now);
            record.refused.clear();
        }
        let ended = self.0.iter().filter(|record| record.ended_at.is_some()).count();
        let mut surplus = ended.saturating_sub(MOST_ENDED);
        self.0.retain(|record| {
            let drop = record.ended_at.is_some() && surplus > 0;
            surplus -= usize::from(drop);
            !drop
        });
    }

    /// The server has these.
    pub(crate) fn kept(&mut self, kept: &[AssignmentId]) {
        self.0.retain(|record| record.ended_at.is_none() || !kept.contains(&record.assignment));
    }

    fn of(&mut self, who: &Who) -> Option<&mut Cleaning> {
        self.0.iter_mut().find(|record| record.assignment == who.assignment)
    }
}

fn push(lines: &mut Vec<String>, line: String) {
    if lines.len() < Cleaning::MOST_LINES && !lines.contains(&line) {
        lines.push(short(line));
    }
}

fn short(line: String) -> String {
    match line.char_indices().nth(Cleaning::LONGEST_LINE) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}
