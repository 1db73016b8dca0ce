//! How the server is to log in to a machine: from flags and the files they name.

use crate::command::Usage;
use crate::inventory::private_key;
use crate::secret;
use anyhow::Result;
use model::ssh::{Secret, SshAccess};
use std::path::PathBuf;

#[derive(clap::Args, Default)]
pub(crate) struct AccessArgs {
    /// Log in as this user; `root` when left out. Anybody else becomes root with sudo.
    #[arg(long, value_name = "USER")]
    ssh_user: Option<String>,
    /// Read the password from the first line of a file.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["password_stdin", "private_key_file", "key_file"])]
    password_file: Option<PathBuf>,
    /// Read the password from the first line of standard input.
    #[arg(long, conflicts_with_all = ["private_key_file", "key_file"])]
    password_stdin: bool,
    /// A private key on this computer: it is sent, and the server keeps it sealed.
    #[arg(long, value_name = "FILE", conflicts_with = "key_file")]
    private_key_file: Option<PathBuf>,
    /// A private key on the server's machine, read there at each log-in.
    #[arg(long, value_name = "PATH")]
    key_file: Option<String>,
    /// Read the private key's passphrase from the first line of a file.
    #[arg(long, value_name = "FILE")]
    passphrase_file: Option<PathBuf>,
    /// Read what sudo asks for from the first line of a file; the password when left out.
    #[arg(long, value_name = "FILE")]
    sudo_password_file: Option<PathBuf>,
}

impl AccessArgs {
    pub(crate) fn is_given(&self) -> bool {
        self.logs_in()
            || self.ssh_user.is_some()
            || self.passphrase_file.is_some()
            || self.sudo_password_file.is_some()
    }

    /// Whether there is a password or a key among them.
    pub(crate) fn logs_in(&self) -> bool {
        self.password_file.is_some()
            || self.password_stdin
            || self.private_key_file.is_some()
            || self.key_file.is_some()
    }

    pub(crate) fn reads_stdin(&self) -> bool {
        self.password_stdin
    }

    pub(crate) fn read(&self) -> Result<SshAccess> {
        let password = match &self.password_file {
            None if self.password_stdin => Some(checked("password", secret::first_line_of_stdin()?)?),
            file => of_file("password", file.as_ref())?,
        };
        let private_key = self.private_key_file.as_deref().map(private_key).transpose().map_err(Usage)?;
        Ok(SshAccess {
            user: self.ssh_user.clone(),
            password,
            private_key,
            key_file: self.key_file.clone(),
            passphrase: of_file("passphrase", self.passphrase_file.as_ref())?,
            sudo_password: of_file("sudo password", self.sudo_password_file.as_ref())?,
            ..SshAccess::default()
        })
    }
}

fn of_file(what: &str, file: Option<&PathBuf>) -> Result<Option<Secret>> {
    file.map(|file| checked(what, secret::first_line(file)?)).transpose()
}

fn checked(what: &str, text: String) -> Result<Secret> {
    if text.is_empty() {
        return Err(Usage(format!("the {what} is empty: put it into the first line")).into());
    }
    Ok(text.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_come_from_first_lines() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            std::fs::write(folder.path().join(name), text).unwrap();
            Some(folder.path().join(name))
        };
        let args = AccessArgs {
            ssh_user: Some("deploy".to_owned()),
            password_file: file("password", "correct horse\r\nmore\n"),
            sudo_password_file: file("sudo", "battery"),
            ..AccessArgs::default()
        };
        let access = args.read().unwrap();
        assert_eq!(access.password.unwrap().expose(), "correct horse");
        assert_eq!(access.sudo_password.unwrap().expose(), "battery");
        assert!(args.is_given() && args.logs_in());

        let empty = AccessArgs { password_file: file("empty", "\n"), ..AccessArgs::default() };
        assert!(empty.read().unwrap_err().to_string().starts_with("the password is empty"));
        let public = AccessArgs { private_key_file: file("id.pub", "ssh-rsa AAAA"), ..AccessArgs::default() };
        assert!(public.read().unwrap_err().to_string().ends_with("give the file without .pub"));
        assert!(!AccessArgs::default().is_given());
    }
}
