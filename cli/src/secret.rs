//! Passwords from files and from standard input: on a command line every process of the machine could read them.

use crate::command::Usage;
use anyhow::{Context, Result};
use model::ssh::Secret;
use std::fs::File;
use std::io::{IsTerminal, Read};
use std::path::{Path, PathBuf};

/// More than the longest password, and no more than that of a file given by mistake.
const LONGEST: u64 = 4096;

pub(crate) fn first_line(file: &Path) -> Result<String> {
    let open = || File::open(file).and_then(beginning);
    open().map(line).with_context(|| format!("`{}`", file.display()))
}

pub(crate) fn first_line_of_stdin() -> Result<String> {
    beginning(std::io::stdin().lock()).map(line).context("standard input")
}

/// How somebody gives a password. There is no `--password TEXT`: every process on this computer could read it.
#[derive(clap::Args, Default)]
pub(crate) struct PasswordArgs {
    /// Read the password from the first line of a file.
    #[arg(long, value_name = "FILE", conflicts_with = "password_stdin")]
    password_file: Option<PathBuf>,
    /// Read the password from the first line of standard input.
    #[arg(long)]
    password_stdin: bool,
}

impl PasswordArgs {
    /// From where it is said to be, or asked for on the terminal.
    pub(crate) fn read(&self, question: &str) -> Result<Secret> {
        match &self.password_file {
            Some(file) => first_line(file).map(Secret::from),
            None if self.password_stdin => first_line_of_stdin().map(Secret::from),
            None => asked(question),
        }
    }

    pub(crate) fn is_given(&self) -> bool {
        self.password_file.is_some() || self.password_stdin
    }
}

/// Typed by somebody at the terminal, and not shown.
pub(crate) fn asked(question: &str) -> Result<Secret> {
    if !std::io::stdin().is_terminal() {
        return Err(
            Usage("give the password: `--password-file FILE` or `--password-stdin`".to_owned()).into()
        );
    }
    Ok(rpassword::prompt_password(format!("{question}: ")).context("the terminal")?.into())
}

fn beginning(source: impl Read) -> std::io::Result<String> {
    let mut text = String::new();
    source.take(LONGEST).read_to_string(&mut text)?;
    Ok(text)
}

fn line(text: String) -> String {
    text.lines().next().unwrap_or_default().to_owned()
}
