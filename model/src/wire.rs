//! The HTTP bodies: the only serialised types of the API, shared by server, agent and CLI.

mod agent;
mod auth;

pub use agent::{EnrolAnswer, EnrolRequest, SyncAnswer, SyncRequest, Visit};
pub use auth::{
    AccountCreate, AccountPatch, AccountView, CouldLogIn, LoggedIn, Login, Me, TokenCreate, TokenCreated,
    TokenView,
};

use crate::cleaning::{CleaningStep, Refused, Residue};
use crate::listing::{MediaServer, Probe};
use crate::phase::Phase;
use crate::pool::{AfterUse, Size};
use crate::report::{EndsBy, Facts};
use crate::reservation::OnFailure;
use crate::service::Service;
use crate::ssh::{SshAccess, SshView};
use crate::{
    AccountName, AssignmentId, Epoch, Labels, MachineId, MachineName, PoolName, ReservationId, UserName,
    duration,
};
#[cfg(feature = "schema")]
use crate::{
    GroupName,
    account::{PasswordHash, Shell, SshKey},
    text,
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, time::Duration};

/// RFC 9457. `detail` says what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Problem {
    #[serde(rename = "type")]
    pub kind: String,
    pub title: String,
    pub status: u16,
    pub detail: String,
    /// The field of the request that was wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
}

/// One page of a list; give `next` as `?cursor=` to get the one after it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Page<T> {
    pub items: Vec<T>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

// --- machines

#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct MachineCreate {
    #[cfg_attr(feature = "schema", schema(value_type = MachineName))]
    pub name: String,
    /// Where people log in.
    #[cfg_attr(feature = "schema", schema(value_type = text::Host))]
    pub host: String,
    #[serde(default = "ssh_port")]
    #[cfg_attr(feature = "schema", schema(minimum = 1, maximum = 65535))]
    pub port: u16,
    #[serde(default)]
    pub labels: Labels,
    /// Where its accounts get their UIDs from: a range such as `20000-60000`, or `fleet`; 66000-99999 when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(value_type = Option<text::Uids>))]
    pub uids: Option<String>,
    /// How the server logs in to it. Left out: an agent enrols with the join token of the answer.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "crate::object::optional")]
    pub ssh: Option<SshAccess>,
}

pub fn ssh_port() -> u16 {
    22
}

/// The answer to a registration. The token lets one agent enrol as this machine; it is shown this once.
#[derive(Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct MachineCreated {
    #[serde(flatten)]
    pub machine: MachineView,
    /// Absent when the same `Idempotency-Key` was answered before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub join_token: Option<String>,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct MachinePatch {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub labels: Option<Labels>,
    /// Keeps the machine from new reservations; whoever is on it stays.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cordoned: Option<bool>,
    /// The fingerprint of its host key, `SHA256:…`: confirms the one it offers, or a new one in place of the pinned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(value_type = Option<text::HostKey>))]
    pub host_key: Option<String>,
    /// Where people log in from now on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(value_type = Option<text::Host>))]
    pub host: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(minimum = 1, maximum = 65535))]
    pub port: Option<u16>,
    /// Another way to log in, as a whole: what it leaves out is forgotten, but for the host key, which stays pinned.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "crate::object::optional")]
    pub ssh: Option<SshAccess>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct MachineView {
    pub id: MachineId,
    pub name: MachineName,
    pub host: String,
    pub port: u16,
    pub labels: Labels,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool: Option<PoolName>,
    /// `free`, `held`, `cleaning`, `maintenance`, `unreachable`, `retiring` or `listed`.
    #[cfg_attr(feature = "schema", schema(value_type = text::State))]
    pub state: String,
    /// Why it is in `maintenance`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    pub cordoned: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reservation: Option<ReservationId>,
    pub created_at: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seen_at: Option<Timestamp>,
    pub generation: u64,
    pub seen_generation: u64,
    #[serde(default)]
    pub uids: String,
    pub facts: Facts,
    /// Present if the server visits it over SSH.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ssh: Option<SshView>,
    /// Present if it is listed as one, and never lent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_server: Option<MediaServer>,
    /// Of a machine in state `listed`: whether it is up, and since when that is so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub probe: Option<Probe>,
}

