//! What is mounted, and detaching what a tenant mounted, where root may not even look (FUSE).

use super::found;
use crate::host::{Found, Who};
use model::cleaning::Residue;
use nix::mount::{MntFlags, umount2};
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::{fs, io};

/// A line of `/proc/self/mountinfo`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mount {
    /// Which folder of the file system.
    pub(super) root: PathBuf,
    pub(super) point: PathBuf,
    pub(super) kind: String,
    pub(super) read_only: bool,
    /// Of a FUSE: who mounted it.
    pub(super) user: Option<u32>,
}

/// The oldest first.
pub(super) fn all() -> io::Result<Vec<Mount>> {
    let lines = fs::read("/proc/self/mountinfo")?;
    Ok(lines.split(|byte| *byte == b'\n').filter_map(parse).collect())
}

/// Lazily, because somebody may still be in there; the newest first, because they may be nested.
pub(super) fn detach_below(folder: &Path) -> io::Result<()> {
    all()?.iter().rev().filter(|mount| mount.point.starts_with(folder)).try_for_each(detach)
}

fn detach(mount: &Mount) -> io::Result<()> {
    match umount2(&mount.point, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW) {
        // Gone with the one that it was in.
        Err(nix::Error::EINVAL | nix::Error::ENOENT) => Ok(()),
        other => Ok(other?),
    }
}

/// Never anything but what lies below the home or below `/run/user/UID`, and FUSEs of the account's.
pub(super) fn remove(root: &Path, whose: &[Who]) -> io::Result<Vec<Found>> {
    let root = root.canonicalize()?;
    let mounts = all()?;
    let below_root = mounts.iter().rev().filter(|mount| mount.point.starts_with(&root));
    let theirs =
        below_root.filter_map(|mount| Some((mount, whose.iter().find(|who| is_of(mount, who, &root))?)));
    Ok(theirs
        .map(|(mount, who)| {
            let what = format!("{} at {}", mount.kind, mount.point.display());
            found(who.uid, Residue::Mount, what, detach(mount))
        })
        .collect())
}

fn is_of(mount: &Mount, who: &Who, root: &Path) -> bool {
    mount.user == Some(who.uid)
        || mount.point.starts_with(root.join("home").join(who.name.as_str()))
        || mount.point.starts_with(root.join(format!("run/user/{}", who.uid)))
}

/// `ID PARENT DEVICE ROOT POINT OPTIONS [TAGS...] - KIND SOURCE OPTIONS`
pub(super) fn parse(line: &[u8]) -> Option<Mount> {
    let fields: Vec<&[u8]> = line.split(|byte| *byte == b' ').collect();
    let dash = fields.iter().skip(6).position(|field| *field == b"-")? + 6;
    let [kind, _, supers] = fields.get(dash + 1..dash + 4)? else { return None };
    let kind = String::from_utf8_lossy(kind).into_owned();
    let mut options = fields[5].split(|byte| *byte == b',').chain(supers.split(|byte| *byte == b','));
    let user = || {
        let id = supers.split(|byte| *byte == b',').find_map(|option| option.strip_prefix(b"user_id="))?;
        std::str::from_utf8(id).ok()?.parse().ok()
    };
    Some(Mount {
        root: unescape(fields[3]),
        point: unescape(fields[4]),
        read_only: options.any(|option| option == b"ro"),
        user: if kind.starts_with("fuse") { user() } else { None },
        kind,
    })
}

/// Blanks, newlines and backslashes stand as three octal digits.
fn unescape(field: &[u8]) -> PathBuf {
    let mut path = Vec::with_capacity(field.len());
    let mut rest = field;
    while let [first, others @ ..] = rest {
        let octal =
            others.get(..3).filter(|_| *first == b'\\').and_then(|digits| std::str::from_utf8(digits).ok());
        let escaped = octal.and_then(|digits| u8::from_str_radix(digits, 8).ok());
        path.push(escaped.unwrap_or(*first));
        rest = if escaped.is_some() { &others[3..] } else { others };
    }
    OsString::from_vec(path).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_line_says_what_is_mounted_where_and_by_whom() {
        let mount =
            parse(br"36 35 98:0 /a /home/a\040b\134c rw,noatime shared:1 master:2 - ext4 /dev/x rw").unwrap();
        assert_eq!((mount.root, mount.point), (PathBuf::from("/a"), PathBuf::from("/home/a b\\c")));
        assert_eq!((mount.kind.as_str(), mount.read_only, mount.user), ("ext4", false, None));
        let fuse = parse(b"1 2 0:5 / /mnt ro,nosuid - fuse.sshfs x rw,user_id=66000,group_id=1").unwrap();
        assert_eq!((fuse.read_only, fuse.user), (true, Some(66_000)));
        let overlay = parse(b"1 2 0:5 / / rw - overlay none ro,lowerdir=user_id=1").unwrap();
        assert_eq!((overlay.read_only, overlay.user), (true, None));
        for bad in [&b""[..], b"1 2 0:5 / / rw", b"1 2 0:5 / / rw - ext4", b"1 2 0:5 / / - - -"] {
            assert_eq!(parse(bad), None);
        }
    }

    proptest! {
        #[test]
        fn parsing_never_panics(line in proptest::collection::vec(prop_oneof![Just(b' '), Just(b'-'), Just(b'\\'), any::<u8>()], 0..80)) {
            let _ = parse(&line);
        }
    }
}
