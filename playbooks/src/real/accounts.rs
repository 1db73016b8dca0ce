//! Replacing files of `/etc`, so that a reader or a power cut sees the old one or the new one.

use super::if_there;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

/// Files of one folder. All new contents reach the disk before the first name changes, and one fsync of the folder
/// covers all names.
pub(super) fn replace_all(folder: &Path, files: &[(PathBuf, Vec<u8>)]) -> io::Result<()> {
    let written = write_beside(files);
    if written.is_err() {
        // A full disk must not stay full because of us.
        for (path, _) in files {
            let _ = fs::remove_file(beside(path));
        }
        return written;
    }
    for (path, _) in files {
        fs::rename(beside(path), path)?;
    }
    File::open(folder)?.sync_all()
}

fn write_beside(files: &[(PathBuf, Vec<u8>)]) -> io::Result<()> {
    for (path, bytes) in files {
        let file = create_beside(path, bytes)?;
        keep_attributes(path, &file)?;
        file.sync_all()?;
    }
    Ok(())
}

/// Owner, mode, SELinux label and ACL stay as they were: sshd and PAM helpers depend on them.
fn keep_attributes(old: &Path, new: &File) -> io::Result<()> {
    use xattr::FileExt;
    let meta = fs::metadata(old)?;
    fchown(new, Some(meta.uid()), Some(meta.gid()))?;
    new.set_permissions(Permissions::from_mode(meta.mode() & 0o7777))?;
    // A file system without attributes has none to keep.
    for name in xattr::list(old).into_iter().flatten() {
        if let Some(value) = xattr::get(old, &name)? {
            new.set_xattr(&name, &value)?;
        }
    }
    Ok(())
}

/// A file of root's own, readable as `mode` says, durable when this returns.
pub fn write_atomically(path: &Path, mode: u32, bytes: &[u8]) -> io::Result<()> {
    let written = create_beside(path, bytes).and_then(|file| {
        file.set_permissions(Permissions::from_mode(mode))?;
        file.sync_all()?;
        fs::rename(beside(path), path)
    });
    if written.is_err() {
        let _ = fs::remove_file(beside(path));
        return written;
    }
    File::open(path.parent().unwrap_or(Path::new("/")))?.sync_all()
}

fn create_beside(path: &Path, bytes: &[u8]) -> io::Result<File> {
    let temporary = beside(path);
    if_there(fs::remove_file(&temporary))?;
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
    file.write_all(bytes)?;
    Ok(file)
}

/// The dot keeps sudo from reading it as a rule.
fn beside(path: &Path) -> PathBuf {
    path.with_added_extension("berth-new")
}
