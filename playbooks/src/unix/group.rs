//! `/etc/group`: `name:x:gid:members`.

use super::{Account, lines};

const MEMBERS: usize = 3;

pub fn has(bytes: &[u8], name: &str) -> bool {
    lines::find(bytes, name).is_some_and(|fields| fields.len() > MEMBERS)
}

/// The name of the group with this GID.
pub fn of_gid(bytes: &[u8], gid: u32) -> Option<String> {
    let gid = gid.to_string();
    let fields =
        lines::lines(bytes).map(lines::fields).find(|fields| fields.get(2) == Some(&gid.as_bytes()))?;
    Some(String::from_utf8_lossy(fields[0]).into_owned())
}

/// Which groups list this member.
pub fn of_member(bytes: &[u8], name: &str) -> Vec<String> {
    let lists = |fields: &Vec<&[u8]>| fields.get(MEMBERS).is_some_and(|list| lines::has_member(list, name));
    let groups = lines::lines(bytes).map(lines::fields).filter(lists);
    groups.map(|fields| String::from_utf8_lossy(fields[0]).into_owned()).collect()
}

/// The private group, and membership of exactly the groups asked for.
pub fn ensure(bytes: &[u8], account: &Account) -> Vec<u8> {
    let Account { name, uid, .. } = account;
    let bytes = lines::ensure(bytes, name, |_| format!("{name}:x:{uid}:").into_bytes());
    let groups = account.group_names();
    lines::edit_lists(&bytes, MEMBERS, |group, list| lines::membership(group, list, name, &groups))
}

pub fn remove(bytes: &[u8], name: &str) -> Vec<u8> {
    let bytes = lines::remove(bytes, &[name]);
    lines::edit_lists(&bytes, MEMBERS, |group, list| lines::membership(group, list, name, &[]))
}
