//! Makes a machine so. What is seen decides, before and after; a failed step is neither undone nor retried here: the
//! next round sees what there is and goes on from that.

use crate::ledger::{Ledger, who};
use crate::observe::{Observed, observe};
use crate::plan::{self, Action, Plan, Step, plan};
use model::report::{AccountReport, AccountState, Report};
use model::spec::Spec;
use model::{AssignmentId, Timestamp};
use playbooks::unix::Databases;
use playbooks::{Host, Who};
use std::collections::BTreeMap;
use std::io;

/// Remove, forget, make in place of it, look.
const ROUNDS: u32 = 4;

/// One account's steps that did not work in this convergence; it is left alone until the next.
type Failures = BTreeMap<AssignmentId, String>;

pub fn converge(host: &mut dyn Host, ledger: &mut Ledger, spec: Option<Spec>, now: Timestamp) -> Report {
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
    let mut failures = Failures::new();
    let mut seen = None;
    for _ in 0..ROUNDS {
        match round(host, ledger, &mut next, &mut failures, now) {
            Ok(done) => seen = Some(done),
            Err(error) => {
                problems.push(error.to_string());
                seen = None;
                break;
            }
        }
        if seen.as_ref().is_some_and(|(_, plan)| open_steps(plan, &failures).next().is_none()) {
            break;
        }
    }
    count_attempts(host, ledger, now);
    let accounts = report_accounts(ledger, &next, seen.as_ref(), &failures, now);
    let facts = host.facts().unwrap_or_default();
    let facts = model::report::Facts { agent_version: env!("CARGO_PKG_VERSION").to_owned(), ..facts };
    Report { generation: ledger.generation(), accounts, problems, facts }
}

/// Whether a spec is to be obeyed: of our epoch, and newer than what we know.
fn fence(ledger: &Ledger, spec: Option<Spec>) -> Result<Option<Spec>, String> {
    let Some(spec) = spec else { return Ok(None) };
    if let Some(ours) = ledger.epoch.filter(|ours| *ours != spec.epoch) {
        return Err(format!(
            "the server speaks for database {}, this machine obeys {ours}: restore that one, or enrol the machine anew",
            spec.epoch
        ));
    }
    Ok((spec.generation > ledger.generation()).then_some(spec))
}

/// Looks, decides, and does. What the ledger must know comes first, in one write, and gates everything given; taking
/// away waits for no disk.
fn round(
    host: &mut dyn Host,
    ledger: &mut Ledger,
    next: &mut Ledger,
    failures: &mut Failures,
    now: Timestamp,
) -> io::Result<(Observed, Plan)> {
    let observed = observe(host, next, now)?;
    let plan = plan(&observed, next, now);
    for step in open_steps(&plan, failures) {
        match step.action {
            Action::Record => next.record(step.who.clone()),
            Action::Forget => next.forget(&step.who),
            _ => {}
        }
    }
    let saved = if next == ledger { Ok(()) } else { next.save(host) };
    if saved.is_ok() {
        ledger.clone_from(next);
    }
    let steps: Vec<&Step> = plan.steps.iter().filter(|step| !step.action.is_for_the_ledger()).collect();
    for account in steps.chunk_by(|a, b| a.who == b.who) {
        let who = &account[0].who;
        let taking = account[0].action == Action::Lock;
        if failures.contains_key(&who.assignment) || (!taking && !ledger.manages(who)) {
            continue;
        }
        if let Err(error) = if taking { take_away(host, account) } else { give(host, account) } {
            failures.insert(who.assignment, error.to_string());
        }
    }
    saved.map_err(|error| io::Error::new(error.kind(), format!("the ledger cannot be written: {error}")))?;
    Ok((observed, plan))
}

fn open_steps<'a>(plan: &'a Plan, failures: &'a Failures) -> impl Iterator<Item = &'a Step> {
    plan.steps.iter().filter(|step| !failures.contains_key(&step.who.assignment))
}

/// Stops at the first failure, so that nobody can log in to half an account.
fn give(host: &mut dyn Host, steps: &[&Step]) -> io::Result<()> {
    steps.iter().try_for_each(|step| apply(host, &step.who, &step.action))
}

