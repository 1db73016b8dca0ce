//! All that is on a machine's file systems, looked at from outside with nobody's help: what belongs to somebody, and what
//! is not as it was.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// By path below the root.
#[derive(Debug, Clone, Default)]
pub struct Inventory(pub BTreeMap<PathBuf, Entry>);

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub uid: u32,
    pub gid: u32,
    pub mode: u32,
    /// UIDs and GIDs of its access lists.
    pub listed: Vec<u32>,
    /// Contents of what lies in `/etc`; size and time of other files.
    pub inside: Inside,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Inside {
    Text(Vec<u8>),
    Size(u64, i64),
    Link(PathBuf),
    Other,
}

/// Not files, written to by the system itself, or the agent's own.
const LEFT_OUT: [&str; 10] = [
    "proc",
    "sys",
    "dev/pts",
    "run/motd.dynamic",
    "run/berth-agent",
    "var/log",
    "var/lib/berth",
    "etc/.pwd.lock",
    "etc/.berth-ballast",
    "run/utmp",
];

impl Inventory {
    /// `shut` is left alone: a file system in user space may never answer.
    pub fn take(root: &Path, shut: &[PathBuf]) -> Self {
        Self::below(root, &[""], shut)
    }

    /// Of some folders only.
    pub fn below(root: &Path, folders: &[&str], shut: &[PathBuf]) -> Self {
        let mut this = Self::default();
        let mut folders: Vec<PathBuf> = folders.iter().map(PathBuf::from).collect();
        while let Some(folder) = folders.pop() {
            for item in fs::read_dir(root.join(&folder)).into_iter().flatten().flatten() {
                let path = folder.join(item.file_name());
                if LEFT_OUT.iter().any(|place| path == Path::new(place)) || shut.contains(&path) {
                    continue;
                }
                let Some(entry) = entry(&root.join(&path), &path) else { continue };
                if entry.mode & 0o170_000 == 0o040_000 {
                    folders.push(path.clone());
                }
                this.0.insert(path, entry);
            }
        }
        this
    }

    /// What belongs to this UID or GID, or lets it in.
    pub fn of(&self, id: u32) -> Vec<String> {
        let is_of = |entry: &Entry| entry.uid == id || entry.gid == id || entry.listed.contains(&id);
        let found = self.0.iter().filter(|(_, entry)| is_of(entry));
        found.map(|(path, entry)| format!("{path:?} {}:{}", entry.uid, entry.gid)).collect()
    }

    /// What is not as it was before.
    pub fn differences(&self, before: &Self) -> Vec<PathBuf> {
        let changed = self.0.iter().filter(|(path, entry)| before.0.get(*path) != Some(entry));
        let gone = before.0.keys().filter(|path| !self.0.contains_key(*path));
        changed.map(|(path, _)| path).chain(gone).cloned().collect()
    }
}

fn entry(place: &Path, path: &Path) -> Option<Entry> {
    let meta = place.symlink_metadata().ok()?;
    let inside = if meta.is_symlink() {
        Inside::Link(fs::read_link(place).ok()?)
    } else if meta.is_file() && path.starts_with("etc") && meta.size() < 1 << 20 {
        Inside::Text(fs::read(place).ok()?)
    } else if meta.is_file() {
        Inside::Size(meta.size(), meta.mtime())
    } else {
        Inside::Other
    };
    let listed = if meta.is_symlink() { Vec::new() } else { listed(place) };
    Some(Entry { uid: meta.uid(), gid: meta.gid(), mode: meta.mode(), listed, inside })
}

/// After four bytes of version come tag, permissions and id of each entry. Tags 2 and 8 name a user and a group.
fn listed(place: &Path) -> Vec<u32> {
    let names = ["system.posix_acl_access", "system.posix_acl_default"];
    let lists = names.iter().filter_map(|name| xattr::get(place, name).ok().flatten());
    let entries = lists.flat_map(|list| list.get(4..).unwrap_or_default().to_vec());
    let bytes: Vec<u8> = entries.collect();
    let named = bytes.chunks_exact(8).filter(|entry| matches!(entry[0], 2 | 8));
    named.map(|entry| u32::from_le_bytes([entry[4], entry[5], entry[6], entry[7]])).collect()
}
