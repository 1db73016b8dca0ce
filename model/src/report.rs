//! What a machine *was seen* to have.

use crate::cleaning::Cleaning;
use crate::{AssignmentId, Epoch, UserName};
use serde::{Deserialize, Serialize};

/// What an agent saw after it did what it could. An account it made and has not verified to be gone is listed; one
/// that is not listed is gone with everything this generation of Berth sweeps.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Report {
    /// The newest generation this machine has obeyed; 0 before the first. The report speaks of this one only.
    pub generation: u64,
    /// The database whose generation that is; absent before the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epoch: Option<Epoch>,
    /// Accounts with lower UIDs have ended here, and are refused.
    #[serde(default)]
    pub uid_floor: u32,
    #[serde(default)]
    pub accounts: Vec<AccountReport>,
    /// What stands in the way beyond a single account (a foreign epoch, a full disk), worded for an operator.
    #[serde(default)]
    pub problems: Vec<String>,
    /// Of accounts that are leaving, and of those gone that the server has not yet heard of.
    #[serde(default)]
    pub cleanings: Vec<Cleaning>,
    #[serde(default)]
    pub facts: Facts,
}

impl Report {
    /// How much the machine has heard of this database, rather than of what it was before.
    pub fn generation_of(&self, epoch: Epoch) -> u64 {
        if self.epoch.is_none_or(|told| told == epoch) { self.generation } else { 0 }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct AccountReport {
    pub assignment: AssignmentId,
    pub name: UserName,
    pub uid: u32,
    #[serde(flatten)]
    pub state: AccountState,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum AccountState {
    /// Log-in works, with all that was asked for.
    Ready,
    /// This machine could not make it, though another may; tried again by the agent.
    Failed { why: String },
    /// It must not be made here: the name or UID exists already, the shell or a group does not, or it has ended
    /// before. Not tried again.
    Refused { why: String },
    /// It is to be gone and is not yet: what is left, after how many tries.
    Leaving { why: String, attempts: u32 },
}

/// About the machine, for listings.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Facts {
    #[serde(default)]
    pub os: String,
    #[serde(default)]
    pub arch: String,
    #[serde(default)]
    pub agent_version: String,
    #[serde(default)]
    pub boot_id: String,
    /// Absent: only what sshd and login themselves know of the end (`expiry-time` of keys, the account's expiry day).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ends_by: Option<EndsBy>,
}

/// What takes accounts away in time without the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum EndsBy {
    /// The agent, a service of the machine.
    Agent,
    /// A watcher that systemd keeps alive until then.
    Systemd,
    /// A watcher of its own, until the machine is booted anew.
    Watcher,
}