/// A machine that is visited over SSH is to get an agent of its own.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct MachineAdopt {
    /// What the agent dials, as seen from the machine: `https://HOST:PORT`, `unix:/path/of/socket`, or
    /// `http://127.0.0.1:PORT` (plain HTTP is for loopback only, so it takes a tunnel or a socket that both share).
    #[cfg_attr(feature = "schema", schema(value_type = text::DialText))]
    pub server: String,
    /// The CA by which the agent knows an `https` server, in PEM; left out: those that the machine trusts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(value_type = Option<text::Certificates>))]
    pub ca: Option<String>,
}

/// What taking one account away from a machine came to.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct CleaningView {
    pub machine: MachineName,
    pub assignment: AssignmentId,
    pub reservation: ReservationId,
    pub username: UserName,
    pub uid: u32,
    pub began_at: Timestamp,
    /// Absent while something is left.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<Timestamp>,
    pub attempts: u32,
    /// Milliseconds of work, over all attempts.
    pub took_ms: f64,
    pub steps_ms: BTreeMap<CleaningStep, f64>,
    /// How many of each kind.
    pub removed: BTreeMap<Residue, u32>,
    /// The first few of them.
    pub examples: Vec<String>,
    /// What was found and is still there.
    pub refused: Vec<Refused>,
    /// Where nobody could look for want of time.
    pub unswept: Vec<String>,
}

// --- reservations

#[derive(Clone, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct ReservationCreate {
    #[cfg_attr(feature = "schema", schema(value_type = UserName))]
    pub username: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(value_type = Option<text::UnixPassword>))]
    pub password: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(value_type = Option<PasswordHash>))]
    pub password_hash: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "schema", schema(value_type = Vec<SshKey>, max_items = 100))]
    pub ssh_keys: Vec<String>,
    /// How many machines; 1 when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(minimum = 1, maximum = 1000))]
    pub count: Option<i64>,
    /// Or which, by name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "schema", schema(value_type = Vec<MachineName>, max_items = 1000))]
    pub machines: Vec<String>,
    #[serde(default, skip_serializing_if = "Labels::is_empty")]
    pub labels: Labels,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration: Option<DurationText>,
    /// RFC 3339, instead of `duration`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(value_type = Option<Timestamp>))]
    pub until: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(value_type = Option<Shell>))]
    pub shell: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "schema", schema(value_type = Vec<GroupName>))]
    pub groups: Vec<String>,
    #[serde(default)]
    pub sudo: bool,
    /// What happens when a machine that worked falls silent for longer than the grace of its pool (5 minutes without
    /// one): `keep` leaves it, `replace` puts another in its place, with the same account and none of the files. While
    /// no other is free, the reservation goes on with what it has. Not for machines asked for by name.
    #[serde(default, skip_serializing_if = "OnFailure::is_keep")]
    pub on_failure: OnFailure,
    /// Seconds to wait for every machine to be ready, at most 60, which is also the default; 0 answers at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(maximum = 60))]
    pub wait: Option<u32>,
}

/// `"90m"`, `"2h"`, `"PT1H"`, or a number of minutes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged, expecting = "expected \"90m\", \"2h\", \"PT1H\" or a number of minutes")]
pub enum DurationText {
    Minutes(i64),
    Text(String),
}

impl DurationText {
    pub fn parse(&self) -> Result<Duration, String> {
        match self {
            Self::Minutes(minutes) => duration::from_minutes(*minutes),
            Self::Text(text) => duration::parse(text),
        }
    }
}

/// Another end: `duration` from now, or `until` a time.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct ReservationPatch {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration: Option<DurationText>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(value_type = Option<Timestamp>))]
    pub until: Option<String>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct ReservationView {
    pub id: ReservationId,
    /// Whose it is; absent if it was made while the server was open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<AccountName>,
    pub username: UserName,
    pub phase: Phase,
    pub count: u32,
    #[serde(default, skip_serializing_if = "Labels::is_empty")]
    pub labels: Labels,
    /// `keep` or `replace`.
    #[serde(default)]
    pub on_failure: OnFailure,
    pub created_at: Timestamp,
    pub expires_at: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<Timestamp>,
    /// `released`, `expired` or `failed`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_by: Option<String>,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    pub machines: Vec<SeatView>,
}

