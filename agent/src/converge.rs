//! Makes a machine so. What is seen decides, before and after; a failed step is neither undone nor retried here: the
//! next convergence sees what there is and goes on from that.

use crate::clean::{Failures, Haste, clean, despite_a_full_disk, end_processes};
use crate::ledger::{Ledger, who};
use crate::moment::Moment;
use crate::notice;
use crate::observe::{Observed, observe};
use crate::plan::{self, Action, Plan, Step, plan};
use model::report::{AccountReport, AccountState, Facts, Report};
use model::spec::{AccountSpec, Spec, remembered};
use model::{AssignmentId, Timestamp};
use playbooks::unix::Databases;
use playbooks::{Host, Who};
use std::collections::BTreeSet;
use std::io;

/// Remove, forget, make in place of it, look.
const ROUNDS: u32 = 4;

pub fn converge(
    host: &mut dyn Host,
    ledger: &mut Ledger,
    spec: Option<Spec>,
    moment: impl Into<Moment>,
) -> Report {
    let moment = moment.into();
    let mut problems = Vec::new();
    let mut next = ledger.clone();
    match fence(ledger, spec) {
        Ok(Some(spec)) => {
            next.epoch = Some(spec.epoch);
            next.spec = Some(spec);
        }
        Ok(None) => {}
        Err(why) => problems.push(why),
    }
    problems.extend(without_uids(host, &next));
    let mut work = Work {
        host,
        moment,
        next,
        cleaned: BTreeSet::new(),
        swept: BTreeSet::new(),
        failures: Failures::new(),
    };
    let mut seen = None;
    for _ in 0..ROUNDS {
        match work.round(ledger) {
            Ok((observed, plan, Done::Nothing)) => {
                seen = Some((observed, plan));
                break;
            }
            Ok((observed, plan, Done::Something)) => seen = Some((observed, plan)),
            Err(error) => {
                problems.push(error.to_string());
                seen = None;
                break;
            }
        }
    }
    let Work { host, next, failures, .. } = work;
    remember(host, ledger, &next, moment.sure);
    notice::show(host, ledger, moment.now);
    let seen = seen.as_ref();
    let accounts = Accounts { ledger, next: &next, seen, failures: &failures, moment: &moment }.report();
    let facts =
        Facts { agent_version: env!("CARGO_PKG_VERSION").to_owned(), ..host.facts().unwrap_or_default() };
    let cleanings = ledger.cleanings.all().to_vec();
    let (generation, epoch, uid_floor) = (ledger.generation(), ledger.epoch, ledger.uid_floor);
    Report { generation, epoch, uid_floor, accounts, problems, cleanings, facts }
}

/// Whether a spec is to be obeyed: of our epoch, and newer than what we know; or of one that was restored from a backup of
/// ours, if the backup knew all that we were told.
fn fence(ledger: &Ledger, spec: Option<Spec>) -> Result<Option<Spec>, String> {
    let Some(spec) = spec else { return Ok(None) };
    let Some(ours) = ledger.epoch.filter(|ours| *ours != spec.epoch) else {
        return Ok((spec.generation > ledger.generation()).then_some(spec));
    };
    match remembered(&spec.follows, ours) {
        Some(known) if ledger.generation() <= known => Ok(Some(spec)),
        Some(known) => Err(format!(
            "this machine was told more (generation {}) than the backup knows ({known}) that the server was restored from",
            ledger.generation()
        )),
        None => Err(format!(
            "the server speaks for database {}, this machine obeys {ours}: restore that one, or enrol the machine anew",
            spec.epoch
        )),
    }
}

/// Some containers map few UIDs; an account made with another could not be removed again.
fn without_uids(host: &mut dyn Host, next: &Ledger) -> Option<String> {
    let uids = next.spec.as_ref()?.uids;
    // A machine that cannot be looked at says so elsewhere.
    let lacks = host.has_uids(uids).is_ok_and(|has| !has);
    lacks.then(|| {
        format!("this machine's user namespace lacks some of the UIDs {uids} (see /proc/self/uid_map): name others for its pool")
    })
}

struct Work<'a> {
    host: &'a mut dyn Host,
    moment: Moment,
    /// As the ledger is to be.
    next: Ledger,
    /// Once is enough: what is left then is left to the next convergence.
    cleaned: BTreeSet<AssignmentId>,
    swept: BTreeSet<AssignmentId>,
    /// Steps of these did not work.
    failures: Failures,
}

#[derive(PartialEq, Eq)]
enum Done {
    Nothing,
    Something,
}

