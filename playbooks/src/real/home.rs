//! Homes. One is built hidden and root's own, and gets its name when it is complete.

use super::{at, mounts};
use crate::host::{Home, Who};
use nix::fcntl::{AtFlags, OFlag, RenameFlags, openat, readlinkat, renameat, renameat2};
use nix::sys::stat::{Mode, SFlag, fchmod, fstat, mkdirat};
use nix::unistd::{Gid, Uid, fchown, fchownat, symlinkat};
use std::ffi::{CStr, CString};
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// Far beyond the keys of any spec; a tenant may write a file of any size.
const LONGEST_KEYS: u64 = 4 << 20;

fn name(who: &Who) -> io::Result<CString> {
    Ok(CString::new(who.name.as_str())?)
}

fn hidden(who: &Who) -> io::Result<CString> {
    Ok(CString::new(format!(".berth-{}", who.assignment))?)
}

pub(super) fn look(homes: &Path, who: &Who) -> io::Result<Home> {
    if !homes.is_dir() {
        return Ok(Home::Absent);
    }
    let homes = at::open_trusted(homes)?;
    let Some(stat) = at::stat(&homes, &name(who)?)? else {
        let unfinished = at::stat(&homes, &hidden(who)?)?.is_some();
        return Ok(if unfinished { Home::Unfinished } else { Home::Absent });
    };
    if !at::is_folder(&stat) || stat.st_uid != who.uid {
        return Ok(Home::Present { owner: stat.st_uid, keys: None, ssh: false });
    }
    let home = at::open_folder(&homes, &name(who)?)?;
    let ssh = at::stat(&home, c".ssh")?;
    let keys = match ssh {
        Some(stat) if at::is_folder(&stat) => read_keys(&at::open_folder(&home, c".ssh")?, who)?,
        _ => None,
    };
    Ok(Home::Present { owner: stat.st_uid, keys, ssh: ssh.is_some() })
}

/// Absent as well if sshd would not accept it: another owner, or writable by others.
fn read_keys(ssh: &OwnedFd, who: &Who) -> io::Result<Option<Vec<u8>>> {
    let plain = |stat: &nix::sys::stat::FileStat| {
        at::kind(stat) == SFlag::S_IFREG && stat.st_uid == who.uid && stat.st_mode & 0o022 == 0
    };
    if !at::stat(ssh, c"authorized_keys")?.is_some_and(|stat| plain(&stat))
        || fstat(ssh)?.st_mode & 0o022 != 0
    {
        return Ok(None);
    }
    let mut keys = Vec::new();
    at::open_file(ssh, c"authorized_keys")?.take(LONGEST_KEYS).read_to_end(&mut keys)?;
    Ok(Some(keys))
}

pub(super) fn create(homes: &Path, skeleton: &Path, who: &Who, keys: &[u8]) -> io::Result<()> {
    if !homes.is_dir() {
        fs::create_dir_all(homes)?;
        fs::set_permissions(homes, fs::Permissions::from_mode(0o755))?;
    }
    let homes = at::open_trusted(homes)?;
    if at::stat(&homes, &name(who)?)?.is_some() {
        return Err(exists(who));
    }
    let hidden = hidden(who)?;
    at::remove_tree(&homes, &hidden)?;
    let home = make_folder(&homes, &hidden)?;
    copy_skeleton(skeleton, &home, who)?;
    let ssh = ssh_folder(&home, who)?;
    write_into(&ssh, who, keys)?;
    // Last, so that nothing in here is the tenant's while we are still at work.
    give(&home, who)?;
    let result =
        renameat2(&homes, hidden.as_c_str(), &homes, name(who)?.as_c_str(), RenameFlags::RENAME_NOREPLACE);
    result.map_err(|error| if error == nix::Error::EEXIST { exists(who) } else { error.into() })
}

fn exists(who: &Who) -> io::Error {
    io::Error::new(io::ErrorKind::AlreadyExists, format!("/home/{} exists already", who.name))
}

/// A home of another owner is not the one we made, whatever its name.
pub(super) fn remove(homes: &Path, who: &Who) -> io::Result<()> {
    if !homes.is_dir() {
        return Ok(());
    }
    mounts::detach_below(&homes.canonicalize()?.join(who.name.as_str()))?;
    let homes = at::open_trusted(homes)?;
    at::remove_tree(&homes, &hidden(who)?)?;
    match at::stat(&homes, &name(who)?)? {
        Some(stat) if stat.st_uid == who.uid => at::remove_tree(&homes, &name(who)?),
        _ => Ok(()),
    }
}

