//! Private keys on this computer, each read once.

use model::ssh::Secret;
use std::collections::HashMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

/// Larger than any key.
const LARGEST: u64 = 16 * 1024;

#[derive(Default)]
pub(crate) struct KeyFiles {
    /// Where the inventory lies.
    folder: PathBuf,
    home: Option<PathBuf>,
    seen: HashMap<String, Result<Secret, String>>,
}

impl KeyFiles {
    pub(crate) fn new(folder: PathBuf, home: Option<PathBuf>) -> Self {
        Self { folder, home, seen: HashMap::new() }
    }

    pub(crate) fn read(&mut self, name: &str) -> Result<Secret, String> {
        if let Some(seen) = self.seen.get(name) {
            return seen.clone();
        }
        let key = private_key(&self.path(name));
        self.seen.insert(name.to_owned(), key.clone());
        key
    }

    /// `~/` is home; any other name that is not absolute is looked for beside the inventory, then, as Ansible does,
    /// from where the command runs.
    fn path(&self, name: &str) -> PathBuf {
        let beside = self.folder.join(name);
        match (name.strip_prefix("~/"), &self.home) {
            (Some(below), Some(home)) => home.join(below),
            _ if beside.exists() => beside,
            _ => PathBuf::from(name),
        }
    }
}

pub(crate) fn private_key(path: &Path) -> Result<Secret, String> {
    let shown = path.display();
    let mut text = String::new();
    let file = File::open(path).map_err(|why| format!("private key `{shown}`: {why}"))?;
    file.take(LARGEST + 1)
        .read_to_string(&mut text)
        .map_err(|why| format!("private key `{shown}`: {why}"))?;
    if text.len() as u64 > LARGEST || !text.contains("PRIVATE KEY-----") {
        return Err(format!("`{shown}` is no private key: give the file without .pub"));
    }
    Ok(text.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn read_once_from_home_or_beside_the_inventory() {
        let home = tempfile::tempdir().unwrap();
        let beside = tempfile::tempdir().unwrap();
        let key = "-----BEGIN OPENSSH PRIVATE KEY-----\nabc\n";
        std::fs::write(home.path().join("id"), key).unwrap();
        std::fs::write(beside.path().join("id"), key.replace("abc", "def")).unwrap();
        std::fs::write(beside.path().join("id.pub"), "ssh-ed25519 AAAA").unwrap();
        let mut keys = KeyFiles::new(beside.path().to_owned(), Some(home.path().to_owned()));
        assert!(keys.read("~/id").unwrap().expose().contains("abc"));
        assert!(keys.read("id").unwrap().expose().contains("def"));
        std::fs::remove_file(beside.path().join("id")).unwrap();
        assert!(keys.read("id").is_ok(), "it is read once");
        assert!(keys.read("id.pub").unwrap_err().ends_with("give the file without .pub"));
        assert!(keys.read("other").unwrap_err().contains("No such file"));
    }
}
