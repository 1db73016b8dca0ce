//! How a machine is reached over SSH, as somebody says it and as it is shown again.

use crate::MachineName;
use serde::{Deserialize, Serialize};
use std::fmt;

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
#[serde(deny_unknown_fields)]
pub struct SshAccess {
    /// `root` when left out; anybody else becomes root with `sudo`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<Secret>,
    /// An OpenSSH or PEM private key as text; the server keeps it sealed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub private_key: Option<Secret>,
    /// A file on the server's machine, read at each log-in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_file: Option<String>,
    /// Of the private key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub passphrase: Option<Secret>,
    /// What `sudo` asks for; `password` when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sudo_password: Option<Secret>,
    /// Its fingerprint `SHA256:…`, its line `ssh-ed25519 AAAA…`, or `accept-new` for whichever is seen first. Left out:
    /// the machine shows it, and waits until somebody confirms it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_key: Option<String>,
    /// A registered machine with SSH through which this one is reached.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jump: Option<String>,
}

/// The same without secrets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
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
}
