//! Taking accounts away, all that are due at once: first nobody gets in and nothing runs, for every one of them; then
//! goes what they left. Every step may be repeated, and goes on after what it cannot do.

use crate::observe::{Observed, Places};
use crate::records::Records;
use crate::sync::jittered;
use model::AssignmentId;
use model::cleaning::{CleaningStep, Residue};
use playbooks::unix::Databases;
use playbooks::{Home, Host, Litter, Who};
use std::collections::{BTreeMap, BTreeSet};
use std::{io, time::Duration};

/// So often litter is looked for until there is none.
const PASSES: u32 = 4;
/// So often in a row nothing may be found to run: a process may have been in the middle of forking, a log-in in the
/// middle of its checks.
const CLEAN_SCANS: u32 = 2;

/// What went wrong for whom; the first reason of each.
pub type Failures = BTreeMap<AssignmentId, String>;

/// What came of it.
#[derive(Debug, Default)]
pub struct Outcome {
    pub failures: Failures,
    /// Whose litter was looked for everywhere in the end, and there was none.
    pub swept: BTreeSet<AssignmentId>,
}

/// How urgent it is, once nobody gets in any more and nothing runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Haste {
    /// Somebody may be waiting for it.
    Now,
    /// Time was up. It may be so on every machine of a host in the same second, and to lock all of them comes first.
    Soon,
}

const SOON: Duration = Duration::from_secs(2);

pub fn clean(
    host: &mut dyn Host,
    whose: &[Who],
    seen: &Observed,
    records: &mut Records,
    haste: Haste,
) -> Outcome {
    let mut cleaner = Cleaner { host, seen, records, outcome: Outcome::default() };
    cleaner.step(CleaningStep::Lock, whose, Cleaner::lock);
    let dead = cleaner.step(CleaningStep::Kill, whose, Cleaner::kill);
    if haste == Haste::Soon {
        cleaner.host.rest(jittered(SOON));
    }
    // Who has a living process keeps the name: nobody else may get it, and the process would leave more.
    cleaner.step(CleaningStep::Detach, &dead, Cleaner::detach);
    cleaner.step(CleaningStep::Files, &dead, Cleaner::files);
    cleaner.step(CleaningStep::Entries, &dead, Cleaner::entries);
    let swept = cleaner.step(CleaningStep::Sweep, &dead, Cleaner::sweep);
    cleaner.outcome.swept = swept.iter().map(|who| who.assignment).collect();
    cleaner.outcome
}

struct Cleaner<'a> {
    host: &'a mut dyn Host,
    /// Before anything was done.
    seen: &'a Observed,
    records: &'a mut Records,
    outcome: Outcome,
}

