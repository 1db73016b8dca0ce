//! How a machine is reached over SSH, as somebody says it and as it is shown again.

use crate::MachineName;
use crate::adoption::{Adoption, AdoptionView, Stage};
#[cfg(feature = "schema")]
use crate::text;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// A password, a private key, a passphrase. `Debug` says nothing.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// How the server logs in to a machine that has no agent of its own. One of `password`, `private_key` and `key_file`
/// is needed.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct SshAccess {
    /// `root` when left out; anybody else becomes root with `sudo`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(value_type = Option<text::SshUser>))]
    pub user: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(value_type = Option<text::SshPassword>))]
    pub password: Option<Secret>,
    /// An OpenSSH or PEM private key as text; the server keeps it sealed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(value_type = Option<text::PrivateKey>))]
    pub private_key: Option<Secret>,
    /// A file on the server's machine, read at each log-in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(value_type = Option<text::Path>))]
    pub key_file: Option<String>,
    /// Of the private key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(value_type = Option<text::Line>))]
    pub passphrase: Option<Secret>,
    /// What `sudo` asks for; `password` when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(value_type = Option<text::SshPassword>))]
    pub sudo_password: Option<Secret>,
    /// Its fingerprint `SHA256:…`, its line `ssh-ed25519 AAAA…`, or `accept-new` for whichever is seen first. Left out:
    /// the machine shows it, and waits until somebody confirms it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(value_type = Option<text::HostKey>))]
    pub host_key: Option<String>,
    /// A registered machine with SSH through which this one is reached.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(value_type = Option<MachineName>))]
    pub jump: Option<String>,
}

/// The same without secrets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct SshView {
    pub user: String,
    /// `password` or `key`.
    pub auth: String,
    /// The fingerprint that is pinned; absent while none is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_key: Option<String>,
    /// The fingerprint that was seen and waits for somebody to confirm it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offered_host_key: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jump: Option<MachineName>,
    /// Present if it has an agent of its own, or is to get one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adoption: Option<AdoptionView>,
}

/// How the server logs in to a machine, as far as the database says, and how that went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ssh {
    pub user: String,
    pub auth: AuthKind,
    /// The line of the public key that is pinned: `ssh-ed25519 AAAA…`. No visit without.
    pub host_key: Option<String>,
    /// What to pin once the machine has shown it; absent: what somebody confirms.
    pub awaited: Option<AwaitedKey>,
    /// The line that it showed, not pinned.
    pub offered: Option<String>,
    pub jump: Option<MachineName>,
    /// Of visits in a row, and what the last one said.
    pub failures: u32,
    pub tried_at: Option<Timestamp>,
    pub error: Option<String>,
    /// Present if it has an agent of its own, or is to get one.
    pub adoption: Option<Adoption>,
}

impl Ssh {
    /// Nobody but our visits speaks for it.
    pub fn is_visited(&self) -> bool {
        self.stage().is_none_or(|stage| stage == Stage::Adopting)
    }

    pub fn stage(&self) -> Option<Stage> {
        self.adoption.as_ref().map(|adoption| adoption.stage)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuthKind {
    Password,
    /// Kept by the server.
    PrivateKey,
    /// Read from a file whenever it is needed.
    KeyFile,
}

impl AuthKind {
    pub fn name(self) -> &'static str {
        match self {
            Self::Password => "password",
            Self::PrivateKey => "private_key",
            Self::KeyFile => "key_file",
        }
    }
}

impl FromStr for AuthKind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        [Self::Password, Self::PrivateKey, Self::KeyFile]
            .into_iter()
            .find(|kind| kind.name() == text)
            .ok_or_else(|| format!("`{text}` is no way to log in"))
    }
}

/// A host key that is not known yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AwaitedKey {
    /// Whichever comes first.
    New,
    /// `SHA256:…`
    Fingerprint(String),
}

impl fmt::Display for AwaitedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::New => "accept-new",
            Self::Fingerprint(fingerprint) => fingerprint,
        })
    }
}

impl FromStr for AwaitedKey {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "accept-new" {
            return Ok(Self::New);
        }
        // 32 bytes in base64 without padding.
        let digest = text.strip_prefix("SHA256:").filter(|digest| digest.len() == 43);
        let allowed = |c: u8| c.is_ascii_alphanumeric() || c == b'+' || c == b'/';
        match digest {
            Some(digest) if digest.bytes().all(allowed) => Ok(Self::Fingerprint(text.to_owned())),
            _ => Err("give a fingerprint as `ssh-keygen -lf` shows it (`SHA256:…`), the line of the public key, or \
                      `accept-new`"
                .to_owned()),
        }
    }
}
