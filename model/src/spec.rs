//! What one machine *should* have.

use crate::account::{PasswordHash, Shell, SshKey};
use crate::{AssignmentId, Epoch, GroupName, ReservationId, UidRange, UserName};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// The whole of what the server wants of a machine; a newer generation replaces an older one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Spec {
    /// Which database this came from; a machine obeys one only.
    pub epoch: Epoch,
    /// Grows with every change; a machine obeys only the newest it has seen.
    pub generation: u64,
    /// Where its accounts are numbered from; nothing outside is touched.
    #[serde(default)]
    pub uids: UidRange,
    pub accounts: Vec<AccountSpec>,
    /// What the database was before it was restored from a backup; a machine of one of these may go over to this one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub follows: Vec<Former>,
}

/// An earlier life of a database, which a backup was made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Former {
    pub epoch: Epoch,
    /// The newest generation of one machine that the backup knows. Whoever has seen more was told what is forgotten now.
    pub generation: u64,
}

/// How much is remembered of what was told under `epoch`; absent if nothing ties it to the database of now.
pub fn remembered(formers: &[Former], epoch: Epoch) -> Option<u64> {
    formers.iter().filter(|former| former.epoch == epoch).map(|former| former.generation).max()
}

/// One account that should be there until `not_after`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct AccountSpec {
    pub assignment: AssignmentId,
    /// What the holder names to have it extended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reservation: Option<ReservationId>,
    pub name: UserName,
    /// Also the GID of the account's private group. Never reused on a machine.
    pub uid: u32,
    /// Absent: no log-in by password.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password_hash: Option<PasswordHash>,
    #[serde(default)]
    pub ssh_keys: Vec<SshKey>,
    /// Absent: the best shell the machine has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shell: Option<Shell>,
    #[serde(default)]
    pub groups: Vec<GroupName>,
    #[serde(default)]
    pub sudo: bool,
    /// By the server's clock. From then on the account is to be gone, whether or not a newer spec says so.
    pub not_after: Timestamp,
}
