//! What a tenant may have made of the own home.

use super::{keys, real, who};
use playbooks::Host;
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::Path;
use std::process::Command;

#[test]
fn links_of_a_tenant_lead_nowhere() {
    let (root, mut host) = real();
    let who = who(66_000);
    let precious = root.path().join("etc/precious");
    fs::create_dir(&precious).unwrap();
    fs::write(precious.join("authorized_keys"), "root's").unwrap();
    host.home_create(&who, b"key\n").unwrap();
    let home = root.path().join("home/alice");
    fs::remove_dir_all(home.join(".ssh")).unwrap();
    symlink(&precious, home.join(".ssh")).unwrap();
    symlink(&precious, home.join("other")).unwrap();
    assert_eq!(keys(host.home(&who).unwrap()), None);
    host.keys_write(&who, b"key\n").unwrap();
    assert_eq!(keys(host.home(&who).unwrap()).unwrap(), b"key\n");
    fs::remove_file(home.join(".ssh/authorized_keys")).unwrap();
    fs::create_dir_all(home.join(".ssh/authorized_keys/deep")).unwrap();
    host.keys_write(&who, b"key\n").unwrap();
    assert_eq!(keys(host.home(&who).unwrap()).unwrap(), b"key\n");
    host.home_remove(&who).unwrap();
    assert!(!home.exists());
    assert_eq!(fs::read_to_string(precious.join("authorized_keys")).unwrap(), "root's");
}

#[test]
fn no_tree_is_too_deep_or_too_odd() {
    let (root, mut host) = real();
    let who = who(66_000);
    host.home_create(&who, b"").unwrap();
    let home = root.path().join("home/alice");
    // Built upwards: each round puts what there is one level deeper, as a path could not name the bottom.
    fs::create_dir(home.join("deep")).unwrap();
    for _ in 0..5_000 {
        fs::create_dir(home.join("outer")).unwrap();
        fs::rename(home.join("deep"), home.join("outer/deep")).unwrap();
        fs::rename(home.join("outer"), home.join("deep")).unwrap();
    }
    fs::create_dir(home.join(".berth-hoisted-1")).unwrap();
    fs::write(home.join("new\nline"), "").unwrap();
    nix::unistd::mkfifo(&home.join("pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    fs::create_dir(home.join("closed")).unwrap();
    fs::write(home.join("closed/file"), "").unwrap();
    fs::set_permissions(home.join("closed"), fs::Permissions::from_mode(0o000)).unwrap();
    host.home_remove(&who).unwrap();
    assert!(!home.exists());
}

#[test]
fn mounts_of_a_tenant_are_detached() {
    let (root, mut host) = real();
    let who = who(66_000);
    host.home_create(&who, b"").unwrap();
    let home = root.path().join("home/alice");
    fs::create_dir(home.join("a mount")).unwrap();
    let none: Option<&str> = None;
    for point in [home.join("a mount"), home.join(".ssh"), home.clone()] {
        let mounted =
            nix::mount::mount(Some("none"), &point, Some("tmpfs"), nix::mount::MsFlags::empty(), none);
        if mounted.is_err() {
            return; // this test itself may not mount here
        }
    }
    assert!(host.home(&who).is_ok());
    host.home_remove(&who).unwrap();
    assert!(!home.exists());
}

/// Each of them stands where keys are read, written and removed.
#[test]
fn keys_get_past_whatever_stands_in_their_place() {
    type Arrange = fn(&Path);
    let forms: [Arrange; 7] = [
        |ssh| {
            fs::remove_file(ssh.join("authorized_keys")).unwrap();
            nix::unistd::mkfifo(&ssh.join("authorized_keys"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        },
        |ssh| {
            fs::remove_file(ssh.join("authorized_keys")).unwrap();
            fs::create_dir_all(ssh.join("authorized_keys/deep")).unwrap();
        },
        |ssh| {
            fs::remove_file(ssh.join("authorized_keys")).unwrap();
            symlink("/etc/passwd", ssh.join("authorized_keys")).unwrap();
        },
        |ssh| {
            fs::remove_dir_all(ssh).unwrap();
            symlink("/etc", ssh).unwrap();
        },
        |ssh| {
            fs::remove_dir_all(ssh).unwrap();
            fs::write(ssh, "no folder").unwrap();
        },
        |ssh| fs::set_permissions(ssh, Permissions::from_mode(0o000)).unwrap(),
        |ssh| fs::set_permissions(ssh.parent().unwrap(), Permissions::from_mode(0o000)).unwrap(),
    ];
    for (number, arrange) in forms.iter().enumerate() {
        let (root, mut host) = real();
        let who = who(66_000);
        let ssh = root.path().join("home/alice/.ssh");
        for act in ["write", "remove", "take away"] {
            let _ = host.home_remove(&who);
            host.home_create(&who, b"key one\n").unwrap();
            arrange(&ssh);
            assert!(host.home(&who).is_ok());
            match act {
                "write" => {
                    host.keys_write(&who, b"key two\n").unwrap();
                    assert_eq!(keys(host.home(&who).unwrap()).unwrap(), b"key two\n", "form {number}");
                }
                "remove" => {
                    host.keys_remove(&who).unwrap();
                    assert!(ssh.symlink_metadata().is_err(), "form {number}");
                }
                _ => {
                    host.home_remove(&who).unwrap();
                    assert!(!root.path().join("home/alice").exists(), "form {number}");
                }
            }
        }
        assert!(fs::read_to_string("/etc/passwd").unwrap().starts_with("root:"));
    }
}

#[test]
fn what_is_immutable_goes_as_well() {
    let (root, mut host) = real();
    let who = who(66_000);
    host.home_create(&who, b"key\n").unwrap();
    let home = root.path().join("home/alice");
    fs::create_dir_all(home.join("folder/inner")).unwrap();
    for file in ["folder/file", "folder/inner/file"] {
        fs::write(home.join(file), "").unwrap();
    }
    fs::create_dir_all(root.path().join("tmp/theirs/inner")).unwrap();
    fs::write(root.path().join("tmp/theirs/file"), "").unwrap();
    let pins = [
        ("+i", "home/alice/folder/inner/file"),
        ("+a", "home/alice/folder/file"),
        ("+i", "home/alice/folder/inner"),
        ("+a", "home/alice/folder"),
        ("+i", "home/alice/.ssh/authorized_keys"),
        ("+i", "home/alice"),
        ("+i", "tmp/theirs/file"),
        ("+i", "tmp/theirs/inner"),
        ("+a", "tmp/theirs"),
    ];
    for path in ["tmp/theirs", "tmp/theirs/inner", "tmp/theirs/file"] {
        chown(root.path().join(path), Some(66_000), Some(66_000)).unwrap();
    }
    for (flag, path) in pins {
        let output = Command::new("chattr").arg(flag).arg(root.path().join(path)).output();
        if !output.is_ok_and(|output| output.status.success()) {
            assert_eq!(
                path, pins[0].1,
                "only CAP_LINUX_IMMUTABLE or chattr may be missing here, and from the start"
            );
            eprintln!("left out: nothing can be made immutable here");
            return;
        }
    }
    host.keys_remove(&who).unwrap();
    host.home_remove(&who).unwrap();
    assert!(!home.exists());
    let cleared = host.litter_remove(&[who], playbooks::Litter::Files).unwrap();
    assert!(
        cleared.found.len() == 3 && cleared.found.iter().all(|found| found.removed.is_ok()),
        "{cleared:?}"
    );
    assert!(!root.path().join("tmp/theirs").exists());
}
