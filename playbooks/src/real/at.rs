//! Files by descriptor, one name at a time, never through a link or into another file system.

use nix::dir::Dir;
use nix::fcntl::{AtFlags, OFlag, OpenHow, ResolveFlag, openat, openat2, renameat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat, fstatat};
use nix::unistd::{UnlinkatFlags, unlinkat};
use std::ffi::{CStr, CString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

const FOLDER: OFlag = OFlag::O_RDONLY.union(OFlag::O_DIRECTORY).union(OFlag::O_CLOEXEC);

/// A folder whose whole path belongs to root.
pub(super) fn open_trusted(path: &Path) -> io::Result<OwnedFd> {
    Ok(nix::fcntl::open(path, FOLDER, Mode::empty())?)
}

pub(super) fn open_folder(parent: &OwnedFd, name: &CStr) -> io::Result<OwnedFd> {
    open(parent, name, FOLDER)
}

/// Does not wait for the writer of a pipe.
pub(super) fn open_file(parent: &OwnedFd, name: &CStr) -> io::Result<File> {
    open(parent, name, OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC).map(File::from)
}

/// With openat2 the kernel refuses a mount before talking to it, which matters if it is a FUSE that never answers.
fn open(parent: &OwnedFd, name: &CStr, flags: OFlag) -> io::Result<OwnedFd> {
    let how = OpenHow::new().flags(flags | OFlag::O_NOFOLLOW).resolve(
        ResolveFlag::RESOLVE_NO_SYMLINKS | ResolveFlag::RESOLVE_NO_XDEV | ResolveFlag::RESOLVE_BENEATH,
    );
    match openat2(parent, name, how) {
        // Older kernels, and containers that filter what they do not know.
        Err(nix::Error::ENOSYS | nix::Error::EPERM) => {
            let opened = openat(parent, name, flags | OFlag::O_NOFOLLOW, Mode::empty())?;
            same_device(parent, &opened)?;
            Ok(opened)
        }
        Err(nix::Error::EXDEV) => Err(mounted()),
        other => Ok(other?),
    }
}

fn same_device(parent: &OwnedFd, child: &OwnedFd) -> io::Result<()> {
    if fstat(parent)?.st_dev == fstat(child)?.st_dev { Ok(()) } else { Err(mounted()) }
}

fn mounted() -> io::Error {
    io::Error::other("a file system is mounted there; unmount it")
}

pub(super) fn stat(parent: &OwnedFd, name: &CStr) -> io::Result<Option<FileStat>> {
    match fstatat(parent, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
        Err(nix::Error::ENOENT) => Ok(None),
        other => Ok(Some(other?)),
    }
}

pub(super) fn is_folder(stat: &FileStat) -> bool {
    kind(stat) == SFlag::S_IFDIR
}

pub(super) fn kind(stat: &FileStat) -> SFlag {
    SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT
}

/// Removes whatever has this name. Nested folders are moved up into the top one before they are emptied, so that
/// neither depth nor length of a path costs descriptors or stack.
pub(super) fn remove_tree(parent: &OwnedFd, name: &str) -> io::Result<()> {
    let name = CString::new(name)?;
    match stat(parent, &name)? {
        None => return Ok(()),
        Some(stat) if !is_folder(&stat) => return unlink(parent, &name, UnlinkatFlags::NoRemoveDir),
        Some(_) => {}
    }
    let top = open_folder(parent, &name)?;
    let mut hoisted = 0_u64;
    loop {
        let folders = remove_files(&top)?;
        if folders.is_empty() {
            break;
        }
        for folder in folders {
            let inner = open_folder(&top, &folder)?;
            for nested in remove_files(&inner)? {
                hoist(&inner, &nested, &top, &mut hoisted)?;
            }
            unlink(&top, &folder, UnlinkatFlags::RemoveDir)?;
        }
    }
    unlink(parent, &name, UnlinkatFlags::RemoveDir)
}

fn hoist(from: &OwnedFd, name: &CStr, top: &OwnedFd, count: &mut u64) -> io::Result<()> {
    loop {
        *count += 1;
        let free = CString::new(format!(".berth-hoisted-{count}"))?;
        if stat(top, &free)?.is_none() {
            return Ok(renameat(from, name, top, free.as_c_str())?);
        }
    }
}

/// Removes everything that is no folder and returns the names of the folders.
fn remove_files(folder: &OwnedFd) -> io::Result<Vec<CString>> {
    let mut folders = Vec::new();
    let mut entries = Dir::from_fd(openat(folder, c".", FOLDER, Mode::empty())?)?;
    for entry in entries.iter() {
        let entry = entry?;
        let name = entry.file_name();
        if name == c"." || name == c".." {
            continue;
        }
        match unlink(folder, name, UnlinkatFlags::NoRemoveDir) {
            // Linux says EISDIR, POSIX EPERM, which is also what an immutable file says.
            Err(error) if matches!(error.raw_os_error(), Some(nix::libc::EISDIR | nix::libc::EPERM)) => {
                match stat(folder, name)? {
                    Some(stat) if is_folder(&stat) => folders.push(name.to_owned()),
                    _ => return Err(error),
                }
            }
            other => other?,
        }
    }
    Ok(folders)
}

fn unlink(parent: impl AsFd, name: &CStr, flag: UnlinkatFlags) -> io::Result<()> {
    match unlinkat(parent, name, flag) {
        Err(nix::Error::ENOENT) => Ok(()),
        Err(nix::Error::EBUSY) => Err(mounted()),
        other => Ok(other?),
    }
}
