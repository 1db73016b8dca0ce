//! Files by descriptor, one name at a time, never through a link or into another file system.

use crate::kernel;
use model::cleaning::Cleaning;
use nix::dir::Dir;
use nix::fcntl::{AtFlags, OFlag, OpenHow, ResolveFlag, openat, openat2, renameat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat, fstatat};
use nix::unistd::{UnlinkatFlags, unlinkat};
use std::ffi::{CStr, CString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

const FOLDER: OFlag = OFlag::O_RDONLY.union(OFlag::O_DIRECTORY).union(OFlag::O_CLOEXEC);

/// A folder whose whole path belongs to root.
pub(super) fn open_trusted(path: &Path) -> io::Result<OwnedFd> {
    Ok(nix::fcntl::open(path, FOLDER, Mode::empty())?)
}

pub(super) fn open_folder(parent: impl AsFd, name: &CStr) -> io::Result<OwnedFd> {
    open(parent, name, FOLDER)
}

/// Does not wait for the writer of a pipe.
pub(super) fn open_file(parent: impl AsFd, name: &CStr) -> io::Result<File> {
    open(parent, name, OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC).map(File::from)
}

/// For changing what is neither folder nor readable; opening it does nothing to it.
pub(super) fn open_path(parent: impl AsFd, name: &CStr) -> io::Result<OwnedFd> {
    open(parent, name, OFlag::O_PATH | OFlag::O_CLOEXEC)
}

/// Where it leads is for the caller to check.
pub(super) fn open_above(folder: impl AsFd) -> io::Result<OwnedFd> {
    Ok(openat(folder, c"..", FOLDER, Mode::empty())?)
}

/// With openat2 the kernel refuses a mount before talking to it, which matters if it is a FUSE that never answers.
fn open(parent: impl AsFd, name: &CStr, flags: OFlag) -> io::Result<OwnedFd> {
    let parent = parent.as_fd();
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

fn same_device(parent: BorrowedFd, child: &OwnedFd) -> io::Result<()> {
    if fstat(parent)?.st_dev == fstat(child)?.st_dev { Ok(()) } else { Err(mounted()) }
}

fn mounted() -> io::Error {
    io::Error::new(io::ErrorKind::CrossesDevices, "a file system is mounted there; unmount it")
}

pub(super) fn stat(parent: impl AsFd, name: &CStr) -> io::Result<Option<FileStat>> {
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

/// Removes whatever has this name, immutable or not. Nested folders are moved up into the top one before they are
/// emptied, so that neither depth nor length of a path costs descriptors or stack.
pub(super) fn remove_tree(parent: &OwnedFd, name: &CStr) -> io::Result<()> {
    match stat(parent, name)? {
        None => return Ok(()),
        Some(stat) if !is_folder(&stat) => return remove_file(parent, name),
        Some(_) => {}
    }
    let top = open_unpinned(parent, name)?;
    let mut hoisted = 0_u64;
    loop {
        let folders = remove_files(&top)?;
        if folders.is_empty() {
            break;
        }
        for folder in folders {
            let inner = open_unpinned(&top, &folder)?;
            for nested in remove_files(&inner)? {
                hoist(&inner, &nested, &top, &mut hoisted)?;
            }
            remove_folder(&top, &folder)?;
        }
    }
    remove_folder(parent, name)
}

/// Folders that are immutable keep their entries as well.
pub(super) fn open_unpinned(parent: &OwnedFd, name: &CStr) -> io::Result<OwnedFd> {
    let folder = open_folder(parent, name)?;
    kernel::unpin(&folder)?;
    Ok(folder)
}

fn hoist(from: &OwnedFd, name: &CStr, top: &OwnedFd, count: &mut u64) -> io::Result<()> {
    loop {
        *count += 1;
        let free = CString::new(format!(".berth-hoisted-{count}"))?;
        if stat(top, &free)?.is_none() {
            return rename_hard(from, name, top, &free);
        }
    }
}

fn rename_hard(from: &OwnedFd, name: &CStr, to: &OwnedFd, new: &CStr) -> io::Result<()> {
    match renameat(from, name, to, new) {
        Err(nix::Error::EPERM) => {
            open_unpinned(from, name)?;
            Ok(renameat(from, name, to, new)?)
        }
        other => Ok(other?),
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
        match remove_file(folder, name) {
            Err(error) if error.kind() == io::ErrorKind::IsADirectory => folders.push(name.to_owned()),
            other => other?,
        }
    }
    Ok(folders)
}

/// Anything but a folder, of which it says that it is one.
pub(super) fn remove_file(parent: impl AsFd, name: &CStr) -> io::Result<()> {
    let parent = parent.as_fd();
    let result = unlink(parent, name, UnlinkatFlags::NoRemoveDir);
    // What an immutable file says, and of a folder POSIX says it, too, where Linux says EISDIR.
    if !matches!(&result, Err(error) if error.raw_os_error() == Some(nix::libc::EPERM)) {
        return result;
    }
    match stat(parent, name)? {
        None => Ok(()),
        Some(stat) if is_folder(&stat) => Err(io::ErrorKind::IsADirectory.into()),
        // Other kinds cannot be immutable, and opening a device may do something.
        Some(stat) if kind(&stat) == SFlag::S_IFREG && kernel::unpin(open_file(parent, name)?)? => {
            unlink(parent, name, UnlinkatFlags::NoRemoveDir)
        }
        Some(_) => result,
    }
}

/// An empty one.
pub(super) fn remove_folder(parent: impl AsFd, name: &CStr) -> io::Result<()> {
    unlink(parent, name, UnlinkatFlags::RemoveDir)
}

fn unlink(parent: impl AsFd, name: &CStr, flag: UnlinkatFlags) -> io::Result<()> {
    match unlinkat(parent, name, flag) {
        Err(nix::Error::ENOENT) => Ok(()),
        Err(nix::Error::EBUSY) => Err(mounted()),
        other => Ok(other?),
    }
}

/// A tenant's text as an operator may see it: one line, nothing that a terminal obeys, and not too much of it.
pub(super) fn shown(name: &[u8]) -> String {
    String::from_utf8_lossy(name).chars().flat_map(char::escape_debug).take(Cleaning::LONGEST_LINE).collect()
}