impl Work<'_> {
    /// Looks, decides, and does. What the ledger must know comes first, in one write, and gates everything given; taking
    /// away waits for no disk.
    fn round(&mut self, ledger: &mut Ledger) -> io::Result<(Observed, Plan, Done)> {
        let mut observed = observe(self.host, &self.next, self.moment.sure)?;
        observed.swept.clone_from(&self.swept);
        let plan = plan(&observed, &self.next, &self.moment);
        let saved = self.save(ledger, &plan);
        let mut done = if plan.forget.is_empty() { Done::Nothing } else { Done::Something };
        let is_due = |who: &&Who| !self.cleaned.contains(&who.assignment);
        let due: Vec<Who> = plan.clean.iter().filter(is_due).cloned().collect();
        if !due.is_empty() {
            self.clean(&due, &observed);
            done = Done::Something;
        }
        for account in plan.steps.chunk_by(|a, b| a.who == b.who) {
            if !self.has_failed(&account[0].who) {
                self.give(ledger, account);
                done = Done::Something;
            }
        }
        saved.map_err(|error| {
            io::Error::new(error.kind(), format!("the ledger cannot be written: {error}"))
        })?;
        Ok((observed, plan, done))
    }

    fn save(&mut self, ledger: &mut Ledger, plan: &Plan) -> io::Result<()> {
        for who in &plan.forget {
            self.next.forget(who);
            self.next.cleanings.end(who, self.moment.now);
        }
        let records = plan.steps.iter().filter(|step| step.action == Action::Record);
        records.for_each(|step| self.next.record(step.who.clone()));
        if self.next != *ledger {
            let takes = !plan.forget.is_empty() || !plan.clean.is_empty();
            let next = &self.next;
            // What is set aside for taking away is not for giving.
            if takes {
                despite_a_full_disk(self.host, |host| next.save(host))
            } else {
                next.save(self.host)
            }?;
            ledger.clone_from(next);
        }
        Ok(())
    }

    fn clean(&mut self, due: &[Who], observed: &Observed) {
        for who in due {
            self.next.cleanings.begin(who, self.moment.now);
            self.cleaned.insert(who.assignment);
        }
        let spec = self.next.spec.iter().flat_map(|spec| &spec.accounts);
        let ended_by_itself = spec.into_iter().any(|account| due.contains(&who(account)));
        let haste = if ended_by_itself { Haste::Soon } else { Haste::Now };
        let outcome = clean(self.host, due, observed, &mut self.next.cleanings, haste);
        self.failures.extend(outcome.failures);
        self.swept.extend(outcome.swept);
    }

    /// Stops at the first failure, so that nobody can log in to half an account.
    fn give(&mut self, ledger: &Ledger, steps: &[Step]) {
        let who = &steps[0].who;
        if !ledger.manages(who) {
            return;
        }
        if let Err(error) = steps.iter().try_for_each(|step| apply(self.host, who, &step.action)) {
            self.failures.insert(who.assignment, error.to_string());
        }
    }

    fn has_failed(&self, who: &Who) -> bool {
        self.failures.contains_key(&who.assignment)
    }
}

fn apply(host: &mut dyn Host, who: &Who, action: &Action) -> io::Result<()> {
    match action {
        Action::Record => Ok(()),
        Action::EndProcesses => end_processes(host, who),
        Action::MakeHome(keys) => host.home_create(who, keys),
        Action::WriteKeys(keys) => host.keys_write(who, keys),
        Action::WriteRootKeys(keys) => host.root_keys_write(who, keys),
        Action::RemoveRootKeys => host.root_keys_remove(who),
        Action::WriteSudo => host.sudo_write(who, &plan::sudo_rule(who)),
        Action::RemoveSudo => host.sudo_remove(who),
        Action::WriteEntries(account) => Databases::edit(host, |old| old.ensure(account)),
    }
}

/// What cleaning has come to so far, and the disk space it may need. Best effort: a full disk must not stand in the way.
fn remember(host: &mut dyn Host, ledger: &mut Ledger, next: &Ledger, now: Timestamp) {
    ledger.cleanings.clone_from(&next.cleanings);
    if plan::leaving(ledger, now).next().is_some() {
        let _ = ledger.save(host);
    } else {
        let _ = host.ballast_keep();
    }
}

/// What is to be said of each account.
struct Accounts<'a> {
    ledger: &'a Ledger,
    next: &'a Ledger,
    /// Absent if the machine could not be looked at in the end: then nothing counts as ready or gone.
    seen: Option<&'a (Observed, Plan)>,
    failures: &'a Failures,
    moment: &'a Moment,
}

impl Accounts<'_> {
    fn report(&self) -> Vec<AccountReport> {
        let sure = self.moment.sure;
        let managed = self.ledger.accounts.iter().map(|managed| &managed.who);
        let leaving =
            managed.filter(|managed| self.next.wanted(sure).map(who).all(|other| other != **managed));
        let leaving = leaving.map(|who| (who.clone(), self.leaving(who)));
        let wanted = self.next.wanted(sure).map(|account| (who(account), self.wanted(account)));
        let all = leaving.chain(wanted);
        all.map(|(Who { assignment, name, uid }, state)| AccountReport { assignment, name, uid, state })
            .collect()
    }

    fn leaving(&self, who: &Who) -> AccountState {
        let left = || self.seen.map_or(Vec::new(), |(observed, _)| plan::left_of(observed, who)).join(", ");
        let why = self.failures.get(&who.assignment).cloned().unwrap_or_else(left);
        AccountState::Leaving { why, attempts: self.ledger.cleanings.attempts(who) }
    }

    fn wanted(&self, account: &AccountSpec) -> AccountState {
        let who = &who(account);
        let failed = |why: &str| AccountState::Failed { why: why.to_owned() };
        if let Some(why) = self.failures.get(&who.assignment) {
            return failed(why);
        }
        let Some((_, plan)) = self.seen else { return failed("the machine could not be looked at") };
        if let Some((_, why)) = plan.refused.iter().find(|(refused, _)| refused == who) {
            return AccountState::Refused { why: why.clone() };
        }
        if plan.steps.iter().any(|step| step.who == *who) {
            return failed("something on this machine keeps changing it back");
        }
        if !self.ledger.manages(who) {
            return failed("waits until the account before it is gone");
        }
        if self.moment.locks(account.not_after) {
            return failed(
                "this machine was down and its clock cannot be right: locked until the server says the time",
            );
        }
        AccountState::Ready
    }
}
