//! Who may ask for what.

mod deed;
mod email;
mod quota;
mod scope;
mod sha1;
mod throttle;

pub use deed::{Deed, Level, Role};
pub use email::Email;
pub use quota::{OverQuota, Quota, Usage};
pub use scope::Scope;
pub use sha1::Sha1Digest;
pub use throttle::{Bucket, Failures};

use crate::account::SshKey;
use crate::name::AccountName;
use crate::{AccountId, Timestamp, TokenId};

/// Somebody who may ask Berth for machines; not to be mistaken for the Unix accounts on them.
#[derive(Debug, Clone, PartialEq)]
pub struct Account {
    pub id: AccountId,
    pub name: AccountName,
    pub email: Option<Email>,
    /// How many were ever made until it was, itself included.
    pub number: i64,
    /// As people write it.
    pub full_name: Option<String>,
    pub role: Role,
    /// Of reservations that bring no way to log in of their own.
    pub ssh_keys: Vec<SshKey>,
    /// What it says goes before the defaults of the role.
    pub quota: Quota,
    pub created_at: Timestamp,
    pub disabled_at: Option<Timestamp>,
}

/// A credential of an account. Its secret is known to whoever holds it alone.
#[derive(Debug, Clone, PartialEq)]
pub struct Token {
    pub id: TokenId,
    pub name: String,
    pub kind: TokenKind,
    pub scope: Scope,
    pub created_at: Timestamp,
    pub expires_at: Timestamp,
    pub last_used_at: Option<Timestamp>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum TokenKind {
    /// Made by logging in.
    Login,
    /// The same, in a browser's cookie.
    Session,
    /// Made for a program.
    Api,
}

impl TokenKind {
    pub fn name(self) -> &'static str {
        match self {
            Self::Login => "login",
            Self::Session => "session",
            Self::Api => "api",
        }
    }
}

impl std::str::FromStr for TokenKind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        [Self::Login, Self::Session, Self::Api]
            .into_iter()
            .find(|kind| kind.name() == text)
            .ok_or_else(|| format!("`{text}` is no kind of token"))
    }
}
