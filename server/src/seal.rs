//! Secrets at rest: sealed with a key that is in a file of its own, so that a copy of the database gives none away.

use crate::{private, secret};
use anyhow::{Context, bail};
use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use data_encoding::{BASE64, HEXLOWER, HEXLOWER_PERMISSIVE};
use model::MachineId;
use model::ssh::Secret;
use serde::{Deserialize, Serialize};
use std::path::Path;

const KEY_BYTES: usize = 32;
const NONCE_BYTES: usize = 24;

/// What is secret about a log-in.
#[derive(Default, Serialize, Deserialize)]
pub struct Credentials {
    pub password: Option<Secret>,
    pub private_key: Option<Secret>,
    pub passphrase: Option<Secret>,
    pub sudo_password: Option<Secret>,
}

#[derive(Clone)]
pub struct Seal(XChaCha20Poly1305);

/// What was sealed cannot be opened: with another key, for something else, or damaged.
#[derive(Debug, Clone, thiserror::Error)]
#[error(
    "its credentials cannot be unsealed: was the key file replaced? restore it, or give the credentials anew"
)]
pub struct Unsealable;

impl Seal {
    /// Reads the key, and makes it the first time.
    pub fn open(file: &Path) -> anyhow::Result<Self> {
        let new = HEXLOWER.encode(&secret::random::<KEY_BYTES>());
        let text = private::line(file, &new).context("there is no key to seal log-ins with")?;
        let key = HEXLOWER_PERMISSIVE.decode(text.as_bytes()).ok();
        match key.and_then(|key| <[u8; KEY_BYTES]>::try_from(key).ok()) {
            Some(key) => Ok(Self::with(key)),
            None => bail!(
                "`{}` is no key file: it must hold 64 hex digits; restore it from a backup",
                file.display()
            ),
        }
    }

    fn with(key: [u8; KEY_BYTES]) -> Self {
        Self(XChaCha20Poly1305::new(&key.into()))
    }

    pub fn seal_credentials(&self, of: MachineId, credentials: &Credentials) -> String {
        // Strings are always written.
        let json = serde_json::to_vec(credentials).unwrap_or_default();
        self.seal(&of.to_string(), &json)
    }

    pub fn open_credentials(&self, of: MachineId, sealed: &str) -> Result<Credentials, Unsealable> {
        let json = self.unseal(&of.to_string(), sealed)?;
        serde_json::from_slice(&json).map_err(|_| Unsealable)
    }

    /// `of` is what it belongs to; sealed text that is moved elsewhere does not open there.
    fn seal(&self, of: &str, secret: &[u8]) -> String {
        let nonce = secret::random::<NONCE_BYTES>();
        let payload = Payload { msg: secret, aad: of.as_bytes() };
        // Fails for messages beyond 256 GiB only.
        let sealed = self.0.encrypt(&XNonce::from(nonce), payload).unwrap_or_default();
        BASE64.encode(&[&nonce[..], &sealed].concat())
    }

    fn unseal(&self, of: &str, sealed: &str) -> Result<Vec<u8>, Unsealable> {
        let bytes = BASE64.decode(sealed.as_bytes()).map_err(|_| Unsealable)?;
        let (nonce, sealed) = bytes.split_first_chunk::<NONCE_BYTES>().ok_or(Unsealable)?;
        let payload = Payload { msg: sealed, aad: of.as_bytes() };
        self.0.decrypt(&XNonce::from(*nonce), payload).map_err(|_| Unsealable)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn the_key_is_made_once() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("secrets.key");
        let sealed = Seal::open(&file).unwrap().seal("machine 1", b"correct horse");
        let again = Seal::open(&file).unwrap();
        assert_eq!(again.unseal("machine 1", &sealed).unwrap(), b"correct horse");
        fs::write(&file, "short").unwrap();
        assert!(Seal::open(&file).err().unwrap().to_string().contains("64 hex digits"));
    }

    #[test]
    fn what_is_sealed_opens_only_with_its_key_and_for_its_owner() {
        let (one, other) = (Seal::with([1; KEY_BYTES]), Seal::with([2; KEY_BYTES]));
        let sealed = one.seal("machine 1", b"correct horse");
        assert!(!sealed.contains("horse") && sealed != one.seal("machine 1", b"correct horse"));
        assert!(one.unseal("machine 2", &sealed).is_err());
        assert!(other.unseal("machine 1", &sealed).is_err());
        for damaged in ["", "AAAA", &sealed[4..], &sealed.replace(&sealed[40..44], "AAAA")] {
            assert!(one.unseal("machine 1", damaged).is_err(), "{damaged}");
        }
    }
}
