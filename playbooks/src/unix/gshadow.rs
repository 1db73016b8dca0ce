//! `/etc/gshadow`: `name:password:administrators:members`.

use super::{Account, lines};

const ADMINISTRATORS: usize = 2;
const MEMBERS: usize = 3;

pub fn ensure(bytes: &[u8], account: &Account) -> Vec<u8> {
    let name = &account.name;
    let bytes = lines::ensure(bytes, name, |_| format!("{name}:!::").into_bytes());
    let bytes =
        lines::edit_lists(&bytes, ADMINISTRATORS, |group, list| lines::membership(group, list, name, &[]));
    let groups = account.group_names();
    lines::edit_lists(&bytes, MEMBERS, |group, list| lines::membership(group, list, name, &groups))
}

pub fn remove(bytes: &[u8], name: &str) -> Vec<u8> {
    let mut bytes = lines::remove(bytes, &[name]);
    for at in [ADMINISTRATORS, MEMBERS] {
        bytes = lines::edit_lists(&bytes, at, |group, list| lines::membership(group, list, name, &[]));
    }
    bytes
}
