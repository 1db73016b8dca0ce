//! `/etc/subuid` and `/etc/subgid`: `name or uid:first:count`. We never add a line, yet other tools do.

use super::lines;

pub fn remove(bytes: &[u8], name: &str, uid: u32) -> Vec<u8> {
    lines::remove(bytes, &[name, &uid.to_string()])
}
