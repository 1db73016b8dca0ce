//! What accounts leave beside home and entries.

use super::{both, real, who};
use model::cleaning::Residue;
use playbooks::{Cleared, FakeHost, Found, Host, Litter, When};
use std::fs;
use std::os::unix::fs::{chown, symlink};
use std::os::unix::process::CommandExt;
use std::process::Command;

const ALL: [Litter; 5] = [Litter::Jobs, Litter::Mounts, Litter::Ipc, Litter::Backups, Litter::Files];

/// Whose things no other test makes.
const UID: u32 = 98_702;

#[test]
fn where_nobody_was_nothing_is_found() {
    both(|host| {
        for litter in ALL {
            assert_eq!(host.litter_remove(&[who(UID)], litter).unwrap(), Cleared::default(), "{litter:?}");
            assert_eq!(host.litter_remove(&[], litter).unwrap(), Cleared::default(), "{litter:?}");
        }
    });
}

/// Kind and words of what was found and removed; the second time there is nothing.
fn removed(host: &mut dyn Host, litter: Litter) -> Vec<(Residue, String)> {
    let Cleared { found, unswept } = host.litter_remove(&[who(UID)], litter).unwrap();
    assert!(unswept.is_empty() && found.iter().all(|found| found.removed.is_ok()), "{found:?} {unswept:?}");
    assert!(found.iter().all(|found| found.uid == UID));
    let again = host.litter_remove(&[who(UID)], litter).unwrap();
    assert_eq!(again, Cleared::default());
    found.into_iter().map(|found| (found.kind, found.what)).collect()
}

#[test]
fn the_pretend_machine_has_litter_too() {
    let mut host = FakeHost::new();
    host.leave(Litter::Jobs, Residue::Cron, "crontab", UID);
    host.leave(Litter::Jobs, Residue::At, "another's", 1000);
    host.leave(Litter::Files, Residue::File, "pinned", UID);
    host.with(|world| world.immovable.insert("pinned".into()));
    assert_eq!(removed(&mut host, Litter::Jobs), [(Residue::Cron, "crontab".into())]);
    let writes = host.writes();
    let pinned = host.litter_remove(&[who(UID)], Litter::Files).unwrap();
    assert!(matches!(&pinned.found[..], [Found { removed: Err(why), .. }] if !why.is_empty()));
    assert_eq!(host.writes(), writes);
    host.with(|world| world.immovable.clear());
    host.fail_at(0, When::After);
    assert!(host.litter_remove(&[who(UID)], Litter::Files).is_err());
    assert_eq!(host.world().litter.len(), 1, "the other one's");
}

#[test]
fn jobs_go_by_name_and_by_owner() {
    let (root, mut host) = real();
    let path = |path: &str| root.path().join(path);
    for folder in ["var/spool/cron/atjobs", "etc/crontabs", "var/spool/at/spool", "var/lib/systemd/linger"] {
        fs::create_dir_all(path(folder)).unwrap();
    }
    symlink("../../../etc/crontabs", path("var/spool/cron/crontabs")).unwrap();
    let owned = ["var/spool/cron/atjobs/a00001", "var/spool/at/spool/b", "etc/crontabs/tmp.xyz"];
    let named = ["var/spool/cron/alice", "etc/crontabs/alice", "var/lib/systemd/linger/alice"];
    let others = ["var/spool/cron/atjobs/alice", "etc/crontabs/bob", "etc/crontabs/cron.update"];
    for file in owned.iter().chain(&named).chain(&others) {
        fs::write(path(file), "").unwrap();
    }
    for file in owned {
        chown(path(file), Some(UID), None).unwrap();
    }
    let mut kinds: Vec<Residue> =
        removed(&mut host, Litter::Jobs).into_iter().map(|(kind, _)| kind).collect();
    kinds.sort();
    assert_eq!(
        kinds,
        [Residue::Cron, Residue::Cron, Residue::Cron, Residue::At, Residue::At, Residue::Linger]
    );
    assert!(owned.iter().chain(&named).all(|file| !path(file).exists()));
    assert!(others.iter().all(|file| path(file).exists()));

    fs::write(path("etc/crontabs/alice"), "").unwrap();
    fs::write(path("etc/passwd"), "alice:x:1000:1000::/home/alice:/bin/sh\n").unwrap();
    assert!(removed(&mut host, Litter::Jobs).is_empty(), "the name is somebody else's now");
}

