//! The `-` copies of the account databases, where shadow-utils keep what was there before their last change: hashes
//! of accounts that are gone, too.

use super::{accounts, found, if_there, locks::Locks};
use crate::host::{Db, Found, Who};
use crate::unix::Databases;
use model::cleaning::Residue;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// `locked`: our caller holds the lock of the databases.
pub(super) fn remove(etc: &Path, whose: &[Who], locked: bool) -> io::Result<Vec<Found>> {
    if plan(etc, whose)?.1.is_empty() {
        return Ok(Vec::new());
    }
    let _locks = if locked { None } else { Some(Locks::take(etc)?) };
    let (files, named) = plan(etc, whose)?;
    accounts::replace_all(etc, &files)?;
    let words = |db: Db| format!("/etc/{}-", db.file_name());
    Ok(named.into_iter().map(|(uid, db)| found(uid, Residue::Backup, words(db), Ok(()))).collect())
}

/// The files as they should be, where they differ, and who is in which.
type Plan = (Vec<(PathBuf, Vec<u8>)>, Vec<(u32, Db)>);

fn plan(etc: &Path, whose: &[Who]) -> io::Result<Plan> {
    let live = fs::read(etc.join("passwd"))?;
    let before = read(etc)?;
    let (mut after, mut named) = (before.clone(), Vec::new());
    for who in whose {
        let (name, uid) = (who.name.as_str(), who.uid);
        // Lines of somebody who has the name now, or had it before us, are theirs.
        let current = Databases { passwd: live.clone(), ..Databases::default() };
        if current.is_foreign(name, uid) {
            continue;
        }
        let without = after.remove(name, uid);
        named.extend(after.changes_to(without.clone()).into_iter().map(|(db, _)| (uid, db)));
        after = without;
    }
    let files = before.changes_to(after);
    Ok((files.into_iter().map(|(db, bytes)| (copy(etc, db), bytes)).collect(), named))
}

/// A copy that is not there is as good as an empty one: it will not change.
fn read(etc: &Path) -> io::Result<Databases> {
    let read = |db| if_there(fs::read(copy(etc, db)));
    Ok(Databases {
        passwd: read(Db::Passwd)?.unwrap_or_default(),
        shadow: read(Db::Shadow)?.unwrap_or_default(),
        group: read(Db::Group)?.unwrap_or_default(),
        gshadow: read(Db::Gshadow)?,
        subuid: read(Db::Subuid)?,
        subgid: read(Db::Subgid)?,
    })
}

fn copy(etc: &Path, db: Db) -> PathBuf {
    etc.join(format!("{}-", db.file_name()))
}
