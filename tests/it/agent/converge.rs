//! One machine in memory: what converging makes of it.

use super::bench::{Bench, body, states};
use super::given::{HASH, KEY, account, at, id, spec};
use agent::Moment;
use agent::converge::converge;
use model::cleaning::Residue;
use model::report::{AccountState, Report};
use model::spec::{AccountSpec, Former, Spec};
use playbooks::fake::{FakeHome, World};
use playbooks::{Db, FakeHost, Host, Litter};

fn refusal(report: &Report) -> &str {
    match states(report)[..] {
        [AccountState::Refused { why }] => why,
        _ => panic!("{report:?}"),
    }
}

#[test]
fn an_account_comes_as_asked_and_goes_without_a_trace() {
    let mut bench = Bench::new();
    let before = body(&bench.host);
    let alice = AccountSpec { sudo: true, groups: vec!["web".parse().unwrap()], ..account(66_000) };
    let report = bench.converge(Some(spec(1, vec![alice])));
    assert_eq!((report.generation, states(&report)), (1, vec![&AccountState::Ready]));
    assert!(bench.host.text(Db::Passwd).contains("alice:x:66000:66000::/home/alice:/bin/bash\n"));
    assert!(bench.host.text(Db::Shadow).contains(&format!("alice:{HASH}::0:99999:7::20835:\n")));
    assert!(bench.host.text(Db::Group).contains("web:x:33:bob,alice\n"));
    assert!(bench.host.text(Db::Gshadow).contains("web:!::bob,alice\n"));
    let world = bench.host.world();
    assert_eq!(world.homes["alice"].keys.as_deref(), Some(format!("{KEY}\n").as_bytes()));
    assert_eq!(world.sudoers.unwrap()["alice"], b"alice ALL=(ALL) NOPASSWD: ALL\n");

    bench.host.spawn(66_000);
    bench.host.with(|world| world.mail.insert("alice".into()));
    strew(&bench.host);
    let report = bench.converge(Some(spec(2, vec![])));
    assert_eq!((report.generation, report.accounts.len(), report.problems.len()), (2, 0, 0));
    assert_eq!(body(&bench.host), before);
    let [cleaning] = &report.cleanings[..] else { panic!("{report:?}") };
    assert_eq!((cleaning.attempts, cleaning.ended_at), (1, Some(at(0))));
    assert_eq!(cleaning.took.len(), 6, "every step was timed: {cleaning:?}");
    let removed = cleaning.removed.keys().map(|kind| kind.name()).collect::<Vec<_>>().join(" ");
    assert_eq!(removed, "process key sudo cron at linger mount ipc home mail entry backup file acl");
    assert_eq!((bench.ledger.accounts.len(), bench.ledger.uid_floor), (0, 66_001));
}

/// One of each kind of litter.
fn strew(host: &FakeHost) {
    for (litter, kind) in [
        (Litter::Jobs, Residue::Cron),
        (Litter::Jobs, Residue::At),
        (Litter::Jobs, Residue::Linger),
        (Litter::Mounts, Residue::Mount),
        (Litter::Ipc, Residue::Ipc),
        (Litter::Backups, Residue::Backup),
        (Litter::Files, Residue::File),
        (Litter::Files, Residue::Acl),
    ] {
        host.leave(litter, kind, kind.name(), 66_000);
    }
}

#[test]
fn what_cannot_be_removed_is_said_and_keeps_the_account() {
    let mut bench = Bench::new();
    bench.converge(Some(spec(1, vec![account(66_000)])));
    strew(&bench.host);
    bench.host.with(|world| world.immovable.insert("file".into()));
    let report = bench.converge(Some(spec(2, vec![])));
    let [AccountState::Leaving { why, attempts: 1 }] = states(&report)[..] else { panic!("{report:?}") };
    assert!(why.contains("cannot be moved"), "{why}");
    let [cleaning] = &report.cleanings[..] else { panic!("{report:?}") };
    assert_eq!((cleaning.ended_at, cleaning.refused[0].what.as_str()), (None, "file"));
    assert!(!bench.has_alice(), "all that can go is gone");
    bench.restart();
    let report = bench.converge(Some(spec(3, vec![account(66_001)])));
    assert!(matches!(
        states(&report)[..],
        [AccountState::Leaving { attempts: 2, .. }, AccountState::Failed { .. }]
    ));
    bench.host.with(|world| world.immovable.clear());
    let report = bench.converge(None);
    assert_eq!(states(&report), [&AccountState::Ready], "now the next one has the name");
    assert_eq!((report.cleanings[0].attempts, report.cleanings[0].refused.len()), (3, 0));
}

