//! What people on the machine are told.

use super::{accounts, if_there, write_atomically};
use crate::host::Who;
use nix::fcntl::OFlag;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

const OURS: &str = "Berth: ";

/// Exactly one line of ours in the message of the day, or none.
pub(super) fn write_line(motd: &Path, line: &str) -> io::Result<()> {
    // Some systems have a link to a file below `/run` there.
    let path = motd.canonicalize().unwrap_or_else(|_| motd.to_owned());
    let old = if_there(fs::read(&path))?;
    let new = with_line(old.as_deref().unwrap_or_default(), line);
    match old {
        None if new.is_empty() => Ok(()),
        None => write_atomically(&path, 0o644, &new),
        Some(old) if old == new => Ok(()),
        Some(_) => accounts::replace_all(path.parent().unwrap_or(Path::new("/")), &[(path.clone(), new)]),
    }
}

fn with_line(old: &[u8], line: &str) -> Vec<u8> {
    let others = old.split_inclusive(|byte| *byte == b'\n').filter(|line| !line.starts_with(OURS.as_bytes()));
    let mut new: Vec<u8> = others.flatten().copied().collect();
    if !line.is_empty() {
        if new.last().is_some_and(|last| *last != b'\n') {
            new.push(b'\n');
        }
        let line = line.strip_prefix(OURS).unwrap_or(line).replace(char::is_control, " ");
        new.extend_from_slice(format!("{OURS}{line}\n").as_bytes());
    }
    new
}

pub(super) fn write_status(path: &Path, status: &[u8]) -> io::Result<()> {
    if status.is_empty() {
        return if_there(fs::remove_file(path)).map(drop);
    }
    if if_there(fs::read(path))?.as_deref() == Some(status) {
        return Ok(());
    }
    if let Some(folder) = path.parent().filter(|folder| !folder.is_dir()) {
        fs::create_dir_all(folder)?;
        fs::set_permissions(folder, fs::Permissions::from_mode(0o755))?;
    }
    write_atomically(path, 0o644, status)
}

/// Whoever reads nothing, or has just gone, must not keep us from telling the others.
pub(super) fn tell(terminals: &Path, who: &Who, text: &str) -> io::Result<()> {
    for entry in if_there(fs::read_dir(terminals))?.into_iter().flatten() {
        let path = entry?.path();
        let theirs = |meta: fs::Metadata| meta.uid() == who.uid && meta.file_type().is_char_device();
        if path.symlink_metadata().is_ok_and(theirs) {
            let flags = OFlag::O_NOCTTY | OFlag::O_NONBLOCK | OFlag::O_NOFOLLOW;
            let terminal = OpenOptions::new().write(true).custom_flags(flags.bits()).open(&path);
            let _ = terminal.and_then(|mut terminal| terminal.write_all(text.as_bytes()));
        }
    }
    Ok(())
}

#[test]
fn the_message_of_the_day_keeps_everything_else() {
    let one = with_line(b"Welcome", "Berth: until 12:00");
    assert_eq!(one, b"Welcome\nBerth: until 12:00\n");
    assert_eq!(
        with_line(&[&one[..], b"bye\n"].concat(), "until\n13:00"),
        b"Welcome\nbye\nBerth: until 13:00\n"
    );
    assert_eq!(with_line(&one, ""), b"Welcome\n");
    assert_eq!(with_line(b"no newline", ""), b"no newline");
}