/// One machine of a reservation.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct SeatView {
    pub name: MachineName,
    pub host: String,
    pub port: u16,
    pub uid: u32,
    pub phase: Phase,
    /// Whether the machine has confirmed the newest change (a new end, say).
    pub in_sync: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ready_at: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cleaned_at: Option<Timestamp>,
    /// What ends access in time while the server is down.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ends_by: Option<EndsBy>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Availability {
    /// How many there are to lend, in whatever state: listed ones are left out.
    pub total: u32,
    /// How many somebody can get now: those that pools keep back as spares are left out.
    pub free: u32,
    /// How many machines are in each state; spares count as `free` here.
    pub states: BTreeMap<String, u32>,
}

// --- pools, events, meta

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct PoolPut {
    /// `docker` or `simulated`.
    #[cfg_attr(feature = "schema", schema(value_type = text::ProviderName))]
    pub provider: String,
    /// What machines are made of; `berth-debian` or `berth-alpine` with Docker.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schema(value_type = text::Image))]
    pub image: String,
    /// How many machines there should be.
    #[cfg_attr(feature = "schema", schema(maximum = 10000))]
    pub size: u32,
    /// Refused with 409 unless its `size` is this now, or 0 if there is no such pool: for whoever counts on what they saw.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(maximum = 10000))]
    pub was: Option<u32>,
    #[serde(default)]
    pub labels: Labels,
    /// Where accounts get their UIDs from: a range such as `20000-60000`, counted by each machine for itself, or
    /// `fleet`, so that no two machines give the same; 66000-99999 when left out. Machines keep theirs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(value_type = Option<text::Uids>))]
    pub uids: Option<String>,
    /// `clean`, or `recycle`: a new machine for everybody. After `sudo` it is recycled in any case.
    #[serde(default)]
    pub after_use: AfterUse,
    /// So many free machines are kept back, at most `size`: only a reservation with `on_failure` `replace` that lost a
    /// machine gets them.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schema(maximum = 10000))]
    pub spare: u32,
    /// What machines made from now on are, one after another: `small`, `large`, `small`, … Each is labelled `size` with its
    /// name, and with Docker may use no more. Left out, all are alike.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "crate::object::list")]
    #[cfg_attr(feature = "schema", schema(max_items = 16))]
    pub sizes: Vec<Size>,
    /// How long a held machine may be unreachable before it counts as failed: `"5m"`, which is also the default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grace: Option<DurationText>,
    /// Given, it runs these in place of machines to lend, with Docker only. They are listed as machines, and say nothing of
    /// accounts.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "crate::object::optional")]
    pub service: Option<Service>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct PoolView {
    pub name: PoolName,
    pub provider: String,
    pub image: String,
    pub size: u32,
    pub labels: Labels,
    #[serde(default)]
    pub uids: String,
    #[serde(default)]
    pub after_use: AfterUse,
    #[serde(default)]
    pub spare: u32,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sizes: Vec<Size>,
    #[serde(default)]
    pub grace: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<Service>,
    /// How many machines are in each state; spares count as `free`.
    pub states: BTreeMap<String, u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct EventView {
    pub seq: i64,
    pub at: Timestamp,
    /// `reservation.created`, `machine.set_aside`, …
    pub kind: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub machine: Option<MachineName>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reservation: Option<ReservationId>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub detail: String,
    /// Whose doing it was: `account:NAME`, `agent:MACHINE`, `open` while there were no accounts, or `server`.
    #[serde(default)]
    pub actor: String,
    /// The address they asked from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// SHA-256 of this event and of the hash of the one before; empty for those of before hashes were kept.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub hash: String,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Version {
    pub version: String,
    /// Of the database; another one after it was restored.
    pub epoch: Epoch,
    /// Marks what providers made for this database, as in Docker's label `io.berth.owner`.
    pub owner: Epoch,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Health {
    pub status: String,
    pub now: Timestamp,
    /// Machines and reservations that have not converged for ten minutes.
    pub stuck: u32,
}
