//! Tokens of `berth login`, one for each server, in a file that nobody else can read.

use crate::secret;
use anyhow::{Context, Result};
use model::ssh::Secret;
use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

type Tokens = BTreeMap<String, Secret>;

/// What to show to a server: of the file that is named, the environment, or the last `berth login`.
pub(crate) fn token(file: Option<&Path>, server: &str) -> Result<Option<Secret>> {
    if let Some(file) = file {
        return secret::first_line(file).map(|token| Some(token.into()));
    }
    match std::env::var("BERTH_TOKEN") {
        Ok(token) if !token.is_empty() => Ok(Some(token.trim().to_owned().into())),
        _ => Ok(place().map(|place| read(&place)).transpose()?.unwrap_or_default().remove(server)),
    }
}

/// Keeps the token of a server, or forgets it.
pub(crate) fn keep(server: &str, token: Option<Secret>) -> Result<()> {
    let place = place().context("cannot keep the token: there is neither `HOME` nor `XDG_CONFIG_HOME`")?;
    let mut tokens = read(&place)?;
    match token {
        Some(token) => tokens.insert(server.to_owned(), token),
        None => tokens.remove(server),
    };
    write(&place, &tokens).with_context(|| format!("cannot write `{}`", place.display()))
}

fn place() -> Option<PathBuf> {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let config = set("XDG_CONFIG_HOME").or_else(|| Some(set("HOME")?.join(".config")))?;
    Some(config.join("berth/tokens.json"))
}

fn read(place: &Path) -> Result<Tokens> {
    let text = match fs::read(place) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Tokens::new()),
        other => other.with_context(|| format!("cannot read `{}`", place.display()))?,
    };
    let odd = || format!("`{}` is damaged: remove it, and log in again", place.display());
    serde_json::from_slice(&text).with_context(odd)
}

/// All of it or nothing, readable for nobody else at any moment.
fn write(place: &Path, tokens: &Tokens) -> std::io::Result<()> {
    if let Some(folder) = place.parent() {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    }
    let new = place.with_extension(format!("new.{}", std::process::id()));
    let mut file = OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&new)?;
    file.write_all(&serde_json::to_vec_pretty(tokens)?)?;
    file.sync_all()?;
    fs::rename(new, place)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn tokens_are_kept_apart_and_to_oneself() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("berth/tokens.json");
        assert!(read(&place).unwrap().is_empty());
        let mut tokens = Tokens::from([("http://a".to_owned(), Secret::from("1".to_owned()))]);
        write(&place, &tokens).unwrap();
        tokens.insert("http://b".to_owned(), Secret::from("2".to_owned()));
        write(&place, &tokens).unwrap();
        assert_eq!(read(&place).unwrap(), tokens);
        assert_eq!(fs::metadata(&place).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(place.parent().unwrap()).unwrap().count(), 1);
        fs::write(&place, "{").unwrap();
        assert!(format!("{:#}", read(&place).unwrap_err()).contains("log in again"));
    }
}
