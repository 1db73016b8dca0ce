//! What became of each machine, told in the order of the file.

use super::send::Outcome;
use crate::command::counted;
use crate::command::reservation::address;
use crate::inventory::{ACCEPT_NEW, Entry};
use crate::session::Session;
use crate::table;
use model::ssh::SshAccess;
use model::wire::MachineCreate;
use serde::Serialize;

pub(super) struct Account<'a> {
    session: &'a Session,
    entries: &'a [Entry],
    dry_run: bool,
    outcomes: Vec<Option<Outcome>>,
    told: usize,
}

/// One machine with `--json`.
#[derive(Serialize)]
struct Row<'a> {
    name: &'a str,
    result: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
}

impl<'a> Account<'a> {
    pub(super) fn new(session: &'a Session, entries: &'a [Entry], dry_run: bool) -> Self {
        Self { session, entries, dry_run, outcomes: entries.iter().map(|_| None).collect(), told: 0 }
    }

    /// Says at once what stands before everything that is still under way.
    pub(super) fn enter(&mut self, index: usize, outcome: Outcome) -> std::io::Result<()> {
        if let Some(place) = self.outcomes.get_mut(index) {
            *place = Some(outcome);
        }
        while let (Some(entry), Some(Some(outcome))) =
            (self.entries.get(self.told), self.outcomes.get(self.told))
        {
            if !self.session.json {
                self.session.print(&table::clean(&self.line(entry, outcome)))?;
            }
            self.told += 1;
        }
        Ok(())
    }

    pub(super) fn close(&self) -> std::io::Result<()> {
        if self.session.json {
            let rows: Vec<Row<'_>> = self.done().map(|(entry, outcome)| self.row(entry, outcome)).collect();
            let text = serde_json::to_string(&rows).map_err(std::io::Error::other)?;
            return self.session.print(&text);
        }
        let count = |of: fn(&Outcome) -> bool| self.done().filter(|(_, outcome)| of(outcome)).count();
        let added = count(|outcome| matches!(outcome, Outcome::Added));
        let updated = count(|outcome| matches!(outcome, Outcome::Updated));
        let failed = self.failed();
        if self.dry_run {
            let said = format!("nothing was sent: {added} to add, {updated} to update, {failed} would fail");
            return self.session.print(&said);
        }
        self.session.print(&format!("{added} added, {updated} updated, {failed} failed"))?;
        let unknown = self.done().filter(|(entry, outcome)| waits_for_its_key(entry, outcome)).count();
        if unknown > 0 {
            let machines = counted(unknown, "machine");
            eprintln!("{machines} without a host key: `berth machine confirm NAME` shows and confirms it");
        }
        Ok(())
    }

    pub(super) fn failed(&self) -> usize {
        self.done().filter(|(_, outcome)| matches!(outcome, Outcome::Failed(_))).count()
    }

    fn done(&self) -> impl Iterator<Item = (&Entry, &Outcome)> {
        self.entries
            .iter()
            .zip(&self.outcomes)
            .filter_map(|(entry, outcome)| Some((entry, outcome.as_ref()?)))
    }

    fn row<'r>(&self, entry: &'r Entry, outcome: &'r Outcome) -> Row<'r> {
        let (result, reason) = match (outcome, self.dry_run) {
            (Outcome::Added, false) => ("added", None),
            (Outcome::Updated, false) => ("updated", None),
            (Outcome::Added, true) => ("would_add", None),
            (Outcome::Updated, true) => ("would_update", None),
            (Outcome::Failed(why), _) => ("failed", Some(why.as_str())),
        };
        Row { name: &entry.name, result, reason }
    }

    fn line(&self, entry: &Entry, outcome: &Outcome) -> String {
        let name = &entry.name;
        let as_what = entry.machine.as_ref().map(summary).unwrap_or_default();
        match (outcome, self.dry_run) {
            (Outcome::Added, false) => format!("Added {name}"),
            (Outcome::Updated, false) => format!("Updated {name}"),
            (Outcome::Added, true) => format!("Would add {name}: {as_what}"),
            (Outcome::Updated, true) => format!("Would update {name}: {as_what}"),
            (Outcome::Failed(why), _) => format!("Failed to add {name}: {why}"),
        }
    }
}

/// New machines that wait for somebody to look at their host keys.
fn waits_for_its_key(entry: &Entry, outcome: &Outcome) -> bool {
    let ssh = entry.machine.as_ref().ok().and_then(|machine| machine.ssh.as_ref());
    matches!(outcome, Outcome::Added) && ssh.is_some_and(|ssh| ssh.host_key.is_none())
}

/// `deploy@10.0.0.1:2222 by key through bastion, host key to be confirmed, os=debian`
fn summary(machine: &MachineCreate) -> String {
    let SshAccess { user, password, host_key, jump, .. } = machine.ssh.clone().unwrap_or_default();
    let user = user.unwrap_or_else(|| "root".to_owned());
    let by = if password.is_some() { "password" } else { "key" };
    let through = jump.map(|jump| format!(" through {jump}")).unwrap_or_default();
    let host_key = match host_key.as_deref() {
        None => ", host key to be confirmed",
        Some(ACCEPT_NEW) => ", any host key",
        Some(_) => ", host key known",
    };
    let labels: String = machine.labels.iter().map(|(key, value)| format!(", {key}={value}")).collect();
    format!("{user}@{} by {by}{through}{host_key}{labels}", address(&machine.host, machine.port))
}
