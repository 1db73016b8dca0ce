//! Disks that are full, files that cannot be removed, trees that are too deep: clean each time, or it says why not and
//! nobody gets in.

use model::report::{AccountState, Report};
use std::process::Command;
use tests::container::{Container, account, given_alone, said, spec, visit};
use tests::inventory::Inventory;

const UID: u32 = 66_000;

/// As a file system of its own, as small as this, which its owner has filled to the last byte.
const FILL: &str = "dd if=/dev/zero of=$1/fill bs=4096 2>/dev/null || true; dd if=/dev/zero of=$1/fill2 bs=1 2>/dev/null || true";

fn alice(container: &Container) -> Report {
    container.visit(Some(&spec(1, vec![account("alice", UID)])))
}

fn gone(container: &Container, generation: u64) -> Report {
    container.visit(Some(&spec(generation, vec![])))
}

fn is_ready(report: &Report) -> bool {
    matches!(report.accounts[..], [ref alice] if alice.state == AccountState::Ready)
}

/// Seen from outside, whatever the agent says.
fn left(container: &Container) -> Vec<String> {
    let named = container.run("grep -s '^alice:' /etc/passwd /etc/shadow /etc/group /etc/gshadow || true");
    let named = named.lines().map(str::to_owned);
    let owned = Inventory::take(&container.path("/"), &[]).of(UID);
    let running = container.processes(UID).into_iter().map(|pid| format!("process {pid}"));
    named.chain(owned).chain(running).collect()
}

fn is_shut(container: &Container) {
    let shadow = container.run("grep '^alice:' /etc/shadow || true");
    assert!(shadow.is_empty() || shadow.starts_with("alice:!"), "she gets in: {shadow}");
    assert!(!container.path("/home/alice/.ssh").exists(), "with a key");
    assert_eq!(container.processes(UID), Vec::<u32>::new());
}

/// Puts what is in a folder onto a file system of so many KiB.
fn shrink(container: &Container, folder: &str, size: u32) {
    container.run(&format!(
        "mkdir -p /mnt/small {folder}; mount -t tmpfs -o size={size}k,mode=755 small /mnt/small
         cp -a {folder}/. /mnt/small/; mount --bind /mnt/small {folder}"
    ));
}

fn fill(container: &Container, folder: &str) {
    said(container.enter(&[]).args(["sh", "-c", FILL, "fill", folder]));
}

#[test]
fn a_full_disk_keeps_nobody_in() {
    for (folder, size) in [("/etc", 8_192), ("/home", 1_024), ("/var/lib/berth", 4_096)] {
        for image in ["berth-debian", "berth-alpine"] {
            let container = Container::idle(image, &[]);
            shrink(&container, folder, size);
            let made = alice(&container);
            assert!(is_ready(&made), "{image} {folder}: {made:?}");
            fill(&container, folder);
            let report = gone(&container, 2);
            assert!(report.accounts.is_empty(), "{image} {folder}: {report:?}");
            assert_eq!(left(&container), Vec::<String>::new(), "{image} {folder}");
            container.run(&format!("rm {folder}/fill*"));
            assert!(is_ready(&container.visit(Some(&spec(3, vec![account("alice", UID + 1)])))));
        }
    }
}

/// Not even what was set aside is there.
#[test]
fn a_disk_without_a_byte_left_locks_and_says_so() {
    let container = Container::idle("berth-debian", &[]);
    shrink(&container, "/etc", 8_192);
    assert!(is_ready(&alice(&container)));
    container.run("rm -f /etc/.berth-ballast");
    fill(&container, "/etc");
    let report = gone(&container, 2);
    let [ref alice] = report.accounts[..] else { panic!("gone from a disk that takes nothing: {report:?}") };
    assert!(
        matches!(&alice.state, AccountState::Leaving { why, .. } if why.contains("No space")),
        "{report:?}"
    );
    is_shut(&container);
    container.run("rm /etc/fill*");
    assert!(container.visit(None).accounts.is_empty());
    assert_eq!(left(&container), Vec::<String>::new());
}

