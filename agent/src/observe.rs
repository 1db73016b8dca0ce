//! Looking at a machine: files and processes, never what a command said.

use crate::ledger::{Ledger, who};
use model::{AssignmentId, Timestamp, UserName};
use playbooks::unix::Databases;
use playbooks::{Home, Host, Who};
use std::collections::{BTreeMap, BTreeSet};
use std::io;

pub const SHELLS: [&str; 3] = ["/bin/bash", "/bin/ash", "/bin/sh"];

/// The parts of a machine that matter to the accounts in the ledger or in the spec.
#[derive(Debug, Clone, Default)]
pub struct Observed {
    pub databases: Databases,
    pub places: BTreeMap<Who, Places>,
    /// Whether these are programs.
    pub shells: BTreeMap<String, bool>,
    pub has_sudo: bool,
    /// Whether sshd also reads keys that belong to root.
    pub has_root_keys: bool,
    /// Whose litter was looked for everywhere, and there was none.
    pub swept: BTreeSet<AssignmentId>,
}

/// What one account has outside the databases.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Places {
    pub home: Home,
    /// Those sshd reads from a folder of root's.
    pub root_keys: Option<Vec<u8>>,
    pub sudo: Option<Vec<u8>>,
    pub mail: bool,
    pub processes: usize,
}

impl Places {
    /// Whether there is a `.ssh` in the home.
    pub fn has_keys(&self) -> bool {
        matches!(self.home, Home::Present { ssh: true, .. })
    }
}

pub fn observe(host: &mut dyn Host, ledger: &Ledger, sure: Timestamp) -> io::Result<Observed> {
    let managed = ledger.accounts.iter().map(|managed| managed.who.clone());
    let everybody: BTreeSet<Who> = managed.chain(ledger.wanted(sure).map(who)).collect();
    if everybody.is_empty() {
        return Ok(Observed::default());
    }
    let asked = ledger.wanted(sure).filter_map(|account| account.shell.as_ref());
    let mut shells: BTreeMap<String, bool> = asked.map(|shell| (shell.as_str().to_owned(), false)).collect();
    shells.extend(SHELLS.map(|shell| (shell.to_owned(), false)));
    for (path, there) in &mut shells {
        *there = host.has_program(path)?;
    }
    let mut places = BTreeMap::new();
    for who in everybody {
        let seen = look(host, &who)?;
        places.insert(who, seen);
    }
    Ok(Observed {
        databases: Databases::read(host)?,
        places,
        shells,
        has_sudo: host.has_sudo()?,
        has_root_keys: host.has_root_keys()?,
        swept: BTreeSet::new(),
    })
}

fn look(host: &mut dyn Host, who: &Who) -> io::Result<Places> {
    Ok(Places {
        home: host.home(who)?,
        root_keys: host.root_keys(who)?,
        sudo: host.sudo(who)?,
        mail: host.mail(who)?,
        processes: host.processes(who.uid)?.len(),
    })
}

impl Observed {
    /// The best shell of the machine.
    pub fn default_shell(&self) -> Option<&'static str> {
        SHELLS.into_iter().find(|shell| self.shells.get(*shell) == Some(&true))
    }

    /// The UID `/etc/passwd` has for this name.
    pub fn uid_of(&self, name: &UserName) -> Option<u32> {
        let mut entries = playbooks::unix::passwd::entries(&self.databases.passwd);
        entries.find(|entry| entry.name == name.as_str()).map(|entry| entry.uid)
    }
}
