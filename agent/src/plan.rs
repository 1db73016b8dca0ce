//! Which steps lead from what was seen to what is wanted. Pure; no steps means that it is so already.

use crate::ledger::{Ledger, who};
use crate::moment::Moment;
use crate::observe::{Observed, Places};
use model::spec::AccountSpec;
use model::{Timestamp, UidRange};
use playbooks::unix::{Account, group, passwd};
use playbooks::{Home, Who};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    pub who: Who,
    pub action: Action,
}

/// Of giving, in this order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Into the ledger, before anything is made.
    Record,
    /// Of an account that is locked for a while.
    EndProcesses,
    MakeHome(Vec<u8>),
    WriteKeys(Vec<u8>),
    WriteRootKeys(Vec<u8>),
    RemoveRootKeys,
    WriteSudo,
    RemoveSudo,
    /// Log-in works from here on.
    WriteEntries(Account),
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// To be taken away, all of them together, before anything is given.
    pub clean: Vec<Who>,
    /// Seen to be gone: the ledger may drop them.
    pub forget: Vec<Who>,
    /// Giving.
    pub steps: Vec<Step>,
    /// Accounts that must not be made here, and why.
    pub refused: Vec<(Who, String)>,
}

pub fn plan(observed: &Observed, ledger: &Ledger, moment: &Moment) -> Plan {
    let mut plan = Plan::default();
    for who in leaving(ledger, moment.sure) {
        let to = if left_of(observed, who).is_empty() { &mut plan.forget } else { &mut plan.clean };
        to.push(who.clone());
    }
    for account in ledger.wanted(moment.sure) {
        let who = who(account);
        // The name is free once the account before it is gone.
        if leaving(ledger, moment.sure).any(|other| other.name == who.name || other.uid == who.uid) {
            continue;
        }
        match refusal(observed, ledger, account) {
            Some(why) => plan.refused.push((who, why)),
            None => plan.steps.extend(
                make(observed, ledger, account, moment)
                    .into_iter()
                    .map(|action| Step { who: who.clone(), action }),
            ),
        }
    }
    plan
}

/// Accounts we made that are no longer wanted.
pub fn leaving(ledger: &Ledger, now: Timestamp) -> impl Iterator<Item = &Who> {
    let wanted: Vec<Who> = ledger.wanted(now).map(who).collect();
    let unwanted = move |who: &&Who| !wanted.contains(who) && UidRange::may_hold(who.uid);
    ledger.accounts.iter().map(|managed| &managed.who).filter(unwanted)
}

/// What there still is of an account that should be gone, worded for an operator.
pub fn left_of(observed: &Observed, who: &Who) -> Vec<String> {
    let Some(places) = observed.places.get(who) else { return vec!["nothing is known of it".to_owned()] };
    let mut left = Vec::new();
    if places.processes > 0 {
        left.push(format!("{} processes of uid {}", places.processes, who.uid));
    }
    match &places.home {
        Home::Absent => {}
        Home::Unreadable(why) => left.push(format!("/home/{}: {why}", who.name)),
        Home::Present { owner, .. } if *owner != who.uid => {
            left.push(format!("/home/{} belongs to uid {owner}: look at it and move it away", who.name));
        }
        Home::Unfinished | Home::Present { .. } => left.push(format!("/home/{}", who.name)),
    }
    if places.root_keys.is_some() {
        left.push(format!("/etc/ssh/berth-keys/{}", who.name));
    }
    if places.sudo.is_some() {
        left.push(format!("/etc/sudoers.d/berth-{}", who.name));
    }
    if places.mail {
        left.push(format!("mail of {}", who.name));
    }
    let gone = observed.databases.remove(who.name.as_str(), who.uid);
    left.extend(observed.databases.differences(&gone).iter().map(|file| format!("an entry in /etc/{file}")));
    if !observed.swept.contains(&who.assignment) {
        left.push("what it may have left elsewhere".to_owned());
    }
    if let Some(other) = other_with_uid(observed, who) {
        left.push(format!("`{other}` has uid {} in /etc/passwd: remove it by hand", who.uid));
    }
    left
}