impl Cleaner<'_> {
    fn step<T>(&mut self, step: CleaningStep, whose: &[Who], act: fn(&mut Self, &[Who]) -> T) -> T {
        let began = self.host.uptime();
        let done = act(self, whose);
        let took = self.host.uptime().saturating_sub(began).as_micros() as u64;
        whose.iter().for_each(|who| self.records.took(who, step, took));
        done
    }

    /// Keys and sudo first: that needs no free disk, while locking the password does.
    fn lock(&mut self, whose: &[Who]) {
        for who in whose {
            let places = self.seen.places.get(who);
            let has = |part: fn(&Places) -> bool| places.is_some_and(part);
            let (keys, own) = (self.host.keys_remove(who), has(|places| places.has_keys()));
            self.note(who, keys, own, Residue::Key, "~/.ssh");
            let (keys, own) = (self.host.root_keys_remove(who), has(|places| places.root_keys.is_some()));
            self.note(who, keys, own, Residue::Key, "/etc/ssh/berth-keys");
            let (sudo, own) = (self.host.sudo_remove(who), has(|places| places.sudo.is_some()));
            self.note(who, sudo, own, Residue::Sudo, "/etc/sudoers.d");
        }
        if let Err(error) = self.edit(whose, Databases::lock) {
            for who in whose {
                let _ = self.host.password_spoil(who);
                self.fail(who, error.to_string());
            }
        }
        self.litter(whose, Litter::Jobs);
    }

    /// Returns those of whom nothing lives.
    fn kill(&mut self, whose: &[Who]) -> Vec<Who> {
        let mut dead = Vec::new();
        for who in whose {
            match end_processes(self.host, who) {
                Ok(()) => {
                    let count = self.seen.places.get(who).map_or(0, |places| places.processes);
                    if count > 0 {
                        let what = format!("{count} processes");
                        self.records.removed(who, Residue::Process, count, &what);
                    }
                    dead.push(who.clone());
                }
                Err(error) => self.fail(who, error.to_string()),
            }
        }
        dead
    }

    fn detach(&mut self, whose: &[Who]) {
        self.litter(whose, Litter::Mounts);
        self.litter(whose, Litter::Ipc);
    }

    fn files(&mut self, whose: &[Who]) {
        for who in whose {
            let places = self.seen.places.get(who);
            let home = places.is_some_and(|places| places.home != Home::Absent);
            let mail = places.is_some_and(|places| places.mail);
            let removed = self.host.home_remove(who);
            self.note(who, removed, home, Residue::Home, &format!("/home/{}", who.name));
            let removed = self.host.mail_remove(who);
            self.note(who, removed, mail, Residue::Mail, "mail");
        }
    }

    /// Each file by itself is made to say nothing of them.
    fn entries(&mut self, whose: &[Who]) {
        let removed = self.edit(whose, Databases::remove);
        for who in whose {
            match &removed {
                Ok(()) => {
                    let databases = &self.seen.databases;
                    let lines = databases.differences(&databases.remove(who.name.as_str(), who.uid));
                    let what = format!("/etc: {}", lines.join(", "));
                    if !lines.is_empty() {
                        self.records.removed(who, Residue::Entry, lines.len(), &what);
                    }
                }
                Err(error) => self.fail(who, error.to_string()),
            }
        }
        self.litter(whose, Litter::Backups);
    }

    /// Returns those of whom nothing was found in the end.
    fn sweep(&mut self, whose: &[Who]) -> Vec<Who> {
        self.litter(whose, Litter::Files);
        let failures = &self.outcome.failures;
        whose.iter().filter(|who| !failures.contains_key(&who.assignment)).cloned().collect()
    }

    /// The same edit for all of them, in one replacement of each file.
    fn edit(&mut self, whose: &[Who], edit: fn(&Databases, &str, u32) -> Databases) -> io::Result<()> {
        despite_a_full_disk(self.host, |host| {
            Databases::edit(host, |old| {
                whose.iter().fold(old.clone(), |edited, who| edit(&edited, who.name.as_str(), who.uid))
            })
        })
    }

    /// Looks until nothing is found; what cannot be removed ends that.
    fn litter(&mut self, whose: &[Who], litter: Litter) {
        let mut left: Vec<Who> = whose.to_vec();
        for _ in 0..PASSES {
            if left.is_empty() {
                return;
            }
            let cleared = match despite_a_full_disk(self.host, |host| host.litter_remove(&left, litter)) {
                Ok(cleared) => cleared,
                Err(error) => return left.iter().for_each(|who| self.fail(who, error.to_string())),
            };
            self.records.cleared(&left, &cleared);
            let refused =
                |who: &Who| cleared.found.iter().find(|found| found.uid == who.uid && found.removed.is_err());
            for who in &left {
                if let Some(found) = refused(who) {
                    let why = found.removed.clone().err().unwrap_or_default();
                    self.fail(who, format!("{}: {why}", found.what));
                }
            }
            left.retain(|who| {
                refused(who).is_none() && cleared.found.iter().any(|found| found.uid == who.uid)
            });
        }
        for who in &left {
            self.fail(who, format!("what it left ({litter:?}) comes back as fast as it is removed"));
        }
    }

    /// `was_there` is what was seen before; only that counts as removed.
    fn note(&mut self, who: &Who, done: io::Result<()>, was_there: bool, kind: Residue, what: &str) {
        match done {
            Ok(()) if was_there => self.records.removed(who, kind, 1, what),
            Ok(()) => {}
            Err(error) => self.fail(who, format!("{what}: {error}")),
        }
    }

    fn fail(&mut self, who: &Who, why: String) {
        self.outcome.failures.entry(who.assignment).or_insert(why);
    }
}

pub(crate) fn end_processes(host: &mut dyn Host, who: &Who) -> io::Result<()> {
    for _ in 0..CLEAN_SCANS {
        host.kill_all(who.uid)?;
    }
    let alive = host.processes(who.uid)?;
    if alive.is_empty() {
        return Ok(());
    }
    Err(io::Error::other(format!("processes of uid {} are still alive: {alive:?}", who.uid)))
}

/// Taking away needs a little disk now and then; there is some set aside for it.
pub(crate) fn despite_a_full_disk<T>(
    host: &mut dyn Host,
    mut act: impl FnMut(&mut dyn Host) -> io::Result<T>,
) -> io::Result<T> {
    match act(host) {
        Err(error) if is_full(&error) => {
            host.ballast_drop()?;
            act(host)
        }
        done => done,
    }
}

fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}
