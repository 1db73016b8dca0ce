//! How the account will log in: keys and passwords from files, or what this command makes up.

use crate::secret;
use anyhow::{Context, Result, bail, ensure};
use model::account::{Password, SshKey};
use std::path::{Path, PathBuf};

/// No `--password TEXT`: every process on this machine could read it.
#[derive(clap::Args)]
pub(crate) struct LoginArgs {
    /// A public key, or a file of several; may be repeated. Without any flag here: ~/.ssh/id_*.pub if there is
    /// one, else a generated password, shown once.
    #[arg(long = "ssh-key", value_name = "FILE")]
    ssh_keys: Vec<PathBuf>,
    /// Read the password from the first line of a file.
    #[arg(long, value_name = "FILE", conflicts_with = "password_stdin")]
    password_file: Option<PathBuf>,
    /// Read the password from the first line of standard input.
    #[arg(long)]
    password_stdin: bool,
}

#[derive(Default)]
pub(crate) struct Login {
    pub(crate) ssh_keys: Vec<String>,
    pub(crate) password: Option<String>,
    /// Made up here, so the caller has to be told.
    pub(crate) generated: bool,
}

impl LoginArgs {
    pub(crate) fn read(&self, home: Option<&Path>) -> Result<Login> {
        let mut login = Login { password: self.password()?, ..Login::default() };
        for file in &self.ssh_keys {
            login.ssh_keys.extend(keys_of(file)?);
        }
        if login.password.is_none() && login.ssh_keys.is_empty() {
            login.ssh_keys = home.map(|home| own_keys(&home.join(".ssh"))).unwrap_or_default();
        }
        if login.password.is_none() && login.ssh_keys.is_empty() {
            login.password = Some(generated_password()?);
            login.generated = true;
        }
        Ok(login)
    }

    fn password(&self) -> Result<Option<String>> {
        let line = match &self.password_file {
            Some(file) => secret::first_line(file)?,
            None if self.password_stdin => secret::first_line_of_stdin()?,
            None => return Ok(None),
        };
        match Password::try_from(line) {
            Ok(password) => Ok(Some(password.expose().to_owned())),
            Err(why) => bail!("password: {why}"),
        }
    }
}

pub(crate) fn keys_of(file: &Path) -> Result<Vec<String>> {
    let text = std::fs::read_to_string(file).with_context(|| shown(file))?;
    ensure!(!text.contains("PRIVATE KEY"), "{} is a private key: give the .pub file", shown(file));
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let keys: Vec<String> =
        lines.map(|line| key(line).with_context(|| shown(file))).collect::<Result<_>>()?;
    ensure!(!keys.is_empty(), "{} holds no key", shown(file));
    Ok(keys)
}

fn key(line: &str) -> Result<String> {
    match line.parse::<SshKey>() {
        Ok(key) => Ok(key.as_str().to_owned()),
        Err(why) => bail!("{why}"),
    }
}

/// Every usable `id_*.pub`; nobody asked for these by name, so one of an old type (or a certificate) is passed over.
fn own_keys(folder: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let named = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        name.starts_with("id_") && name.ends_with(".pub")
    };
    let mut files: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).filter(named).collect();
    files.sort();
    files.iter().filter_map(|file| keys_of(file).ok()).flatten().collect()
}

/// 100 bits, in letters and digits that are not mistaken for one another.
fn generated_password() -> Result<String> {
    const LETTERS: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
    let mut bytes = [0; 20];
    getrandom::fill(&mut bytes).map_err(|why| anyhow::anyhow!("no random numbers: {why}"))?;
    Ok(bytes.iter().map(|byte| char::from(LETTERS[usize::from(byte % 32)])).collect())
}

fn shown(file: &Path) -> String {
    format!("`{}`", file.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f a@b";

    fn args() -> LoginArgs {
        LoginArgs { ssh_keys: Vec::new(), password_file: None, password_stdin: false }
    }

    #[test]
    fn without_flags_ones_own_keys_else_a_password() {
        let home = tempfile::tempdir().unwrap();
        let made = args().read(Some(home.path())).unwrap();
        assert!(made.generated && made.ssh_keys.is_empty());
        assert_eq!(made.password.map(|text| text.len()), Some(20));

        let folder = home.path().join(".ssh");
        std::fs::create_dir(&folder).unwrap();
        std::fs::write(folder.join("id_ed25519.pub"), format!("{KEY}\n")).unwrap();
        std::fs::write(folder.join("id_ed25519-cert.pub"), "ssh-ed25519-cert-v01@openssh.com AAAA\n")
            .unwrap();
        let found = args().read(Some(home.path())).unwrap();
        assert_eq!(found.ssh_keys, [KEY]);
        assert!(found.password.is_none() && !found.generated);
    }

    #[test]
    fn a_file_gives_its_first_line_and_a_private_key_is_refused() {
        let home = tempfile::tempdir().unwrap();
        let file = home.path().join("secret");
        std::fs::write(&file, "correct horse\n").unwrap();
        let given = LoginArgs { password_file: Some(file.clone()), ..args() }.read(None).unwrap();
        assert_eq!(given.password.as_deref(), Some("correct horse"));

        std::fs::write(&file, "-----BEGIN OPENSSH PRIVATE KEY-----\n").unwrap();
        let refused = LoginArgs { ssh_keys: vec![file], ..args() }.read(None).err().unwrap();
        assert!(refused.to_string().contains("give the .pub file"));
    }
}
