//! What holds of any account databases, whoever wrote into them: laws for the fuzzer, and for the tests over its seeds.

use super::*;
use lines::{edit_lists, fields, lines};

const NAME: &str = "alice";
const UID: u32 = 66_000;
const HASH: &str = "$6$abcdefgh$0123456789012345678901234567890123456789";

/// Up to six files with NUL between them.
pub fn databases(bytes: &[u8]) {
    let mut files = bytes.split(|byte| *byte == 0).map(<[u8]>::to_vec);
    let mut must = || files.next().unwrap_or_default();
    let (passwd, shadow, group) = (must(), must(), must());
    let before = Databases {
        passwd,
        shadow,
        group,
        gshadow: files.next(),
        subuid: files.next(),
        subgid: files.next(),
    };
    let account = Account {
        name: NAME.to_owned(),
        uid: UID,
        home: "/home/alice".to_owned(),
        shell: "/bin/sh".to_owned(),
        password_hash: HASH.parse().ok(),
        groups: ["web".parse().expect("a group")].into(),
        expires_on: Some(20_600),
    };
    let ensured = before.ensure(&account);
    let locked = before.lock(NAME, UID);
    let removed = before.remove(NAME, UID);
    assert_eq!(ensured.ensure(&account), ensured, "ensured twice");
    assert_eq!(locked.lock(NAME, UID), locked, "locked twice");
    assert_eq!(removed.remove(NAME, UID), removed, "removed twice");
    [&before.passwd, &before.shadow, &before.group].into_iter().for_each(|file| prints_as_it_was_read(file));
    for after in [&ensured, &locked, &removed] {
        assert_eq!(others(after), others(&before), "somebody else's lines");
        assert_eq!(before.differences(after).is_empty(), before == *after);
    }
    if before.is_foreign(NAME, UID) {
        assert!(ensured == before && locked == before && removed == before, "the name is somebody else's");
        return;
    }
    is_there(&ensured);
    assert_eq!(ensured.lock(NAME, UID).ensure(&account), ensured, "unlocked");
    assert_eq!(password_at(&locked.passwd, &locked.shadow, NAME, UID), None, "locked");
    is_gone(&removed);
    assert_eq!(ensured.remove(NAME, UID), removed, "removed after all");
}

fn prints_as_it_was_read(file: &[u8]) {
    let joined = |line: &[u8]| {
        let end: &[u8] = if line.ends_with(b"\n") { b"\n" } else { b"" };
        [&fields(line).join(&b':'), end].concat()
    };
    assert_eq!(lines(file).flat_map(joined).collect::<Vec<u8>>(), file);
    for at in 0..4 {
        assert_eq!(edit_lists(file, at, |_, list| Some(list.to_vec())), file);
    }
}

/// Every line that is not about the account, without the lists that it may be in.
fn others(all: &Databases) -> Vec<Vec<Vec<u8>>> {
    let without = |file: &[u8], lists: &[usize]| {
        let named = |line: &&[u8]| !matches!(fields(line)[0], b"alice" | b"66000");
        let bare = |line: &[u8]| {
            lists.iter().fold(line.to_vec(), |line, at| edit_lists(&line, *at, |_, _| Some(Vec::new())))
        };
        lines(file).filter(named).map(bare).collect()
    };
    vec![
        without(&all.passwd, &[]),
        without(&all.shadow, &[]),
        without(&all.group, &[3]),
        without(all.gshadow.as_deref().unwrap_or_default(), &[2, 3]),
        without(all.subuid.as_deref().unwrap_or_default(), &[]),
        without(all.subgid.as_deref().unwrap_or_default(), &[]),
    ]
}

fn is_there(all: &Databases) {
    let entries = passwd::entries(&all.passwd).filter(|entry| entry.name == NAME);
    assert_eq!(entries.map(|entry| entry.uid).collect::<Vec<_>>(), [UID]);
    let at = password_at(&all.passwd, &all.shadow, NAME, UID).expect("a password that opens");
    assert!(all.shadow[at..].starts_with(HASH.as_bytes()));
    assert!(group::has(&all.group, NAME));
    let mut in_web = lines(&all.group).map(fields).filter(|fields| fields[0] == b"web" && fields.len() > 3);
    assert!(in_web.all(|fields| lines::has_member(fields[3], NAME)));
}

fn is_gone(all: &Databases) {
    let groups =
        [&all.group, all.gshadow.as_ref().unwrap_or(&Vec::new())].map(|file| group::of_member(file, NAME));
    assert_eq!(groups, [Vec::<String>::new(), Vec::new()]);
    let files =
        [Some(&all.passwd), Some(&all.shadow), Some(&all.group), all.gshadow.as_ref(), all.subuid.as_ref()];
    for file in files.into_iter().flatten() {
        assert_eq!(lines::find(file, NAME), None);
    }
}
