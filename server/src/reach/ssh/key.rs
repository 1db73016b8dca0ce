//! Keys: the machines' own, by which they are known, and ours, with which to log in.

use model::ssh::Secret;
use russh::keys::{self, Algorithm, HashAlg, PublicKey};
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

pub use russh::keys::PrivateKey;

/// No private key is that long.
pub const LONGEST_KEY: usize = 64 << 10;

/// A host's public key. Shown and read as OpenSSH writes it: `ssh-ed25519 AAAA…`.
#[derive(Clone, PartialEq, Eq)]
pub struct HostKey(Arc<PublicKey>);

impl HostKey {
    /// `SHA256:…`, as `ssh-keygen -l` shows it.
    pub fn fingerprint(&self) -> String {
        self.0.fingerprint(HashAlg::Sha256).to_string()
    }

    /// Whether a host that uses this algorithm shows this kind of key.
    pub(super) fn is_shown_by(&self, algorithm: &Algorithm) -> bool {
        match algorithm {
            Algorithm::Rsa { .. } => self.0.algorithm().is_rsa(),
            algorithm => self.0.algorithm() == *algorithm,
        }
    }
}

/// Two keys are one whatever their comments say, so these are dropped.
impl From<PublicKey> for HostKey {
    fn from(key: PublicKey) -> Self {
        Self(Arc::new(PublicKey::new(key.key_data().clone(), "")))
    }
}

impl FromStr for HostKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        Ok(PublicKey::from_openssh(text.trim()).map_err(|_| KeyError::NotAHostKey)?.into())
    }
}

impl fmt::Display for HostKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.to_openssh().map_err(|_| fmt::Error)?.trim_end())
    }
}

impl fmt::Debug for HostKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HostKey({})", self.fingerprint())
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    #[error("not a host key: give a line like `ssh-ed25519 AAAA…`")]
    NotAHostKey,
    #[error("not a private key: give the text of an OpenSSH or PEM file")]
    NotAKey,
    #[error("the private key is encrypted: give its `passphrase`")]
    PassphraseMissing,
    #[error("the `passphrase` does not open the private key")]
    PassphraseWrong,
}

/// A private key of OpenSSH or PEM. Slow if it is encrypted: its passphrase is hashed many times, on purpose.
pub fn read_key(text: &Secret, passphrase: Option<&Secret>) -> Result<Arc<PrivateKey>, KeyError> {
    let is_encrypted = match keys::decode_secret_key(text.expose(), None) {
        Ok(key) if !key.is_encrypted() => return Ok(Arc::new(key)),
        Ok(_) | Err(keys::Error::KeyIsEncrypted) => true,
        Err(_) => text.expose().contains("ENCRYPTED"),
    };
    match (is_encrypted, passphrase) {
        (false, _) => Err(KeyError::NotAKey),
        (true, None) => Err(KeyError::PassphraseMissing),
        (true, Some(passphrase)) => keys::decode_secret_key(text.expose(), Some(passphrase.expose()))
            .map(Arc::new)
            .map_err(|_| KeyError::PassphraseWrong),
    }
}
