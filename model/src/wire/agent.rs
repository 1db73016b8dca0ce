//! What agents and server tell each other.

use crate::report::Report;
use crate::spec::Spec;
#[cfg(feature = "schema")]
use crate::text;
use crate::{AssignmentId, Epoch, Incarnation, MachineName};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// An agent asks to be the machine its join token was made for. It keeps its credential and sends only the digest.
#[derive(Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct EnrolRequest {
    #[cfg_attr(feature = "schema", schema(value_type = text::Line))]
    pub join_token: String,
    /// SHA-256 of the agent's credential, in hex.
    #[cfg_attr(feature = "schema", schema(value_type = text::Digest))]
    pub credential_sha256: String,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct EnrolAnswer {
    pub machine: MachineName,
    pub incarnation: Incarnation,
    pub epoch: Epoch,
    /// It was visited until now: what its ledger knows of this database goes on, accounts and all.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub goes_on: bool,
}

/// Sent with the credential as bearer token: `berth_agent_…`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct SyncRequest {
    pub incarnation: Incarnation,
    /// Of one process of the agent, made when it starts.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schema(value_type = text::Session))]
    pub session: String,
    /// The newest one heard: an agent that can repeat it is alive.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub challenge: Option<u64>,
    #[serde(deserialize_with = "crate::object::needed")]
    pub report: Report,
}

/// Comes when there is news, or after a while without. Status 410 instead: this machine is no longer wanted.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct SyncAnswer {
    /// The server's clock; the machine measures `not_after` against this.
    pub now: Timestamp,
    /// Absent: nothing newer than was reported.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spec: Option<Spec>,
    /// The server answers within so many seconds; wait a little longer than that for it.
    pub hold: u32,
    /// To be repeated in the next request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub challenge: Option<u64>,
    /// Of the request's cleanings those that have ended: the agent may forget them, the server has them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub kept: Vec<AssignmentId>,
}

/// What a visit brings to a machine without an agent of its own: standard input of `berth-agent once`, which answers
/// with its report.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Visit {
    /// The server's clock; the machine measures `not_after` against this.
    pub now: Timestamp,
    pub spec: Spec,
    /// Cleanings that the server has: the machine may forget them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub kept: Vec<AssignmentId>,
}
