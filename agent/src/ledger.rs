//! What the agent must not forget, on disk before it matters: the newest spec, the accounts it made, who has ended.

use model::machine::FIRST_UID;
use model::spec::{AccountSpec, Spec};
use model::{Epoch, Timestamp};
use playbooks::{Host, Who};
use serde::{Deserialize, Serialize};
use std::{io, time::Duration};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Ledger {
    /// The only database whose specs are obeyed.
    pub epoch: Option<Epoch>,
    /// The newest spec, in force until a newer one comes.
    pub spec: Option<Spec>,
    /// Everything that may be on the machine because of us, written down before any of it is made.
    pub accounts: Vec<Managed>,
    /// Accounts with a lower UID that are not in `accounts` have ended: a late order to make one does nothing.
    pub uid_floor: u32,
    pub anchor: Option<Anchor>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Managed {
    #[serde(flatten)]
    pub who: Who,
    pub home: String,
    /// How often removing it was tried in vain.
    #[serde(default)]
    pub attempts: u32,
}

/// The server's clock, tied to this machine's time since boot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Anchor {
    pub server_now: Timestamp,
    pub boottime: Duration,
    pub boot_id: String,
}

impl Default for Ledger {
    fn default() -> Self {
        Self { epoch: None, spec: None, accounts: Vec::new(), uid_floor: FIRST_UID, anchor: None }
    }
}

impl Ledger {
    /// A ledger that cannot be read is an error, never an empty one: we would forget whom to remove.
    pub fn load(host: &mut dyn Host) -> io::Result<Self> {
        match host.read_ledger()? {
            None => Ok(Self::default()),
            Some(bytes) => serde_json::from_slice(&bytes).map_err(io::Error::other),
        }
    }

    pub fn save(&self, host: &mut dyn Host) -> io::Result<()> {
        host.write_ledger(&serde_json::to_vec_pretty(self).map_err(io::Error::other)?)
    }

    /// A new life under a new enrolment: UIDs start again. Accounts of the old one stay known, to be removed.
    pub fn begin(&mut self, epoch: Epoch) {
        *self = Self { epoch: Some(epoch), accounts: std::mem::take(&mut self.accounts), ..Self::default() };
    }

    pub fn generation(&self) -> u64 {
        self.spec.as_ref().map_or(0, |spec| spec.generation)
    }

    /// Accounts that should be there at `now`.
    pub fn wanted(&self, now: Timestamp) -> impl Iterator<Item = &AccountSpec> {
        self.spec.iter().flat_map(|spec| &spec.accounts).filter(move |account| now < account.not_after)
    }

    /// When the next account is to go.
    pub fn next_end(&self, now: Timestamp) -> Option<Timestamp> {
        self.wanted(now).map(|account| account.not_after).min()
    }

    pub fn manages(&self, who: &Who) -> bool {
        self.accounts.iter().any(|managed| managed.who == *who)
    }

    pub fn record(&mut self, who: Who) {
        if !self.manages(&who) {
            let home = format!("/home/{}", who.name);
            self.accounts.push(Managed { who, home, attempts: 0 });
        }
    }

    pub fn forget(&mut self, who: &Who) {
        self.accounts.retain(|managed| managed.who != *who);
        self.uid_floor = self.uid_floor.max(who.uid.saturating_add(1));
    }

    /// The server's time, if anchored within this boot. Otherwise the wall clock, which may be wrong, but not so
    /// wrong as to be earlier than what the server has said.
    pub fn now(&self, wall: Timestamp, boottime: Duration, boot_id: &str) -> Timestamp {
        let Some(anchor) = &self.anchor else { return wall };
        if anchor.boot_id != boot_id || boottime < anchor.boottime {
            return wall.max(anchor.server_now);
        }
        anchor.server_now.saturating_add(boottime - anchor.boottime).unwrap_or(wall)
    }
}

pub fn who(account: &AccountSpec) -> Who {
    Who { assignment: account.assignment, name: account.name.clone(), uid: account.uid }
}