fn other_with_uid(observed: &Observed, who: &Who) -> Option<String> {
    let mut entries = passwd::entries(&observed.databases.passwd);
    entries.find(|entry| entry.uid == who.uid && entry.name != who.name.as_str()).map(|entry| entry.name)
}

/// Why an account must not be made on this machine.
fn refusal(observed: &Observed, ledger: &Ledger, account: &AccountSpec) -> Option<String> {
    let who = who(account);
    let AccountSpec { name, uid, .. } = account;
    if !ledger.uids().contains(*uid) {
        return Some(format!("uid {uid} is outside {}", ledger.uids()));
    }
    if let Some(other) = other_with_uid(observed, &who) {
        return Some(format!("uid {uid} exists already on this machine, as `{other}`"));
    }
    if observed.uid_of(name).is_some_and(|seen| seen != *uid) {
        return Some(format!("`{name}` exists already on this machine"));
    }
    let managed = ledger.manages(&who);
    if !managed && *uid < ledger.uid_floor {
        return Some(format!("`{name}` with uid {uid} has ended before"));
    }
    if !managed && let Some(why) = foreign_trace(observed, &who) {
        return Some(why);
    }
    unmet(observed, account)
}

/// Anything with this name that we did not make: the tenant would inherit it.
fn foreign_trace(observed: &Observed, who: &Who) -> Option<String> {
    let databases = &observed.databases;
    let removed = databases.remove(who.name.as_str(), who.uid);
    if let Some(file) = databases.differences(&removed).first() {
        return Some(format!("`{}` exists already in /etc/{file} of this machine", who.name));
    }
    if let Some(other) = group::of_gid(&databases.group, who.uid) {
        return Some(format!("gid {} exists already on this machine, as `{other}`", who.uid));
    }
    let places = observed.places.get(who)?;
    if places.home != Home::Absent {
        return Some(format!("/home/{} exists already on this machine", who.name));
    }
    let running = places.processes > 0;
    running.then(|| format!("processes of uid {} run already on this machine", who.uid))
}

/// What is asked for and not to be had here.
fn unmet(observed: &Observed, account: &AccountSpec) -> Option<String> {
    match &account.shell {
        Some(shell) if observed.shells.get(shell.as_str()) != Some(&true) => {
            return Some(format!("this machine has no shell `{}`", shell.as_str()));
        }
        None if observed.default_shell().is_none() => return Some("this machine has no shell".to_owned()),
        _ => {}
    }
    if let Some(group) =
        account.groups.iter().find(|name| !group::has(&observed.databases.group, name.as_str()))
    {
        return Some(format!("this machine has no group `{group}`"));
    }
    let no_sudo = account.sudo && !observed.has_sudo;
    no_sudo.then(|| "this machine has no /etc/sudoers.d: install sudo".to_owned())
}

fn make(observed: &Observed, ledger: &Ledger, spec: &AccountSpec, moment: &Moment) -> Vec<Action> {
    let who = who(spec);
    let Some(places) = observed.places.get(&who) else { return vec![Action::Record] };
    let mut actions = Vec::new();
    if !ledger.manages(&who) {
        actions.push(Action::Record);
    }
    let locked = moment.locks(spec.not_after);
    if locked && places.processes > 0 {
        actions.push(Action::EndProcesses);
    }
    let spec = &if locked { without_log_in(spec) } else { spec.clone() };
    actions.extend(make_keys(observed, places, spec, moment));
    let rule = sudo_rule(&who);
    match &places.sudo {
        Some(_) if !spec.sudo => actions.push(Action::RemoveSudo),
        seen if spec.sudo && *seen != Some(rule) => actions.push(Action::WriteSudo),
        _ => {}
    }
    let account = account(observed, spec, moment);
    if observed.databases.ensure(&account) != observed.databases {
        actions.push(Action::WriteEntries(account));
    }
    actions
}

