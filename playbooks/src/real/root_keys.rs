//! A folder of root's that sshd reads keys from, if an administrator told it so.

use super::{if_there, write_atomically};
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

const FOLDER: &str = "/etc/ssh/berth-keys";

/// sshd's configuration and what it includes.
pub(super) fn are_read(root: &Path) -> io::Result<bool> {
    let ssh = root.join("etc/ssh");
    let mut files = vec![ssh.join("sshd_config")];
    for entry in if_there(fs::read_dir(ssh.join("sshd_config.d")))?.into_iter().flatten() {
        files.push(entry?.path());
    }
    let configures = |path: &PathBuf| path.extension().is_none_or(|extension| extension == "conf");
    for path in files.iter().filter(|path| configures(path)) {
        let text = if_there(fs::read(path))?.unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        if text.lines().any(|line| !line.trim_start().starts_with('#') && line.contains(FOLDER)) {
            return Ok(true);
        }
    }
    Ok(false)
}

fn path(root: &Path, name: &str) -> PathBuf {
    root.join(&FOLDER[1..]).join(name)
}

pub(super) fn read(root: &Path, name: &str) -> io::Result<Option<Vec<u8>>> {
    if_there(fs::read(path(root, name)))
}

/// sshd reads them as the account, so everybody may.
pub(super) fn write(root: &Path, name: &str, keys: &[u8]) -> io::Result<()> {
    let folder = root.join(&FOLDER[1..]);
    if !folder.is_dir() {
        fs::create_dir_all(&folder)?;
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o755))?;
    }
    write_atomically(&path(root, name), 0o644, keys)
}

pub(super) fn remove(root: &Path, name: &str) -> io::Result<()> {
    if_there(fs::remove_file(path(root, name))).map(drop)
}
