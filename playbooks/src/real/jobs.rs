//! What would start something in an account's name again: cron, at, lingering. All these folders belong to root, and
//! some are links of root's to each other.

use super::{at, found, if_there};
use crate::host::{Found, Who};
use crate::unix::passwd;
use model::cleaning::Residue;
use nix::dir::Dir;
use nix::sys::stat::FileStat;
use std::ffi::{CStr, CString};
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

/// Where, what, and whether a file's name says whose it is; its owner always does.
const FOLDERS: [(&str, Residue, bool); 8] = [
    ("var/spool/cron", Residue::Cron, true),
    ("var/spool/cron/crontabs", Residue::Cron, true),
    ("etc/crontabs", Residue::Cron, true),
    ("var/spool/cron/atjobs", Residue::At, false),
    ("var/spool/cron/atspool", Residue::At, false),
    ("var/spool/at", Residue::At, false),
    ("var/spool/at/spool", Residue::At, false),
    ("var/lib/systemd/linger", Residue::Linger, true),
];

pub(super) fn remove(root: &Path, whose: &[Who]) -> io::Result<Vec<Found>> {
    let passwd = if_there(fs::read(root.join("etc/passwd")))?.unwrap_or_default();
    let named: Vec<&Who> = whose.iter().filter(|who| !has_another(&passwd, who)).collect();
    let mut all = Vec::new();
    for (folder, kind, by_name) in FOLDERS {
        let path = root.join(folder);
        let Some(opened) = if_there(at::open_trusted(&path))? else { continue };
        for (name, stat) in entries(&opened)? {
            let by_name = by_name && !at::is_folder(&stat);
            let owner = whose.iter().find(|who| who.uid == stat.st_uid);
            let named = || {
                named.iter().copied().find(|who| by_name && who.name.as_str().as_bytes() == name.as_bytes())
            };
            if let Some(who) = owner.or_else(named) {
                let what = format!("/{folder}/{}", at::shown(name.as_bytes()));
                all.push(found(who.uid, kind, what, at::remove_tree(&opened, &name)));
            }
        }
    }
    Ok(all)
}

/// Somebody else has the name by now: then what bears it is theirs.
fn has_another(bytes: &[u8], who: &Who) -> bool {
    passwd::entries(bytes).any(|entry| entry.name == who.name.as_str() && entry.uid != who.uid)
}

fn entries(folder: &OwnedFd) -> io::Result<Vec<(CString, FileStat)>> {
    let mut all = Vec::new();
    for entry in Dir::from_fd(folder.try_clone()?)?.iter() {
        let entry = entry?;
        let name: &CStr = entry.file_name();
        let special = name == c"." || name == c"..";
        if let Some(stat) = at::stat(folder, name)?.filter(|_| !special) {
            all.push((name.to_owned(), stat));
        }
    }
    Ok(all)
}
