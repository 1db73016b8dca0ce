//! The same story told to both hosts: the real one below a temporary folder (as root) and the one in memory.

mod hostile;
mod keeping;
mod litter;

use playbooks::{Db, FakeHost, Home, Host, RealHost, Who};
use std::fs;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use tempfile::TempDir;

fn who(uid: u32) -> Who {
    let assignment = "01900000-0000-7000-8000-000000000001".parse().unwrap();
    Who { assignment, name: "alice".parse().unwrap(), uid }
}

fn real() -> (TempDir, RealHost) {
    let root = TempDir::new().unwrap();
    let etc = root.path().join("etc");
    for folder in ["etc/sudoers.d", "etc/skel/.config", "home/bob", "var/mail", "bin"] {
        fs::create_dir_all(root.path().join(folder)).unwrap();
    }
    let fake = FakeHost::new();
    for db in Db::ALL {
        fs::write(etc.join(db.file_name()), fake.text(db)).unwrap();
    }
    fs::set_permissions(etc.join("shadow"), fs::Permissions::from_mode(0o640)).unwrap();
    chown(etc.join("shadow"), Some(0), Some(42)).unwrap();
    fs::write(etc.join("skel/.config/rc"), "hello").unwrap();
    symlink("/etc/motd", etc.join("skel/link")).unwrap();
    fs::write(root.path().join("bin/sh"), "").unwrap();
    fs::set_permissions(root.path().join("bin/sh"), fs::Permissions::from_mode(0o755)).unwrap();
    let host = RealHost::new(root.path(), root.path().join("var/lib/berth"));
    (root, host)
}

fn both(story: impl Fn(&mut dyn Host)) {
    story(&mut FakeHost::new());
    if nix::unistd::geteuid().is_root() {
        story(&mut real().1);
    }
}

fn keys(home: Home) -> Option<Vec<u8>> {
    let Home::Present { owner, keys, .. } = home else { panic!("{home:?}") };
    assert_eq!(owner, 66_000);
    keys
}

#[test]
fn a_home_of_somebody_else_with_the_name_stays() {
    both(|host| {
        host.home_create(&who(66_000), b"key\n").unwrap();
        assert!(host.keys_write(&who(66_001), b"other\n").is_err());
        host.keys_remove(&who(66_001)).unwrap();
        host.home_remove(&who(66_001)).unwrap();
        assert_eq!(keys(host.home(&who(66_000)).unwrap()).unwrap(), b"key\n");
    });
}

#[test]
fn a_ledger_is_absent_until_written() {
    both(|host| {
        assert_eq!(host.read_ledger().unwrap(), None);
        host.write_ledger(b"one").unwrap();
        host.write_ledger(b"two").unwrap();
        assert_eq!(host.read_ledger().unwrap().unwrap(), b"two");
    });
}

#[test]
fn databases_are_replaced_under_a_lock() {
    both(|host| {
        host.lock_accounts().unwrap();
        host.lock_accounts().unwrap();
        host.replace_all(&[(Db::Passwd, b"p".to_vec()), (Db::Shadow, b"s".to_vec())]).unwrap();
        host.unlock_accounts().unwrap();
        host.unlock_accounts().unwrap();
        assert_eq!(host.read(Db::Passwd).unwrap().unwrap(), b"p");
        assert_eq!(host.read(Db::Shadow).unwrap().unwrap(), b"s");
        assert!(host.read(Db::Subuid).unwrap().is_some());
    });
}

#[test]
fn a_password_is_spoilt_in_place() {
    both(|host| {
        let passwd = b"bob:x:1000:1000::/:/bin/sh\nalice:x:66000:66000::/:/bin/sh\n".to_vec();
        host.replace_all(&[(Db::Passwd, passwd), (Db::Shadow, b"bob:$6$:\nalice:$6$:\n".to_vec())]).unwrap();
        for somebody in [who(66_001), who(66_000), who(66_000)] {
            host.password_spoil(&somebody).unwrap();
        }
        assert_eq!(host.read(Db::Shadow).unwrap().unwrap(), b"bob:$6$:\nalice:!6$:\n");
    });
}

#[test]
fn a_home_comes_and_goes() {
    both(|host| {
        let who = who(66_000);
        assert_eq!(host.home(&who).unwrap(), Home::Absent);
        host.home_create(&who, b"key one\n").unwrap();
        assert_eq!(keys(host.home(&who).unwrap()).unwrap(), b"key one\n");
        assert!(host.home_create(&who, b"").is_err(), "it must not exist before");
        host.keys_write(&who, b"key two\n").unwrap();
        assert_eq!(keys(host.home(&who).unwrap()).unwrap(), b"key two\n");
        for _ in 0..2 {
            host.keys_remove(&who).unwrap();
            assert_eq!(keys(host.home(&who).unwrap()), None);
        }
        for _ in 0..2 {
            host.home_remove(&who).unwrap();
            assert_eq!(host.home(&who).unwrap(), Home::Absent);
        }
        assert!(host.keys_write(&who, b"").is_err());
    });
}

