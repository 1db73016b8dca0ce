//! Giving to root what cannot be removed because it holds, or is, somebody else's.

use crate::real::at;
use nix::fcntl::AtFlags;
use nix::sys::stat::{Mode, fchmod, fstat};
use nix::unistd::{Gid, Uid, fchown, fchownat};
use std::ffi::CStr;
use std::fs::{self, File, Permissions};
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

const ROOT: (Option<Uid>, Option<Gid>) = (Some(Uid::from_raw(0)), Some(Gid::from_raw(0)));
const SETUID_OR_SETGID: u32 = 0o6000;
const SETGID: u32 = 0o2000;

/// With nobody else writing in it, and no access list.
pub(super) fn folder(folder: &File, mode: u32) -> io::Result<()> {
    fchown(folder, ROOT.0, ROOT.1)?;
    for list in [super::acl::ACCESS, super::acl::DEFAULT] {
        // There may be none, and none possible.
        let _ = xattr::remove_deref(by_descriptor(folder), list);
    }
    Ok(fchmod(folder, Mode::from_bits_truncate(mode & 0o755))?)
}

pub(super) fn file(folder: &File, name: &CStr) -> io::Result<()> {
    Ok(fchownat(folder, name, ROOT.0, ROOT.1, AtFlags::AT_SYMLINK_NOFOLLOW)?)
}

pub(super) fn folders_group(folder: &File, mode: u32) -> io::Result<()> {
    fchown(folder, None, ROOT.1)?;
    if mode & SETGID == 0 {
        return Ok(());
    }
    Ok(fchmod(folder, Mode::from_bits_truncate(mode & 0o7777 & !SETGID))?)
}

/// The kernel takes both bits off whatever changes hands; the owner's own comes back.
pub(super) fn files_group(folder: &File, name: &CStr) -> io::Result<()> {
    let file = at::open_path(folder, name)?;
    let mode = fstat(&file)?.st_mode;
    fchownat(&file, c"", None, ROOT.1, AtFlags::AT_EMPTY_PATH)?;
    if mode & SETUID_OR_SETGID == 0 {
        return Ok(());
    }
    fs::set_permissions(by_descriptor(&file), Permissions::from_mode(mode & 0o7777 & !SETGID))
}

/// A path that leads to this very file, whatever has its name by now.
pub(super) fn by_descriptor(file: impl AsFd) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", file.as_fd().as_raw_fd()))
}
