use super::*;
use proptest::prelude::*;

const HASH: &str = "$6$abcdefgh$0123456789012345678901234567890123456789";

fn account(groups: &[&str]) -> Account {
    Account {
        name: "alice".into(),
        uid: 66_000,
        home: "/home/alice".into(),
        shell: "/bin/sh".into(),
        password_hash: Some(HASH.parse().unwrap()),
        groups: groups.iter().map(|name| name.parse().unwrap()).collect(),
        expires_on: None,
    }
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

#[test]
fn an_account_in_every_file() {
    let before = Databases {
        passwd: b"root:x:0:0:root:/root:/bin/sh\n+nis".to_vec(),
        shadow: b"root:*:1:0:99999:7:::\n".to_vec(),
        group: b"root:x:0:\nweb:x:9:bob\n".to_vec(),
        gshadow: Some(b"root:*::\nweb:!::bob\n".to_vec()),
        subuid: Some(b"bob:1:2\n".to_vec()),
        subgid: None,
    };
    let made = before.ensure(&account(&["web"]));
    assert_eq!(
        text(&made.passwd),
        "root:x:0:0:root:/root:/bin/sh\nalice:x:66000:66000::/home/alice:/bin/sh\n+nis"
    );
    assert_eq!(text(&made.shadow), format!("root:*:1:0:99999:7:::\nalice:{HASH}::0:99999:7:::\n"));
    assert_eq!(text(&made.group), "root:x:0:\nweb:x:9:bob,alice\nalice:x:66000:\n");
    assert_eq!(text(made.gshadow.as_ref().unwrap()), "root:*::\nweb:!::bob,alice\nalice:!::\n");
    assert_eq!(
        made.ensure(&account(&[])).ensure(&account(&["web"])),
        made,
        "membership follows what is asked"
    );
    assert_eq!(made.differences(&before), ["group", "gshadow", "shadow", "passwd"]);
    assert_eq!(made.remove("alice", 66_000), before);
}

#[test]
fn a_lock_holds_until_it_is_ensured_again() {
    let made = Databases::default().ensure(&account(&[]));
    let locked = made.lock("alice", 66_000);
    assert_eq!(text(&locked.shadow), format!("alice:!{HASH}::0:99999:7::1:\n"));
    assert_eq!(locked.lock("alice", 66_000), locked);
    assert_eq!(locked.ensure(&account(&[])), made);
    assert_eq!(made.lock("bob", 66_001), made);
}

#[test]
fn an_expiry_is_set_changed_and_lifted() {
    let dated = |day| Databases::default().ensure(&Account { expires_on: day, ..account(&[]) });
    let made = dated(Some(20_600));
    assert_eq!(text(&made.shadow), format!("alice:{HASH}::0:99999:7::20600:\n"));
    let later = Account { expires_on: Some(20_601), ..account(&[]) };
    assert_eq!(made.ensure(&later), dated(Some(20_601)));
    assert_eq!(
        made.lock("alice", 66_000).ensure(&later),
        dated(Some(20_601)),
        "the lock's own day is undone"
    );
    assert_eq!(made.ensure(&account(&[])), dated(None));
}

#[test]
fn a_name_of_somebody_else_is_left_alone() {
    let theirs = Databases {
        passwd: b"alice:x:1000:1000::/home/alice:/bin/sh\n".to_vec(),
        shadow: b"alice:*:1:0:99999:7:::\n".to_vec(),
        ..Databases::default()
    };
    assert_eq!(theirs.ensure(&account(&[])), theirs);
    assert_eq!(theirs.lock("alice", 66_000), theirs);
    assert_eq!(theirs.remove("alice", 66_000), theirs);
}

#[test]
fn key_only_accounts_are_not_locked() {
    let account = Account { password_hash: None, ..account(&[]) };
    assert_eq!(text(&shadow::ensure(b"", &account)), "alice:*::0:99999:7:::\n");
}

#[test]
fn subordinate_ids_go_by_name_and_number() {
    assert_eq!(
        subids::remove(b"alice:1:2\nbob:1:2\n66000:1:2\n660001:1:2", "alice", 66_000),
        b"bob:1:2\n660001:1:2"
    );
}

/// Lines of anything but newlines, among them near misses of ours, and maybe no newline at the end.
fn foreign() -> impl Strategy<Value = Vec<u8>> {
    let junk = proptest::collection::vec(any::<u8>().prop_filter("a line", |byte| *byte != b'\n'), 0..20);
    let near = prop_oneof![
        Just(b"alic:x:1:1::/:/bin/sh".to_vec()),
        Just(b"alicee:x:66000:a,alicee".to_vec()),
        Just(b"web:x:9:bob".to_vec()),
        Just(b"#alice:x:1".to_vec()),
        Just(b" alice:x".to_vec()),
        Just(b"+::::::".to_vec()),
    ];
    let strange = |line: &Vec<u8>| {
        let fields = lines::fields(line);
        let listed = fields.iter().any(|list| lines::has_member(list, "alice"));
        fields[0] != b"alice" && fields[0] != b"66000" && !listed
    };
    let line = prop_oneof![junk, near].prop_filter("not ours", strange);
    (proptest::collection::vec(line, 0..12), any::<bool>()).prop_map(|(lines, terminated)| {
        let mut bytes = lines.join(&b'\n');
        if terminated && !bytes.is_empty() {
            bytes.push(b'\n');
        }
        bytes
    })
}

fn databases() -> impl Strategy<Value = Databases> {
    let optional = || proptest::option::of(foreign());
    (foreign(), foreign(), foreign(), optional(), optional(), optional()).prop_map(
        |(passwd, shadow, group, gshadow, subuid, subgid)| Databases {
            passwd,
            shadow,
            group,
            gshadow,
            subuid,
            subgid,
        },
    )
}

proptest! {
    #[test]
    fn ensuring_twice_is_ensuring_once(before in databases()) {
        let once = before.ensure(&account(&["web"]));
        prop_assert_eq!(once.ensure(&account(&["web"])), once);
    }

    #[test]
    fn removing_what_was_ensured_gives_back_every_byte(before in databases()) {
        let locked = before.ensure(&account(&["web"])).lock("alice", 66_000);
        prop_assert_eq!(locked.remove("alice", 66_000), before);
    }

    #[test]
    fn foreign_lines_stay(before in databases()) {
        let after = before.ensure(&account(&[]));
        let kept: Vec<u8> = lines::lines(&after.passwd).filter(|l| !l.starts_with(b"alice:")).flatten().copied().collect();
        prop_assert_eq!(kept, before.passwd);
    }

    #[test]
    fn reading_never_panics(bytes in foreign()) {
        let _ = (passwd::entries(&bytes).count(), group::of_gid(&bytes, 1), group::of_member(&bytes, "a"), group::has(&bytes, "a"));
    }
}

#[test]
fn databases_of_the_fuzzer() {
    crate::replay::replay("databases", laws::databases);
}