#[test]
fn a_machine_that_lacks_the_uids_says_so() {
    let mut bench = Bench::new();
    bench.host.with(|world| world.uid_limit = Some(65_535));
    let report = bench.converge(Some(spec(1, vec![])));
    assert!(report.problems[0].contains("66000-99999"), "{report:?}");
    let few = Spec { uids: "20000-60000".parse().unwrap(), ..spec(2, vec![account(20_000)]) };
    let report = bench.converge(Some(few));
    assert_eq!((report.problems.len(), states(&report)), (0, vec![&AccountState::Ready]));
    assert_eq!(bench.converge(Some(spec(3, vec![]))).accounts.len(), 0, "gone, whatever the range is now");
    assert!(!bench.has_alice());
}

#[test]
fn a_clock_that_ran_backwards_locks_and_takes_nothing_away() {
    for root_keys in [false, true] {
        let mut bench = Bench::new();
        if root_keys {
            bench.host.use_root_keys();
        }
        let alice = AccountSpec { sudo: true, ..account(66_000) };
        bench.converge(Some(spec(1, vec![alice])));
        let good = body(&bench.host);
        bench.host.spawn(66_000);
        let lost = Moment { is_lost: true, ..at(0).into() };
        let report = converge(&mut bench.host, &mut bench.ledger, None, lost);
        let [AccountState::Failed { why }] = states(&report)[..] else { panic!("{report:?}") };
        assert!(why.contains("its clock cannot be right"), "{why}");
        let world = bench.host.world();
        assert!(bench.host.text(Db::Shadow).contains("alice:*::0:99999:7::1:"), "no password, expired");
        assert!(world.sudoers.unwrap().is_empty() && !world.processes.values().any(|uid| *uid == 66_000));
        let keys = if root_keys {
            &world.root_keys.unwrap().get("alice").cloned()
        } else {
            &world.homes["alice"].keys
        };
        assert!(keys.as_ref().is_none_or(Vec::is_empty), "{keys:?}");
        assert_eq!(states(&bench.converge(None)), [&AccountState::Ready]);
        assert_eq!(body(&bench.host), good);
    }
}

#[test]
fn the_second_time_changes_nothing() {
    let mut bench = Bench::new();
    for wanted in [spec(1, vec![account(66_000)]), spec(2, vec![])] {
        let first = bench.converge(Some(wanted.clone()));
        let writes = bench.host.writes();
        assert_eq!(bench.converge(Some(wanted)), first);
        assert_eq!(bench.converge(None), first);
        assert_eq!(bench.host.writes(), writes);
    }
}

#[test]
fn what_changes_in_the_spec_or_on_the_machine_is_made_good() {
    let mut bench = Bench::new();
    bench.converge(Some(spec(1, vec![AccountSpec { sudo: true, ..account(66_000) }])));
    let changed = AccountSpec { password_hash: None, ssh_keys: vec![], ..account(66_000) };
    let report = bench.converge(Some(spec(2, vec![changed])));
    assert_eq!(states(&report), [&AccountState::Ready]);
    assert!(
        bench.host.text(Db::Shadow).contains("alice:*:"),
        "no log-in by password, but no locked account either"
    );
    let world = bench.host.world();
    assert_eq!(world.homes["alice"].keys.as_deref(), Some(&b""[..]));
    assert!(world.sudoers.unwrap().is_empty());

    let good = body(&bench.host);
    bench.host.with(|world| {
        world.homes.get_mut("alice").unwrap().keys = Some(b"ssh-rsa another".to_vec());
        world.files.insert(Db::Shadow, b"root:*:1::::::\n".to_vec());
        world.files.insert(
            Db::Shadow,
            good.files[&Db::Shadow].strip_suffix(b"alice:*::0:99999:7::20835:\n").unwrap().to_vec(),
        );
    });
    assert_eq!(states(&bench.converge(None)), [&AccountState::Ready]);
    assert_eq!(body(&bench.host), good);
}

