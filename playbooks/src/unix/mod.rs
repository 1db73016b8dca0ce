//! The account databases as values: an edit is a pure function, and "is it so already" is "does the edit change
//! nothing".

pub mod group;
pub mod gshadow;
#[cfg(any(test, fuzzing))]
pub mod laws;
mod lines;
pub mod passwd;
pub mod shadow;
pub mod subids;
#[cfg(test)]
mod tests;

use crate::host::{Db, Host};
use model::{GroupName, account::PasswordHash};
use std::io;

/// What the databases should say of one account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    pub name: String,
    pub uid: u32,
    pub home: String,
    pub shell: String,
    /// Absent: no log-in by password.
    pub password_hash: Option<PasswordHash>,
    pub groups: Vec<GroupName>,
    /// In days since 1970: from then on PAM lets nobody in, whether or not we are alive. Absent: never.
    pub expires_on: Option<u32>,
}

impl Account {
    fn group_names(&self) -> Vec<&str> {
        self.groups.iter().map(GroupName::as_str).collect()
    }
}

/// The contents of all of them. The last three are absent where a system does without.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Databases {
    pub passwd: Vec<u8>,
    pub shadow: Vec<u8>,
    pub group: Vec<u8>,
    pub gshadow: Option<Vec<u8>>,
    pub subuid: Option<Vec<u8>>,
    pub subgid: Option<Vec<u8>>,
}

impl Databases {
    pub fn read(host: &mut dyn Host) -> io::Result<Self> {
        Ok(Self {
            passwd: must(host, Db::Passwd)?,
            shadow: must(host, Db::Shadow)?,
            group: must(host, Db::Group)?,
            gshadow: host.read(Db::Gshadow)?,
            subuid: host.read(Db::Subuid)?,
            subgid: host.read(Db::Subgid)?,
        })
    }

    /// Reads, edits and replaces under the machine's lock; files that do not change are not written.
    pub fn edit(host: &mut dyn Host, edit: impl FnOnce(&Self) -> Self) -> io::Result<()> {
        host.lock_accounts()?;
        let edited = Self::read(host).and_then(|old| {
            let changes = old.changes_to(edit(&old));
            if changes.is_empty() { Ok(()) } else { host.replace_all(&changes) }
        });
        let unlocked = host.unlock_accounts();
        edited.and(unlocked)
    }

    /// Whether the name belongs to somebody else: then every edit for it changes nothing. Asked of the contents under
    /// the lock, so that an account made by hand a moment ago is safe, too.
    pub(crate) fn is_foreign(&self, name: &str, uid: u32) -> bool {
        passwd::entries(&self.passwd).any(|entry| entry.name == name && entry.uid != uid)
    }

    pub fn ensure(&self, account: &Account) -> Self {
        if self.is_foreign(&account.name, account.uid) {
            return self.clone();
        }
        Self {
            passwd: passwd::ensure(&self.passwd, account),
            shadow: shadow::ensure(&self.shadow, account),
            group: group::ensure(&self.group, account),
            gshadow: self.gshadow.as_ref().map(|bytes| gshadow::ensure(bytes, account)),
            ..self.clone()
        }
    }

    pub fn lock(&self, name: &str, uid: u32) -> Self {
        if self.is_foreign(name, uid) {
            return self.clone();
        }
        Self { shadow: shadow::lock(&self.shadow, name), ..self.clone() }
    }

    pub fn remove(&self, name: &str, uid: u32) -> Self {
        if self.is_foreign(name, uid) {
            return self.clone();
        }
        Self {
            passwd: passwd::remove(&self.passwd, name),
            shadow: shadow::remove(&self.shadow, name),
            group: group::remove(&self.group, name),
            gshadow: self.gshadow.as_ref().map(|bytes| gshadow::remove(bytes, name)),
            subuid: self.subuid.as_ref().map(|bytes| subids::remove(bytes, name, uid)),
            subgid: self.subgid.as_ref().map(|bytes| subids::remove(bytes, name, uid)),
        }
    }

    /// Which files differ, by name.
    pub fn differences(&self, other: &Self) -> Vec<&'static str> {
        self.changes_to(other.clone()).iter().map(|(db, _)| db.file_name()).collect()
    }

    /// `passwd` comes after group and hash: whoever can be seen there is complete.
    pub(crate) fn changes_to(&self, new: Self) -> Vec<(Db, Vec<u8>)> {
        let pairs = [
            (Db::Group, Some(&self.group), Some(new.group)),
            (Db::Gshadow, self.gshadow.as_ref(), new.gshadow),
            (Db::Shadow, Some(&self.shadow), Some(new.shadow)),
            (Db::Passwd, Some(&self.passwd), Some(new.passwd)),
            (Db::Subuid, self.subuid.as_ref(), new.subuid),
            (Db::Subgid, self.subgid.as_ref(), new.subgid),
        ];
        let changed = pairs.into_iter().filter(|(_, old, new)| *old != new.as_ref());
        changed.filter_map(|(db, _, new)| Some((db, new?))).collect()
    }
}

/// Where in `shadow` a `!` locks the account's password; absent if there is none to lock.
pub(crate) fn password_at(passwd: &[u8], shadow: &[u8], name: &str, uid: u32) -> Option<usize> {
    let databases = Databases { passwd: passwd.to_vec(), ..Databases::default() };
    if databases.is_foreign(name, uid) { None } else { shadow::hash_at(shadow, name) }
}

/// An account database that is not there is a machine half copied or half mounted: hands off.
fn must(host: &mut dyn Host, db: Db) -> io::Result<Vec<u8>> {
    let missing = || io::Error::new(io::ErrorKind::NotFound, format!("/etc/{} is missing", db.file_name()));
    host.read(db)?.ok_or_else(missing)
}