#[test]
fn a_folder_that_is_called_like_an_account_stays() {
    let (root, mut host) = real();
    fs::create_dir_all(root.path().join("var/spool/cron/alice")).unwrap();
    assert!(removed(&mut host, Litter::Jobs).is_empty());
}

#[test]
fn mounts_go_wherever_they_are_theirs() {
    let (root, mut host) = real();
    let theirs = ["home/alice/a b", "run/user/98702"];
    let others = ["home/bob/mnt", "home/alice2", "run/user/987020"];
    for place in theirs.iter().chain(&others) {
        let place = root.path().join(place);
        fs::create_dir_all(&place).unwrap();
        let none: Option<&str> = None;
        let flags = nix::mount::MsFlags::empty();
        if nix::mount::mount(Some("none"), &place, Some("tmpfs"), flags, none).is_err() {
            return; // this test itself may not mount here
        }
    }
    let found = removed(&mut host, Litter::Mounts);
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    for place in others {
        nix::mount::umount(&root.path().join(place)).unwrap();
        assert!(mounts.contains(&format!("{}/{place} ", root.path().display())), "{place}");
    }
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(
        found.iter().all(|(kind, what)| *kind == Residue::Mount && what.starts_with("tmpfs at /")),
        "{found:?}"
    );
}

#[test]
fn shared_memory_queues_and_semaphores_go() {
    let (_root, mut host) = real();
    for what in [&["-M", "4096"][..], &["-Q"], &["-S", "3"]] {
        let made = Command::new("ipcmk").args(what).uid(UID).gid(UID).output().unwrap();
        assert!(made.status.success(), "{made:?}");
    }
    let found = removed(&mut host, Litter::Ipc);
    let words: Vec<&str> = found.iter().map(|(_, what)| what.trim_end_matches(char::is_numeric)).collect();
    assert_eq!(words, ["shared memory ", "message queue ", "semaphores "]);
}

#[test]
fn copies_of_the_account_databases_forget() {
    let (root, mut host) = real();
    let etc = root.path().join("etc");
    let bob = "bob:x:1000:1000::/home/bob:/bin/sh\n";
    fs::write(etc.join("passwd-"), format!("{bob}alice:x:98702:98702::/home/alice:/bin/sh\n")).unwrap();
    fs::write(etc.join("shadow-"), "bob:!:::::::\nalice:$6$hash:::::::\n").unwrap();
    fs::write(etc.join("group-"), "web:x:33:bob,alice\n").unwrap();
    fs::write(etc.join("subuid-"), "bob:1:2\n").unwrap();
    chown(etc.join("shadow-"), Some(0), Some(42)).unwrap();
    let found = removed(&mut host, Litter::Backups);
    let backup = |name: &str| (Residue::Backup, name.to_owned());
    assert_eq!(found, [backup("/etc/group-"), backup("/etc/shadow-"), backup("/etc/passwd-")]);
    let text = |name| fs::read_to_string(etc.join(name)).unwrap();
    assert_eq!((text("passwd-"), text("shadow-")), (bob.into(), "bob:!:::::::\n".into()));
    assert_eq!(text("group-"), "web:x:33:bob\n");
    assert_eq!(std::os::unix::fs::MetadataExt::gid(&fs::metadata(etc.join("shadow-")).unwrap()), 42);

    fs::write(etc.join("shadow-"), "alice:$6$theirs:::::::\n").unwrap();
    fs::write(etc.join("passwd"), "alice:x:1000:1000::/home/alice:/bin/sh\n").unwrap();
    assert!(removed(&mut host, Litter::Backups).is_empty(), "the name is somebody else's now");
}

#[test]
fn one_walk_finds_what_several_left() {
    let (root, mut host) = real();
    fs::create_dir_all(root.path().join("tmp")).unwrap();
    let several = [who(UID), who(UID + 1), who(UID + 2)];
    for (who, name) in several.iter().zip(["tmp/one", "var/mail/two", "bin/three"]) {
        fs::write(root.path().join(name), "").unwrap();
        chown(root.path().join(name), Some(who.uid), Some(who.uid)).unwrap();
    }
    let found = host.litter_remove(&several, Litter::Files).unwrap().found;
    let mut uids: Vec<u32> = found.iter().map(|found| found.uid).collect();
    uids.sort_unstable();
    assert_eq!(uids, [UID, UID + 1, UID + 2]);
    assert_eq!(host.litter_remove(&several, Litter::Files).unwrap(), Cleared::default());
}