#[test]
fn what_exists_already_is_refused_and_left_alone() {
    type Arrange = fn(&mut World);
    let foreign: [(&str, Arrange); 8] = [
        ("/home/alice exists", |world| {
            world.homes.insert("alice".into(), FakeHome { owner: 66_000, keys: None, unfinished: false });
        }),
        ("`alice` exists", |world| append(world, Db::Passwd, "alice:x:1001:1001::/home/alice:/bin/sh\n")),
        ("uid 66000 exists", |world| append(world, Db::Passwd, "mallory:x:66000:66000::/:/bin/sh\n")),
        ("gid 66000 exists", |world| append(world, Db::Group, "mallory:x:66000:\n")),
        ("/etc/passwd", |world| append(world, Db::Passwd, "alice:x:66000:66000::/home/alice:/bin/sh\n")),
        ("/etc/group", |world| append(world, Db::Group, "docker:x:999:bob,alice\n")),
        ("/etc/subuid", |world| append(world, Db::Subuid, "alice:1:2\n")),
        ("run already", |world| {
            world.processes.insert(500, 66_000);
        }),
    ];
    for (why, arrange) in foreign {
        let mut bench = Bench::new();
        bench.host.with(arrange);
        let before = body(&bench.host);
        let report = bench.converge(Some(spec(1, vec![account(66_000)])));
        assert!(refusal(&report).contains(why), "{report:?}");
        assert!(bench.converge(Some(spec(2, vec![]))).accounts.is_empty());
        assert_eq!(body(&bench.host), before, "{why}");
    }
}

fn append(world: &mut World, db: Db, line: &str) {
    world.files.entry(db).or_default().extend_from_slice(line.as_bytes());
}

#[test]
fn what_this_machine_does_not_have_is_refused() {
    let asked = [
        ("no shell `/bin/zsh`", AccountSpec { shell: Some("/bin/zsh".parse().unwrap()), ..account(66_000) }),
        ("no group `gpu`", AccountSpec { groups: vec!["gpu".parse().unwrap()], ..account(66_000) }),
        ("install sudo", AccountSpec { sudo: true, ..account(66_000) }),
        ("outside", account(1_000)),
    ];
    for (why, asked) in asked {
        let mut bench = Bench::new();
        bench.host.with(|world| world.sudoers = None);
        let before = body(&bench.host);
        assert!(refusal(&bench.converge(Some(spec(1, vec![asked])))).contains(why), "{why}");
        assert_eq!(body(&bench.host), before);
    }
}

#[test]
fn an_order_that_comes_late_does_nothing() {
    let mut bench = Bench::new();
    bench.converge(Some(spec(1, vec![account(66_000)])));
    bench.converge(Some(spec(2, vec![])));
    let late = bench.converge(Some(spec(1, vec![account(66_000)])));
    assert_eq!((late.generation, late.accounts.len()), (2, 0));
    let again = bench.converge(Some(spec(3, vec![account(66_000)])));
    assert!(refusal(&again).contains("has ended before"));
    assert!(!bench.has_alice());
}

#[test]
fn another_database_deletes_nothing() {
    let mut bench = Bench::new();
    bench.converge(Some(spec(1, vec![account(66_000)])));
    let stranger = Spec { epoch: id(99).parse().unwrap(), ..spec(9, vec![]) };
    let report = bench.converge(Some(stranger));
    assert_eq!((report.generation, states(&report)), (1, vec![&AccountState::Ready]));
    assert!(report.problems[0].contains("speaks for database"));
    assert!(bench.has_alice());
}

#[test]
fn a_restored_database_is_obeyed_if_it_knows_all_that_was_told() {
    let restored = |known, generation| Spec {
        epoch: id(99).parse().unwrap(),
        follows: vec![Former { epoch: id(1).parse().unwrap(), generation: known }],
        ..spec(generation, vec![])
    };
    let mut bench = Bench::new();
    bench.converge(Some(spec(2, vec![account(66_000)])));
    let report = bench.converge(Some(restored(1, 9)));
    assert_eq!((report.generation, states(&report)), (2, vec![&AccountState::Ready]));
    assert!(report.problems[0].contains("was told more (generation 2) than the backup knows (1)"));
    assert!(bench.has_alice());
    let report = bench.converge(Some(restored(2, 3)));
    assert_eq!(
        (report.generation, report.epoch, report.accounts.len()),
        (3, Some(id(99).parse().unwrap()), 0)
    );
    assert!(!bench.has_alice());
    let late = bench.converge(Some(spec(4, vec![account(66_001)])));
    assert!(late.generation == 3 && late.problems[0].contains("speaks for database"), "there is no way back");
}