pub(super) fn write_keys(homes: &Path, who: &Who, keys: &[u8]) -> io::Result<()> {
    let home = own_home(homes, who)?.ok_or(io::ErrorKind::NotFound)?;
    if at::stat(&home, c".ssh")?.is_some_and(|stat| !at::is_folder(&stat)) {
        at::remove_tree(&home, c".ssh")?;
    }
    let ssh = ssh_folder(&home, who)?;
    if at::stat(&ssh, c"authorized_keys")?.is_some_and(|stat| at::is_folder(&stat)) {
        at::remove_tree(&ssh, c"authorized_keys")?;
    }
    write_into(&ssh, who, keys)
}

pub(super) fn remove_keys(homes: &Path, who: &Who) -> io::Result<()> {
    match own_home(homes, who)? {
        Some(home) => at::remove_tree(&home, c".ssh"),
        None => Ok(()),
    }
}

fn own_home(homes: &Path, who: &Who) -> io::Result<Option<OwnedFd>> {
    if !homes.is_dir() {
        return Ok(None);
    }
    let homes = at::open_trusted(homes)?;
    match at::stat(&homes, &name(who)?)? {
        Some(stat) if stat.st_uid == who.uid => at::open_unpinned(&homes, &name(who)?).map(Some),
        _ => Ok(None),
    }
}

fn ssh_folder(home: &OwnedFd, who: &Who) -> io::Result<OwnedFd> {
    let ssh = match at::stat(home, c".ssh")? {
        Some(_) => at::open_folder(home, c".ssh")?,
        None => make_folder(home, c".ssh")?,
    };
    give(&ssh, who)?;
    Ok(ssh)
}

fn make_folder(parent: &OwnedFd, name: &CStr) -> io::Result<OwnedFd> {
    mkdirat(parent, name, Mode::S_IRWXU)?;
    at::open_folder(parent, name)
}

fn give(folder: &OwnedFd, who: &Who) -> io::Result<()> {
    fchmod(folder, Mode::S_IRWXU)?;
    Ok(fchown(folder, Some(Uid::from_raw(who.uid)), Some(Gid::from_raw(who.uid)))?)
}

/// No fsync: the agent compares the contents whenever it looks, so what a power cut takes away comes back.
fn write_into(ssh: &OwnedFd, who: &Who, keys: &[u8]) -> io::Result<()> {
    const NEW: &CStr = c".berth-new";
    at::remove_tree(ssh, NEW)?;
    new_file(ssh, NEW, 0o600, keys, who)?;
    Ok(renameat(ssh, NEW, ssh, c"authorized_keys")?)
}

fn new_file(folder: &OwnedFd, name: &CStr, mode: u32, bytes: &[u8], who: &Who) -> io::Result<()> {
    let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let mut file = File::from(openat(folder, name, flags, Mode::S_IRUSR | Mode::S_IWUSR)?);
    file.write_all(bytes)?;
    file.set_permissions(fs::Permissions::from_mode(mode & 0o777))?;
    std::os::unix::fs::fchown(&file, Some(who.uid), Some(who.uid))
}

/// `/etc/skel` is root's, so paths will do for reading it.
fn copy_skeleton(from: &Path, to: &OwnedFd, who: &Who) -> io::Result<()> {
    let Some(entries) = super::if_there(fs::read_dir(from))? else { return Ok(()) };
    for entry in entries {
        let entry = entry?;
        let (path, meta) = (entry.path(), entry.metadata()?);
        let name = CString::new(entry.file_name().as_bytes())?;
        if meta.is_dir() {
            let folder = make_folder(to, &name)?;
            copy_skeleton(&path, &folder, who)?;
            give(&folder, who)?;
            fchmod(&folder, Mode::from_bits_truncate(meta.permissions().mode() & 0o777))?;
        } else if meta.is_symlink() {
            let target = readlinkat(nix::fcntl::AT_FDCWD, &path)?;
            symlinkat(target.as_os_str(), to, name.as_c_str())?;
            let (uid, gid) = (Uid::from_raw(who.uid), Gid::from_raw(who.uid));
            fchownat(to, name.as_c_str(), Some(uid), Some(gid), AtFlags::AT_SYMLINK_NOFOLLOW)?;
        } else if meta.is_file() {
            new_file(to, &name, meta.permissions().mode(), &fs::read(&path)?, who)?;
        }
    }
    Ok(())
}
