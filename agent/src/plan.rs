//! Which steps lead from what was seen to what is wanted. Pure; no steps means that it is so already.

use crate::ledger::{Ledger, who};
use crate::observe::Observed;
use model::Timestamp;
use model::machine::{FIRST_UID, LAST_UID};
use model::spec::AccountSpec;
use playbooks::unix::{Account, group, passwd};
use playbooks::{Home, Who};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    pub who: Who,
    pub action: Action,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    // taking away, in this order
    Lock,
    Kill,
    /// Home and mail.
    RemoveFiles,
    RemoveEntries,
    /// Seen to be gone: the ledger may drop it.
    Forget,
    // giving, in this order
    /// Into the ledger, before anything is made.
    Record,
    MakeHome(Vec<u8>),
    WriteKeys(Vec<u8>),
    WriteSudo,
    RemoveSudo,
    /// Log-in works from here on.
    WriteEntries(Account),
}

impl Action {
    pub fn is_for_the_ledger(&self) -> bool {
        matches!(self, Action::Record | Action::Forget)
    }
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// Taking away comes first.
    pub steps: Vec<Step>,
    /// Accounts that must not be made here, and why.
    pub refused: Vec<(Who, String)>,
}

pub fn plan(observed: &Observed, ledger: &Ledger, now: Timestamp) -> Plan {
    let mut plan = Plan::default();
    for who in leaving(ledger, now) {
        plan.add(who, leave(observed, who));
    }
    for account in ledger.wanted(now) {
        let who = who(account);
        // The name is free once the account before it is gone.
        if leaving(ledger, now).any(|other| other.name == who.name || other.uid == who.uid) {
            continue;
        }
        match refusal(observed, ledger, account) {
            Some(why) => plan.refused.push((who, why)),
            None => plan.add(&who, make(observed, ledger, account)),
        }
    }
    plan
}

impl Plan {
    fn add(&mut self, who: &Who, actions: Vec<Action>) {
        self.steps.extend(actions.into_iter().map(|action| Step { who: who.clone(), action }));
    }
}

/// Accounts we made that are no longer wanted.
pub fn leaving(ledger: &Ledger, now: Timestamp) -> impl Iterator<Item = &Who> {
    let wanted: Vec<Who> = ledger.wanted(now).map(who).collect();
    let unwanted = move |who: &&Who| !wanted.contains(who) && (FIRST_UID..=LAST_UID).contains(&who.uid);
    ledger.accounts.iter().map(|managed| &managed.who).filter(unwanted)
}

fn leave(observed: &Observed, who: &Who) -> Vec<Action> {
    if left_of(observed, who).is_empty() {
        return vec![Action::Forget];
    }
    vec![Action::Lock, Action::Kill, Action::RemoveFiles, Action::RemoveEntries]
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
    if places.sudo.is_some() {
        left.push(format!("/etc/sudoers.d/berth-{}", who.name));
    }
    if places.mail {
        left.push(format!("mail of {}", who.name));
    }
    let gone = observed.databases.remove(who.name.as_str(), who.uid);
    left.extend(observed.databases.differences(&gone).iter().map(|file| format!("an entry in /etc/{file}")));
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
    if !(FIRST_UID..=LAST_UID).contains(uid) {
        return Some(format!("uid {uid} is outside {FIRST_UID} to {LAST_UID}"));
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

fn make(observed: &Observed, ledger: &Ledger, spec: &AccountSpec) -> Vec<Action> {
    let who = who(spec);
    let Some(places) = observed.places.get(&who) else { return vec![Action::Record] };
    let mut actions = Vec::new();
    if !ledger.manages(&who) {
        actions.push(Action::Record);
    }
    let keys = authorized_keys(spec);
    match &places.home {
        Home::Present { owner, keys: Some(seen), .. } if *owner == who.uid && *seen == keys => {}
        Home::Present { owner, .. } if *owner == who.uid => actions.push(Action::WriteKeys(keys)),
        Home::Unreadable(_) => actions.push(Action::WriteKeys(keys)),
        Home::Absent | Home::Unfinished | Home::Present { .. } => actions.push(Action::MakeHome(keys)),
    }
    let rule = sudo_rule(&who);
    match &places.sudo {
        Some(_) if !spec.sudo => actions.push(Action::RemoveSudo),
        seen if spec.sudo && *seen != Some(rule) => actions.push(Action::WriteSudo),
        _ => {}
    }
    let account = account(observed, spec);
    if observed.databases.ensure(&account) != observed.databases {
        actions.push(Action::WriteEntries(account));
    }
    actions
}

fn account(observed: &Observed, spec: &AccountSpec) -> Account {
    let asked = spec.shell.as_ref().map(|shell| shell.as_str());
    Account {
        name: spec.name.to_string(),
        uid: spec.uid,
        home: format!("/home/{}", spec.name),
        shell: asked.or(observed.default_shell()).unwrap_or("/bin/sh").to_owned(),
        password_hash: spec.password_hash.clone(),
        groups: spec.groups.clone(),
    }
}

pub fn authorized_keys(spec: &AccountSpec) -> Vec<u8> {
    spec.ssh_keys.iter().flat_map(|key| [key.as_str().as_bytes(), b"\n"]).flatten().copied().collect()
}

pub fn sudo_rule(who: &Who) -> Vec<u8> {
    format!("{} ALL=(ALL) NOPASSWD: ALL\n", who.name).into_bytes()
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
