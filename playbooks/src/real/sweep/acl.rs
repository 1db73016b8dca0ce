//! POSIX access lists as the kernel stores them: a version, then entries of a tag, permissions and an id.

use std::collections::BTreeSet;

pub(super) const ACCESS: &str = "system.posix_acl_access";
/// What new entries of a folder get.
pub(super) const DEFAULT: &str = "system.posix_acl_default";

/// Whether this says that a file system has no such lists.
pub(super) fn are_unknown(error: &std::io::Error) -> bool {
    error.raw_os_error() == Some(nix::libc::EOPNOTSUPP)
}

const VERSION: [u8; 4] = 2_u32.to_le_bytes();
const ENTRY: usize = 8;

const USER: u16 = 0x02;
const GROUP_OBJ: u16 = 0x04;
const GROUP: u16 = 0x08;
const MASK: u16 = 0x10;

#[derive(Clone, Copy)]
struct Entry {
    tag: u16,
    allowed: u16,
    id: u32,
}

/// Which of these UIDs, or GIDs of the same number, are named.
pub(super) fn named(list: &[u8], ids: &[u32]) -> BTreeSet<u32> {
    let entries = parse(list).unwrap_or_default();
    entries.iter().filter(|entry| names(entry, ids)).map(|entry| entry.id).collect()
}

/// The list without them, which never allows anybody more than before: a mask only shrinks, and when nobody needs it
/// any longer, what it kept from the group stays kept from it. With nothing left that the mode could not say, the
/// kernel stores it as the mode. Absent: it names none of them, or is no such list.
pub(super) fn without(list: &[u8], ids: &[u32]) -> Option<Vec<u8>> {
    let mut entries = parse(list)?;
    let before = entries.len();
    entries.retain(|entry| !names(entry, ids));
    if entries.len() == before {
        return None;
    }
    let mask = entries.iter().find(|entry| entry.tag == MASK).map_or(!0, |entry| entry.allowed);
    let grouped = |entry: &&Entry| matches!(entry.tag, USER | GROUP | GROUP_OBJ);
    let needed = entries.iter().filter(grouped).fold(0, |all, entry| all | entry.allowed);
    let is_plain = is_plain(&entries);
    entries.retain(|entry| !(is_plain && entry.tag == MASK));
    for entry in &mut entries {
        match entry.tag {
            MASK => entry.allowed = mask & needed,
            GROUP_OBJ if is_plain => entry.allowed &= mask,
            _ => {}
        }
    }
    Some(encode(&entries))
}

/// Whether a list says nothing about anybody by id.
pub(super) fn is_base(list: &[u8]) -> bool {
    parse(list).is_some_and(|entries| is_plain(&entries))
}

fn is_plain(entries: &[Entry]) -> bool {
    !entries.iter().any(|entry| matches!(entry.tag, USER | GROUP))
}

fn names(entry: &Entry, ids: &[u32]) -> bool {
    matches!(entry.tag, USER | GROUP) && ids.contains(&entry.id)
}

fn parse(list: &[u8]) -> Option<Vec<Entry>> {
    let entries = list.strip_prefix(&VERSION)?;
    let (entries, rest) = entries.as_chunks::<ENTRY>();
    let entry = |[t0, t1, a0, a1, i0, i1, i2, i3]: [u8; ENTRY]| Entry {
        tag: u16::from_le_bytes([t0, t1]),
        allowed: u16::from_le_bytes([a0, a1]),
        id: u32::from_le_bytes([i0, i1, i2, i3]),
    };
    rest.is_empty().then(|| entries.iter().copied().map(entry).collect())
}

fn encode(entries: &[Entry]) -> Vec<u8> {
    let mut list = VERSION.to_vec();
    for Entry { tag, allowed, id } in entries {
        list.extend_from_slice(&tag.to_le_bytes());
        list.extend_from_slice(&allowed.to_le_bytes());
        list.extend_from_slice(&id.to_le_bytes());
    }
    list
}

/// For the fuzzer and the tests: nobody is named after it, and nobody allowed more.
#[cfg(any(test, fuzzing))]
pub(in crate::real) fn law(before: &[u8]) {
    let ids = [1, 2];
    let Some(after) = without(before, &ids) else {
        assert!(named(before, &ids).is_empty());
        return;
    };
    assert!(named(&after, &ids).is_empty());
    assert_eq!(without(&after, &ids), None);
    let (before, after) = (parse(before).unwrap_or_default(), parse(&after).expect("a list"));
    let mask = |list: &[Entry]| list.iter().find(|entry| entry.tag == MASK).map_or(!0, |entry| entry.allowed);
    for entry in after.iter().filter(|entry| matches!(entry.tag, USER | GROUP | GROUP_OBJ)) {
        let allowed = entry.allowed & mask(&after);
        let same = before.iter().filter(|old| (old.tag, old.id) == (entry.tag, entry.id));
        let mut was = same.map(|old| old.allowed & mask(&before));
        assert!(was.any(|was| allowed & !was == 0), "{allowed:o} is more than was allowed");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NOBODY: u32 = u32::MAX;
    const USER_OBJ: u16 = 0x01;
    const OTHER: u16 = 0x20;

    fn list(entries: &[(u16, u16, u32)]) -> Vec<u8> {
        encode(
            &entries
                .iter()
                .map(|(tag, allowed, id)| Entry { tag: *tag, allowed: *allowed, id: *id })
                .collect::<Vec<_>>(),
        )
    }

    #[test]
    fn the_last_name_takes_the_mask_with_it() {
        let before = list(&[
            (USER_OBJ, 7, NOBODY),
            (USER, 7, 66_000),
            (GROUP_OBJ, 6, NOBODY),
            (MASK, 5, NOBODY),
            (OTHER, 0, NOBODY),
        ]);
        let after = list(&[(USER_OBJ, 7, NOBODY), (GROUP_OBJ, 4, NOBODY), (OTHER, 0, NOBODY)]);
        assert_eq!(named(&before, &[1, 66_000]), BTreeSet::from([66_000]));
        assert_eq!(without(&before, &[66_000]), Some(after.clone()));
        assert_eq!(without(&before, &[66_001]), None);
        assert!(is_base(&after) && !is_base(&before));
    }

    #[test]
    fn other_names_keep_what_they_were_allowed() {
        let before = list(&[
            (USER_OBJ, 7, NOBODY),
            (USER, 7, 66_000),
            (USER, 4, 1000),
            (GROUP_OBJ, 4, NOBODY),
            (GROUP, 6, 66_000),
            (GROUP, 7, 33),
            (MASK, 6, NOBODY),
            (OTHER, 0, NOBODY),
        ]);
        let after = list(&[
            (USER_OBJ, 7, NOBODY),
            (USER, 4, 1000),
            (GROUP_OBJ, 4, NOBODY),
            (GROUP, 7, 33),
            (MASK, 6, NOBODY),
            (OTHER, 0, NOBODY),
        ]);
        assert_eq!(without(&before, &[66_000]), Some(after));
    }

    proptest! {
        #[test]
        fn any_bytes_hold_the_law(bytes in proptest::collection::vec(any::<u8>(), 0..80), version in any::<bool>()) {
            law(&if version { [&VERSION[..], &bytes].concat() } else { bytes });
        }

        #[test]
        fn any_entries_hold_the_law(
            entries in proptest::collection::vec((prop_oneof![Just(USER), Just(GROUP), Just(GROUP_OBJ), Just(MASK), Just(OTHER)], 0_u16..8, 0_u32..4), 0..10),
        ) {
            law(&list(&entries));
        }
    }
}
