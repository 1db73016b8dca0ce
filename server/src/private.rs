//! Files and folders that nobody but us reads.

use crate::secret;
use anyhow::{Context, ensure};
use data_encoding::HEXLOWER;
use nix::unistd::geteuid;
use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

/// Makes the folder, with those above it, where it is not there.
pub(crate) fn folder(folder: &Path) -> anyhow::Result<()> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .with_context(|| format!("cannot make the folder `{}`", folder.display()))
}

/// Makes the folder that this file lies in, or is to lie in.
pub(crate) fn folder_of(file: &Path) -> anyhow::Result<()> {
    match file.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => folder(parent),
        Some(_) | None => Ok(()),
    }
}

/// The line that the file holds, and that is `first` if it was not there. Servers that start at once find the same one.
pub(crate) fn line(file: &Path, first: &str) -> anyhow::Result<String> {
    let shown = file.display();
    folder_of(file)?;
    match make(file, first) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(error).with_context(|| format!("cannot make `{shown}`")),
    }
    let meta = fs::metadata(file).with_context(|| format!("cannot read `{shown}`"))?;
    ensure!(meta.uid() == geteuid().as_raw(), "`{shown}` is somebody else's: remove it, or `chown` it to us");
    ensure!(meta.mode() & 0o077 == 0, "others may read `{shown}`: run `chmod 600 {shown}`");
    let text = fs::read_to_string(file).with_context(|| format!("cannot read `{shown}`"))?;
    Ok(text.trim().to_owned())
}

/// Whole or not at all.
fn make(file: &Path, line: &str) -> io::Result<()> {
    if file.exists() {
        return Ok(());
    }
    let unfinished = file.with_extension(format!("new-{}", HEXLOWER.encode(&secret::random::<8>())));
    let mut new = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&unfinished)?;
    let written = writeln!(new, "{line}").and_then(|()| new.sync_all());
    let made = written.and_then(|()| fs::hard_link(&unfinished, file));
    fs::remove_file(&unfinished)?;
    made
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use std::fs::Permissions;
    use std::os::unix::fs::{PermissionsExt, chown};
    use std::sync::Barrier;
    use std::thread;

    #[test]
    fn who_starts_at_once_finds_the_same_line() {
        for _ in 0..50 {
            let parent = tempfile::tempdir().unwrap();
            let file = parent.path().join("data/secret");
            let start = Barrier::new(8);
            let find = |number| {
                start.wait();
                line(&file, &format!("line {number}")).unwrap()
            };
            let found: BTreeSet<_> = thread::scope(|scope| {
                let all: Vec<_> = (0..8).map(|number| scope.spawn(move || find(number))).collect();
                all.into_iter().map(|one| one.join().unwrap()).collect()
            });
            assert_eq!(found.len(), 1, "{found:?}");
            assert_eq!(Some(&line(&file, "later").unwrap()), found.first());
            assert_eq!(
                fs::read_dir(file.parent().unwrap()).unwrap().count(),
                1,
                "and nothing lies beside it"
            );
        }
    }

    #[test]
    fn nobody_else_may_read_it() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("new/secret");
        line(&file, "correct horse").unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o777;
        assert_eq!((mode(file.parent().unwrap()), mode(&file)), (0o700, 0o600));
        fs::set_permissions(&file, Permissions::from_mode(0o640)).unwrap();
        let refused = line(&file, "another").unwrap_err().to_string();
        assert!(refused.contains("chmod 600"), "{refused}");
        fs::set_permissions(&file, Permissions::from_mode(0o600)).unwrap();
        chown(&file, Some(65534), None).unwrap();
        let refused = line(&file, "another").unwrap_err().to_string();
        assert!(refused.contains("somebody else's"), "{refused}");
    }
}