/// Goes on after a failure: what can be taken away is. Only living processes keep the account's name in place.
fn take_away(host: &mut dyn Host, steps: &[&Step]) -> io::Result<()> {
    let mut result = Ok(());
    for step in steps {
        let done = apply(host, &step.who, &step.action);
        let stop = step.action == Action::Kill && done.is_err();
        result = result.and(done);
        if stop {
            break;
        }
    }
    result
}

fn apply(host: &mut dyn Host, who: &Who, action: &Action) -> io::Result<()> {
    match action {
        Action::Lock => lock(host, who),
        Action::Kill => kill(host, who),
        Action::RemoveFiles => host.home_remove(who).and(host.mail_remove(who)),
        Action::RemoveEntries => Databases::edit(host, |old| old.remove(who.name.as_str(), who.uid)),
        Action::MakeHome(keys) => host.home_create(who, keys),
        Action::WriteKeys(keys) => host.keys_write(who, keys),
        Action::WriteSudo => host.sudo_write(who, &plan::sudo_rule(who)),
        Action::RemoveSudo => host.sudo_remove(who),
        Action::WriteEntries(account) => Databases::edit(host, |old| old.ensure(account)),
        Action::Record | Action::Forget => Ok(()),
    }
}

/// Keys and sudo first: that needs no free disk, while locking the password does.
fn lock(host: &mut dyn Host, who: &Who) -> io::Result<()> {
    let keys = host.keys_remove(who);
    let sudo = host.sudo_remove(who);
    let password = Databases::edit(host, |old| old.lock(who.name.as_str(), who.uid));
    let password = password.or_else(|error| host.password_spoil(who).and(Err(error)));
    keys.and(sudo).and(password)
}

/// Twice without a survivor: a process may have been in the middle of forking, a log-in in the middle of its checks.
fn kill(host: &mut dyn Host, who: &Who) -> io::Result<()> {
    for _ in 0..2 {
        host.kill_all(who.uid)?;
        let alive = host.processes(who.uid)?;
        if !alive.is_empty() {
            return Err(io::Error::other(format!("processes of uid {} are still alive: {alive:?}", who.uid)));
        }
    }
    Ok(())
}

/// Best effort: the count is for operators, and a full disk must not stand in the way of anything.
fn count_attempts(host: &mut dyn Host, ledger: &mut Ledger, now: Timestamp) {
    let leaving: Vec<Who> = plan::leaving(ledger, now).cloned().collect();
    for managed in ledger.accounts.iter_mut().filter(|managed| leaving.contains(&managed.who)) {
        managed.attempts += 1;
    }
    if !leaving.is_empty() {
        let _ = ledger.save(host);
    }
}

/// `seen` is absent if the machine could not be looked at in the end: then nothing counts as ready or gone.
fn report_accounts(
    ledger: &Ledger,
    next: &Ledger,
    seen: Option<&(Observed, Plan)>,
    failures: &Failures,
    now: Timestamp,
) -> Vec<AccountReport> {
    let report = |who: &Who, state| AccountReport {
        assignment: who.assignment,
        name: who.name.clone(),
        uid: who.uid,
        state,
    };
    let going =
        ledger.accounts.iter().filter(|managed| next.wanted(now).map(who).all(|other| other != managed.who));
    let leaving = going.map(|managed| {
        let left = seen.map_or(Vec::new(), |(observed, _)| plan::left_of(observed, &managed.who));
        let why = failures.get(&managed.who.assignment).cloned().unwrap_or_else(|| left.join(", "));
        report(&managed.who, AccountState::Leaving { why, attempts: managed.attempts })
    });
    let wanted = next.wanted(now).map(|account| {
        let who = who(account);
        report(&who, state(&who, ledger, seen, failures))
    });
    leaving.chain(wanted).collect()
}

fn state(who: &Who, ledger: &Ledger, seen: Option<&(Observed, Plan)>, failures: &Failures) -> AccountState {
    let failed = |why: &str| AccountState::Failed { why: why.to_owned() };
    if let Some(why) = failures.get(&who.assignment) {
        return failed(why);
    }
    let Some((_, plan)) = seen else { return failed("the machine could not be looked at") };
    if let Some((_, why)) = plan.refused.iter().find(|(refused, _)| refused == who) {
        return AccountState::Refused { why: why.clone() };
    }
    if plan.steps.iter().any(|step| step.who == *who) {
        return failed("something on this machine keeps changing it back");
    }
    if !ledger.manages(who) {
        return failed("waits until the account before it is gone");
    }
    AccountState::Ready
}