#[test]
fn time_ends_an_account_without_a_server_and_across_restarts() {
    let mut bench = Bench::new();
    let before = body(&bench.host);
    bench.converge(Some(spec(1, vec![account(66_000)])));
    bench.minute = 59;
    bench.restart();
    assert_eq!(bench.converge(None).accounts.len(), 1);
    bench.minute = 60;
    bench.restart();
    assert!(bench.converge(None).accounts.is_empty());
    assert_eq!(body(&bench.host), before);
    bench.minute = 30;
    assert!(
        refusal(&bench.converge(None)).contains("has ended before"),
        "a clock set back brings nothing back"
    );
}

#[test]
fn the_name_passes_on_only_when_it_is_free() {
    let mut bench = Bench::new();
    bench.converge(Some(spec(1, vec![account(66_000)])));
    bench.host.spawn(66_000);
    bench.host.set_immortal(true);
    let report = bench.converge(Some(spec(2, vec![account(66_001)])));
    let [AccountState::Leaving { why, attempts: 1 }, AccountState::Failed { .. }] = states(&report)[..]
    else {
        panic!("{report:?}")
    };
    assert!(why.contains("still alive"), "{why}");
    assert!(bench.host.text(Db::Shadow).contains("alice:!$6$"), "locked meanwhile");
    assert!(bench.host.text(Db::Passwd).contains("alice:x:66000"), "no nameless process");
    bench.restart();
    assert!(matches!(states(&bench.converge(None))[0], AccountState::Leaving { attempts: 2, .. }));
    bench.host.set_immortal(false);
    let report = bench.converge(None);
    assert_eq!((report.accounts.len(), states(&report)[0]), (1, &AccountState::Ready));
    assert!(bench.host.text(Db::Passwd).contains("alice:x:66001"));
}

#[test]
fn one_bad_account_does_not_stop_the_others() {
    let mut bench = Bench::new();
    let carol = AccountSpec { name: "carol".parse().unwrap(), ..account(66_001) };
    bench.host.with(|world| append(world, Db::Passwd, "alice:x:5:5::/:/bin/sh\n"));
    let report = bench.converge(Some(spec(1, vec![account(66_000), carol])));
    assert!(matches!(states(&report)[..], [AccountState::Refused { .. }, AccountState::Ready]));
}

#[test]
fn a_name_taken_over_by_hand_is_no_longer_ours() {
    let mut bench = Bench::new();
    bench.converge(Some(spec(1, vec![account(66_000)])));
    bench.host.with(|world| {
        let passwd = String::from_utf8(world.files[&Db::Passwd].clone())
            .unwrap()
            .replace("alice:x:66000", "alice:x:1001");
        world.files.insert(Db::Passwd, passwd.into_bytes());
    });
    let entries = bench.host.world().files;
    assert!(bench.converge(Some(spec(2, vec![]))).accounts.is_empty());
    assert_eq!(bench.host.world().files, entries);
}

#[test]
fn a_full_disk_does_not_keep_anybody_in() {
    let mut bench = Bench::new();
    bench.converge(Some(spec(1, vec![AccountSpec { sudo: true, ..account(66_000) }])));
    bench.host.spawn(66_000);
    bench.minute = 60;
    assert!(bench.host.has_ballast());
    bench.host.set_full(true);
    assert!(bench.converge(None).accounts.is_empty());
    assert_eq!(body(&bench.host), body(&FakeHost::new()));
}

#[test]
fn a_disk_that_is_fuller_still_does_not_either() {
    let mut bench = Bench::new();
    bench.converge(Some(spec(1, vec![AccountSpec { sudo: true, ..account(66_000) }])));
    bench.host.spawn(66_000);
    bench.minute = 60;
    bench.host.ballast_drop().unwrap();
    bench.host.set_full(true);
    assert!(matches!(states(&bench.converge(None))[..], [AccountState::Leaving { .. }]));
    let world = bench.host.world();
    assert!(!world.processes.values().any(|uid| *uid == 66_000) && world.sudoers.unwrap().is_empty());
    assert!(!world.homes.contains_key("alice"));
    assert!(bench.host.text(Db::Shadow).contains("alice:!6$"), "spoilt in place");
    bench.host.set_full(false);
    assert!(bench.converge(None).accounts.is_empty());
    assert_eq!(body(&bench.host), body(&FakeHost::new()));
    assert!(bench.host.has_ballast());
}