#[test]
fn nothing_is_ready_that_was_made_on_a_full_disk() {
    for folder in ["/etc", "/home"] {
        let container = Container::idle("berth-debian", &[]);
        shrink(&container, folder, 4_096);
        fill(&container, folder);
        let report = alice(&container);
        assert!(!is_ready(&report), "{folder}: {report:?}");
        container.run(&format!("rm {folder}/fill*"));
        assert!(is_ready(&container.visit(None)), "{folder}");
    }
}

#[test]
fn what_is_immutable_goes_or_is_named() {
    for allowed in [true, false] {
        let flags: &[&str] = if allowed { &["--cap-add", "LINUX_IMMUTABLE"] } else { &[] };
        let container = Container::idle("berth-debian", flags);
        alice(&container);
        // What a tenant with sudo can do.
        container.run(&format!(
            "for file in /home/alice/kept /tmp/kept; do touch $file; chown {UID}:{UID} $file; chattr +i $file; done"
        ));
        let report = gone(&container, 2);
        if !allowed {
            let [ref alice] = report.accounts[..] else { panic!("{report:?}") };
            let AccountState::Leaving { why, .. } = &alice.state else { panic!("{report:?}") };
            assert!(why.contains("CAP_LINUX_IMMUTABLE"), "{why}");
            is_shut(&container);
            container.run("chattr -i /home/alice/kept /tmp/kept");
            assert!(container.visit(None).accounts.is_empty());
        }
        assert!(!allowed || report.accounts.is_empty(), "{report:?}");
        assert_eq!(left(&container), Vec::<String>::new());
    }
}

/// A hundred thousand files and folders together, five thousand deep, in the home and outside.
#[test]
fn no_tree_is_too_deep() {
    let container = Container::idle("berth-debian", &[]);
    alice(&container);
    const DIG: &str = "chdir shift or die; for (1..5000) { mkdir 'd'; chdir 'd' or die;
        for $file (1..10) { open F, '>', $file or die } }";
    for folder in ["/home/alice", "/tmp"] {
        let uid = UID.to_string();
        said(container.enter(&["-S", &uid, "-G", &uid]).args(["perl", "-e", DIG, folder]));
    }
    let report = gone(&container, 2);
    assert!(report.accounts.is_empty(), "{report:?}");
    let [ref cleaning] = report.cleanings[..] else { panic!("{report:?}") };
    assert!(cleaning.unswept.is_empty(), "{cleaning:?}");
    println!("50,000 files and 5,000 folders swept, and as many in the home removed: {:?} µs", cleaning.took);
    assert_eq!(left(&container), Vec::<String>::new());
}

/// Every call of a kind fails: not gone, with the reason, and nobody gets in; then the disk is well again.
#[test]
fn a_broken_disk_is_named_and_tried_again() {
    for calls in ["unlink,unlinkat,rmdir", "rename,renameat,renameat2", "getdents64", "fsync"] {
        let container = Container::idle("berth-debian", &[]);
        assert!(is_ready(&alice(&container)));
        container.run(&format!("mkdir /tmp/d; echo >/tmp/d/f; chown -R {UID}:{UID} /tmp/d"));
        let report = gone_with_errors(&container, calls);
        let [ref alice] = report.accounts[..] else { panic!("gone without {calls}: {report:?}") };
        let AccountState::Leaving { why, .. } = &alice.state else { panic!("{report:?}") };
        let said = [&report.problems[..], std::slice::from_ref(why)].concat().join("; ");
        assert!(said.contains("os error 5"), "{calls}: {report:?}");
        assert!(gone(&container, 2).accounts.is_empty(), "{calls}");
        assert_eq!(left(&container), Vec::<String>::new(), "{calls}");
    }
}

fn gone_with_errors(container: &Container, calls: &str) -> Report {
    let mut strace = Command::new("strace");
    strace.args(["-D", "-f", "-qq", "-o", "/dev/null", "-e", &format!("trace={calls}")]);
    strace.args([
        "-e",
        &format!("inject={calls}:error=EIO"),
        "nsenter",
        "-t",
        &container.pid.to_string(),
        "-a",
    ]);
    let agent = strace.args(["/usr/local/sbin/berth-agent", "once"]);
    let output = given_alone(agent, &visit(&spec(2, vec![])));
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("no report: {output:?}"))
}
