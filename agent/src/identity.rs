//! Who this agent is to its server: made once, kept in a file that only root reads.

use crate::link::{Link, LinkError};
use crate::service::remove_if_there;
use crate::trust;
use data_encoding::HEXLOWER;
use model::wire::{EnrolAnswer, EnrolRequest};
use model::{Incarnation, MachineName};
use playbooks::real::{private_folder, write_atomically};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::fs;
use std::path::{Path, PathBuf};
use std::{fmt, io};

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Identity {
    pub server: String,
    credential: Credential,
    /// Absent until enrolled.
    pub incarnation: Option<Incarnation>,
    pub machine: Option<MachineName>,
}

/// `berth_agent_` and 256 random bits in hex. `Debug` says nothing.
#[derive(Clone, Serialize, Deserialize)]
#[serde(transparent)]
struct Credential(String);

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credential(…)")
    }
}

impl Identity {
    /// A new one, unknown to any server.
    pub fn new(server: &str) -> io::Result<Self> {
        let mut bits = [0; 32];
        getrandom::fill(&mut bits).map_err(|error| io::Error::other(error.to_string()))?;
        let credential = Credential(format!("berth_agent_{}", HEXLOWER.encode(&bits)));
        Ok(Self { server: server.to_owned(), credential, incarnation: None, machine: None })
    }

    pub fn load(state: &Path) -> io::Result<Option<Self>> {
        match fs::read(Self::file(state)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            read => serde_json::from_slice(&read?).map_err(io::Error::other),
        }
    }

    pub fn save(&self, state: &Path) -> io::Result<()> {
        private_folder(state)?;
        write_atomically(
            &Self::file(state),
            0o600,
            &serde_json::to_vec_pretty(self).map_err(io::Error::other)?,
        )
    }

    /// The server does not want this one any more; the next may be another server, with another CA.
    pub fn delete(state: &Path) -> io::Result<()> {
        remove_if_there(&trust::file(state))?;
        fs::remove_file(Self::file(state))
    }

    pub fn file(state: &Path) -> PathBuf {
        state.join("identity.json")
    }

    /// What the agent shows with every call.
    pub fn credential(&self) -> &str {
        &self.credential.0
    }

    /// All that the server keeps of the credential.
    pub fn digest(&self) -> String {
        HEXLOWER.encode(&Sha256::digest(self.credential.0.as_bytes()))
    }

    /// May be repeated: the server knows the digest again. Save the identity before, so that a crash keeps it.
    pub async fn enrol(&mut self, link: &mut Link, join_token: &str) -> Result<EnrolAnswer, LinkError> {
        let request = EnrolRequest { join_token: join_token.to_owned(), credential_sha256: self.digest() };
        let answer = link.enrol(&request).await?;
        self.incarnation = Some(answer.incarnation);
        self.machine = Some(answer.machine.clone());
        Ok(answer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_keeps_its_secret_and_survives() {
        let state = tempfile::tempdir().unwrap();
        assert!(Identity::load(state.path()).unwrap().is_none());
        let identity = Identity::new("unix:/run/berth.sock").unwrap();
        identity.save(state.path()).unwrap();
        let loaded = Identity::load(state.path()).unwrap().unwrap();
        assert_eq!(loaded.credential(), identity.credential());
        assert_eq!(loaded.credential().len(), "berth_agent_".len() + 64);
        assert_eq!(loaded.digest().len(), 64);
        assert!(!format!("{loaded:?}").contains("berth_agent_"));
        assert_ne!(Identity::new("x").unwrap().credential(), identity.credential());
    }
}