/// Where sshd reads keys that belong to root, ours are there, and those in the home are the tenant's own business.
fn make_keys(observed: &Observed, places: &Places, spec: &AccountSpec, moment: &Moment) -> Vec<Action> {
    let with_root = observed.has_root_keys && !spec.ssh_keys.is_empty();
    let root_keys = with_root.then(|| root_keys(spec, moment));
    let in_home = if observed.has_root_keys { Vec::new() } else { authorized_keys(spec) };
    let mut actions = Vec::new();
    match &places.home {
        Home::Present { owner, .. } if *owner == spec.uid && observed.has_root_keys => {}
        Home::Present { owner, keys: Some(seen), .. } if *owner == spec.uid && *seen == in_home => {}
        Home::Present { owner, .. } if *owner == spec.uid => actions.push(Action::WriteKeys(in_home)),
        Home::Unreadable(_) => actions.push(Action::WriteKeys(in_home)),
        Home::Absent | Home::Unfinished | Home::Present { .. } => actions.push(Action::MakeHome(in_home)),
    }
    match root_keys {
        Some(keys) if places.root_keys.as_ref() != Some(&keys) => actions.push(Action::WriteRootKeys(keys)),
        None if places.root_keys.is_some() => actions.push(Action::RemoveRootKeys),
        _ => {}
    }
    actions
}

/// An account that exists and lets nobody in; what is in its home stays.
fn without_log_in(spec: &AccountSpec) -> AccountSpec {
    AccountSpec { password_hash: None, ssh_keys: Vec::new(), sudo: false, ..spec.clone() }
}

fn account(observed: &Observed, spec: &AccountSpec, moment: &Moment) -> Account {
    let asked = spec.shell.as_ref().map(|shell| shell.as_str());
    Account {
        name: spec.name.to_string(),
        uid: spec.uid,
        home: format!("/home/{}", spec.name),
        shell: asked.or(observed.default_shell()).unwrap_or("/bin/sh").to_owned(),
        password_hash: spec.password_hash.clone(),
        groups: spec.groups.clone(),
        expires_on: Some(if moment.locks(spec.not_after) { LONG_AGO } else { last_day(spec, moment) }),
    }
}

/// The second day of 1970: whoever's account expired then gets in by no key either.
const LONG_AGO: u32 = 1;
const SECONDS_OF_A_DAY: i64 = 24 * 3600;

/// As shadow counts days. A second line behind the agent, which ends the account to the second; never too early, though
/// clocks may be wrong by hours.
fn last_day(spec: &AccountSpec, moment: &Moment) -> u32 {
    let days = moment.on_the_wall(spec.not_after).as_second().div_euclid(SECONDS_OF_A_DAY) + 2;
    u32::try_from(days).unwrap_or(u32::MAX)
}

pub fn authorized_keys(spec: &AccountSpec) -> Vec<u8> {
    spec.ssh_keys.iter().flat_map(|key| [key.as_str().as_bytes(), b"\n"]).flatten().copied().collect()
}

/// So long after the end sshd lets a key in no more, if the agent should not be there to take it away.
const SSHD_GRACE: std::time::Duration = std::time::Duration::from_secs(60);

/// The same keys with an end to each, by the clock of the machine, which is the one sshd has.
fn root_keys(spec: &AccountSpec, moment: &Moment) -> Vec<u8> {
    let end = moment.on_the_wall(spec.not_after).saturating_add(SSHD_GRACE).unwrap_or(spec.not_after);
    let end = end.strftime("%Y%m%d%H%M%SZ");
    let line = |key: &model::account::SshKey| format!("expiry-time=\"{end}\" {}\n", key.as_str());
    spec.ssh_keys.iter().map(line).collect::<String>().into_bytes()
}

pub fn sudo_rule(who: &Who) -> Vec<u8> {
    format!("{} ALL=(ALL) NOPASSWD: ALL\n", who.name).into_bytes()
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
