//! What the agent must not forget, on disk before it matters: the newest spec, the accounts it made, who has ended.

use crate::moment::Moment;
use crate::records::Records;
use model::spec::{AccountSpec, Spec};
use model::{Epoch, Timestamp, UidRange};
use playbooks::{Host, Who};
use serde::{Deserialize, Serialize};
use std::{io, time::Duration};

/// By so much a right clock may seem to run backwards.
const CLOCK_ERROR: Duration = Duration::from_secs(2);
/// So long a machine is down at most when it is just booted anew.
const REBOOT: Duration = Duration::from_secs(15 * 60);
/// A clock that made a longer leap may be ahead by so much.
const LEAP: Duration = Duration::from_secs(25 * 3600);

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
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
    pub cleanings: Records,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Managed {
    #[serde(flatten)]
    pub who: Who,
    pub home: String,
}

/// The server's clock, tied to this machine's time since boot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Anchor {
    pub server_now: Timestamp,
    pub boottime: Duration,
    pub boot_id: String,
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
        let accounts = std::mem::take(&mut self.accounts);
        let cleanings = std::mem::take(&mut self.cleanings);
        *self = Self { epoch: Some(epoch), accounts, cleanings, ..Self::default() };
    }

    pub fn generation(&self) -> u64 {
        self.spec.as_ref().map_or(0, |spec| spec.generation)
    }

    /// Where the newest spec numbers its accounts from.
    pub fn uids(&self) -> UidRange {
        self.spec.as_ref().map_or_else(UidRange::default, |spec| spec.uids)
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
            self.accounts.push(Managed { who, home });
        }
    }

    pub fn forget(&mut self, who: &Who) {
        self.accounts.retain(|managed| managed.who != *who);
        self.uid_floor = self.uid_floor.max(who.uid.saturating_add(1));
    }

    /// The server's time, if anchored within this boot. Otherwise the wall clock, as far as it can be believed.
    pub fn moment(&self, wall: Timestamp, boottime: Duration, boot_id: &str) -> Moment {
        let at = |now, sure, is_lost| Moment { boottime, now, wall, sure, is_lost };
        let Some(anchor) = &self.anchor else { return at(wall, wall, false) };
        let last = anchor.server_now;
        if anchor.boot_id == boot_id && boottime >= anchor.boottime {
            let now = last.saturating_add(boottime - anchor.boottime).unwrap_or(wall);
            return at(now, now, false);
        }
        let later = |than: Timestamp, by: Duration| than.saturating_add(by).unwrap_or(Timestamp::MAX);
        if later(wall, CLOCK_ERROR) < last {
            return at(last, last, true);
        }
        let now = wall.max(last);
        // The time since boot is no leap.
        let is_reboot = now <= later(last, boottime.saturating_add(REBOOT));
        let sure = if is_reboot { now } else { now.saturating_sub(LEAP).unwrap_or(last).max(last) };
        at(now, sure, false)
    }

    /// Ties the server's time as it is known now to this boot, so that a machine that goes down knows it was that late.
    /// Not before it is known itself.
    pub fn keep_time(&mut self, moment: Moment, boot_id: &str) {
        if moment.sure == moment.now && !moment.is_lost {
            let Moment { now, boottime, .. } = moment;
            self.anchor = Some(Anchor { server_now: now, boottime, boot_id: boot_id.to_owned() });
        }
    }
}

pub fn who(account: &AccountSpec) -> Who {
    Who { assignment: account.assignment, name: account.name.clone(), uid: account.uid }
}