#[test]
fn sudo_mail_and_programs() {
    both(|host| {
        let who = who(66_000);
        assert!(host.has_sudo().unwrap());
        assert_eq!(host.sudo(&who).unwrap(), None);
        host.sudo_write(&who, b"rule").unwrap();
        assert_eq!(host.sudo(&who).unwrap().unwrap(), b"rule");
        host.sudo_remove(&who).unwrap();
        host.sudo_remove(&who).unwrap();
        assert_eq!(host.sudo(&who).unwrap(), None);
        assert!(!host.mail(&who).unwrap());
        host.mail_remove(&who).unwrap();
        assert!(host.has_program("/bin/sh").unwrap());
        assert!(!host.has_program("/bin/none").unwrap());
        assert!(!host.facts().unwrap().boot_id.is_empty());
    });
}

#[test]
fn nobody_runs_as_an_unused_uid() {
    both(|host| {
        assert!(host.processes(98_765).unwrap().is_empty());
        host.kill_all(98_765).unwrap();
        assert!(!host.processes(0).unwrap().is_empty());
    });
}

// --- what only the real one can get wrong

#[test]
fn processes_of_a_uid_die() {
    let (_root, mut host) = real();
    let mut shell = Command::new("/bin/sh");
    shell.args(["-c", "setsid sleep 1000 & (sleep 1000 &) ; sleep 1000"]).uid(98_701).gid(98_701);
    let mut child = shell.spawn().unwrap();
    while host.processes(98_701).unwrap().len() < 4 {
        std::thread::yield_now();
    }
    host.kill_all(98_701).unwrap();
    assert!(host.processes(98_701).unwrap().is_empty(), "a zombie counts as dead");
    assert!(!child.wait().unwrap().success());
    assert!(host.kill_all(0).is_err());
}

#[test]
fn owner_and_mode_survive_and_nothing_is_left_beside() {
    let (root, mut host) = real();
    let etc = root.path().join("etc");
    host.lock_accounts().unwrap();
    host.replace_all(&[(Db::Shadow, b"s".to_vec())]).unwrap();
    host.unlock_accounts().unwrap();
    let meta = fs::metadata(etc.join("shadow")).unwrap();
    assert_eq!((std::os::unix::fs::MetadataExt::gid(&meta), meta.permissions().mode() & 0o777), (42, 0o640));
    let strange = |name: &String| name.contains("berth") || name.ends_with(".lock") && name != ".pwd.lock";
    let names = fs::read_dir(&etc).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    assert_eq!(names.filter(strange).collect::<Vec<_>>(), Vec::<String>::new());
}

#[test]
fn stale_locks_are_broken_and_live_ones_respected() {
    let (root, mut host) = real();
    let lock = root.path().join("etc/passwd.lock");
    let dead =
        Command::new("/bin/true").spawn().and_then(|mut child| child.wait().map(|_| child.id())).unwrap();
    for stale in [format!("{dead}\0"), std::process::id().to_string()] {
        fs::write(&lock, stale).unwrap();
        host.lock_accounts().unwrap();
        host.unlock_accounts().unwrap();
        assert!(!lock.exists());
    }
    // A PID that was given to somebody else after the lock was made.
    fs::write(&lock, "1").unwrap();
    let long_ago = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000);
    fs::File::options().write(true).open(&lock).unwrap().set_modified(long_ago).unwrap();
    host.lock_accounts().unwrap();
    host.unlock_accounts().unwrap();
    fs::write(&lock, "1").unwrap();
    let error = host.lock_accounts().unwrap_err().to_string();
    assert!(error.contains("process 1 holds"), "{error}");
    assert!(lock.exists());
}

#[test]
fn a_home_is_the_tenants_down_to_the_skeleton() {
    let (root, mut host) = real();
    let who = who(66_000);
    fs::create_dir_all(root.path().join(format!("home/.berth-{}/half", who.assignment))).unwrap();
    assert_eq!(host.home(&who).unwrap(), Home::Unfinished);
    host.home_create(&who, b"key\n").unwrap();
    let home = root.path().join("home/alice");
    let owner = |path: &Path| std::os::unix::fs::MetadataExt::uid(&path.symlink_metadata().unwrap());
    for path in ["", ".config", ".config/rc", "link", ".ssh", ".ssh/authorized_keys"] {
        assert_eq!(owner(&home.join(path)), 66_000, "{path}");
    }
    assert!(!home.join("half").exists());
    assert_eq!(fs::metadata(&home).unwrap().permissions().mode() & 0o777, 0o700);
    assert_eq!(fs::metadata(home.join(".ssh/authorized_keys")).unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn a_home_of_somebody_else_stays() {
    let (root, mut host) = real();
    let home = root.path().join("home/alice");
    fs::create_dir(&home).unwrap();
    fs::write(home.join("thesis"), "").unwrap();
    let who = who(66_000);
    assert!(host.home_create(&who, b"").is_err());
    host.keys_remove(&who).unwrap();
    host.home_remove(&who).unwrap();
    assert!(home.join("thesis").exists());
}

#[test]
fn mail_goes() {
    let (root, mut host) = real();
    let who = who(66_000);
    fs::write(root.path().join("var/mail/alice"), "hello").unwrap();
    assert!(!host.mail(&who).unwrap(), "another one's");
    chown(root.path().join("var/mail/alice"), Some(66_000), None).unwrap();
    assert!(host.mail(&who).unwrap());
    host.mail_remove(&who).unwrap();
    assert!(!host.mail(&who).unwrap());
}
