//! Accounts, tokens and log-in.

use super::DurationText;
use crate::auth::{Email, Level, Quota, Role, TokenKind};
use crate::ssh::Secret;
use crate::{AccountId, AccountName, Labels, TokenId};
#[cfg(feature = "schema")]
use crate::{account::SshKey, text};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct AccountCreate {
    #[cfg_attr(feature = "schema", schema(value_type = AccountName))]
    pub name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(value_type = Option<Email>))]
    pub email: Option<String>,
    /// 10 to 71 bytes. Left out: it cannot log in, but tokens can be made for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(value_type = Option<text::Password>))]
    pub password: Option<Secret>,
    /// `user` when left out; the very first one is `admin`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<Role>,
    /// Public keys of reservations that bring no way to log in of their own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "schema", schema(value_type = Vec<SshKey>, max_items = 100))]
    pub ssh_keys: Vec<String>,
    /// Limits of its own; the server's defaults hold for what is left out.
    #[serde(
        default,
        skip_serializing_if = "Quota::is_unlimited",
        deserialize_with = "crate::object::needed"
    )]
    pub quota: Quota,
}

/// What is left out stays as it is. Of their own account users may change password and keys.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct AccountPatch {
    /// Empty: none any longer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(value_type = Option<text::EmailOrNone>))]
    pub email: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(value_type = Option<text::Password>))]
    pub password: Option<Secret>,
    /// Needed by whoever changes the password of their own account.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub current_password: Option<Secret>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<Role>,
    /// Nobody gets in with it; its reservations go on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disabled: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(value_type = Option<Vec<SshKey>>))]
    pub ssh_keys: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "crate::object::optional")]
    pub quota: Option<Quota>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct AccountView {
    pub id: AccountId,
    pub name: AccountName,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub email: Option<Email>,
    /// How many were ever made until it was, itself included.
    pub number: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub full_name: Option<String>,
    pub role: Role,
    pub disabled: bool,
    pub ssh_keys: Vec<String>,
    /// Its own limits.
    pub quota: Quota,
    /// Its own, and where it has none the server's.
    pub limits: Quota,
    pub created_at: Timestamp,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Login {
    /// Its name, or its e-mail.
    #[cfg_attr(feature = "schema", schema(value_type = text::Line))]
    pub account: String,
    #[cfg_attr(feature = "schema", schema(value_type = text::Line))]
    pub password: Secret,
}

/// The token is shown this once.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct LoggedIn {
    pub token: Secret,
    pub expires_at: Timestamp,
    pub account: AccountView,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct TokenCreate {
    /// What it is for.
    #[cfg_attr(feature = "schema", schema(value_type = text::TokenName))]
    pub name: String,
    /// How long it is good for: 90 days when left out, a year at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration: Option<DurationText>,
    /// `read`, `reserve` or `admin`, which is all that the account may do; `admin` when left out.
    #[serde(default)]
    pub level: Level,
    /// Only machines that carry these.
    #[serde(default, skip_serializing_if = "Labels::is_empty")]
    pub labels: Labels,
    /// So many machines in one reservation at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(minimum = 1))]
    pub machines: Option<u32>,
    /// No reservation is longer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub longest: Option<DurationText>,
    /// For whom, if not for oneself: admins may.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(value_type = Option<AccountName>))]
    pub account: Option<String>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct TokenView {
    pub id: TokenId,
    pub name: String,
    pub kind: TokenKind,
    pub level: Level,
    #[serde(default, skip_serializing_if = "Labels::is_empty")]
    pub labels: Labels,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub machines: Option<u32>,
    /// ISO 8601.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub longest: Option<String>,
    pub created_at: Timestamp,
    pub expires_at: Timestamp,
    /// To the minute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_used_at: Option<Timestamp>,
}

/// The token is shown this once.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct TokenCreated {
    pub token: Secret,
    #[serde(flatten)]
    pub view: TokenView,
}

/// Who the server takes the caller for.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Me {
    /// Absent while the server is open: it takes everybody on its own computer for an admin.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<AccountView>,
    pub level: Level,
}

/// Who could log in on a machine at a time.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct CouldLogIn {
    /// The Unix account.
    pub username: crate::UserName,
    pub uid: u32,
    pub reservation: crate::ReservationId,
    /// Whose reservation it is; absent if it was made while the server was open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<AccountName>,
    /// From when on, at the earliest.
    pub since: Timestamp,
    /// When the machine was seen to be clean of it; absent while it was not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
}
