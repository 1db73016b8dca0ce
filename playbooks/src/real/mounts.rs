//! File systems that a tenant mounted in the own home, where root may not even look (FUSE).

use nix::mount::{MntFlags, umount2};
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::{fs, io};

/// Lazily, because somebody may still be in there; the newest first, because they may be nested.
pub(super) fn detach_below(home: &Path) -> io::Result<()> {
    let mounts = fs::read("/proc/self/mountinfo")?;
    let points = mounts.split(|byte| *byte == b'\n').filter_map(mount_point);
    let below: Vec<PathBuf> = points.filter(|point| point.starts_with(home)).collect();
    for point in below.iter().rev() {
        umount2(point, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW)?;
    }
    Ok(())
}

/// The fifth field, in which blanks and backslashes stand as three octal digits.
fn mount_point(line: &[u8]) -> Option<PathBuf> {
    let field = line.split(|byte| *byte == b' ').nth(4)?;
    let mut path = Vec::with_capacity(field.len());
    let mut rest = field;
    while let [first, others @ ..] = rest {
        let octal =
            others.get(..3).filter(|_| *first == b'\\').and_then(|digits| std::str::from_utf8(digits).ok());
        let escaped = octal.and_then(|digits| u8::from_str_radix(digits, 8).ok());
        path.push(escaped.unwrap_or(*first));
        rest = if escaped.is_some() { &others[3..] } else { others };
    }
    Some(OsString::from_vec(path).into())
}

#[test]
fn mount_points_are_unescaped() {
    let line = br"36 35 98:0 / /home/a\040b\134c rw shared:1 - ext4 /dev/x rw";
    assert_eq!(mount_point(line), Some(PathBuf::from("/home/a b\\c")));
    assert_eq!(mount_point(b""), None);
}
