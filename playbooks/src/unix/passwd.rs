//! `/etc/passwd`: `name:x:uid:gid:gecos:home:shell`.

use super::{Account, lines};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub name: String,
    pub uid: u32,
}

/// Well-formed entries; a name that is no UTF-8 shows with replacement characters.
pub fn entries(bytes: &[u8]) -> impl Iterator<Item = Entry> {
    lines::lines(bytes).filter_map(|line| {
        let fields = lines::fields(line);
        let uid = std::str::from_utf8(fields.get(2)?).ok()?.parse().ok()?;
        Some(Entry { name: String::from_utf8_lossy(fields[0]).into_owned(), uid })
    })
}

pub fn ensure(bytes: &[u8], account: &Account) -> Vec<u8> {
    lines::ensure(bytes, &account.name, |old| {
        let gecos = old.and_then(|fields| fields.get(4).copied()).unwrap_or_default();
        let Account { name, uid, home, shell, .. } = account;
        let front = format!("{name}:x:{uid}:{uid}:");
        [front.as_bytes(), gecos, format!(":{home}:{shell}").as_bytes()].concat()
    })
}

pub fn remove(bytes: &[u8], name: &str) -> Vec<u8> {
    lines::remove(bytes, &[name])
}
