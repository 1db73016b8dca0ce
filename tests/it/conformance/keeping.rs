//! What is kept on a machine beside accounts: disk space, keys in root's folder, what people are told.

use super::{both, real, who};
use model::UidRange;
use playbooks::{FakeHost, Host, RealHost};
use std::fs;
use std::io::{BufRead, BufReader, ErrorKind};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

#[test]
fn ballast_and_notices_may_be_repeated() {
    both(|host| {
        for _ in 0..2 {
            host.ballast_keep().unwrap();
            host.notice_write("Berth: until 12:00", b"{}").unwrap();
        }
        for _ in 0..2 {
            host.ballast_drop().unwrap();
            host.notice_write("", b"").unwrap();
        }
        host.tell(&who(66_000), "soon\n").unwrap();
    });
}

#[test]
fn time_passes_and_uids_are_there() {
    both(|host| {
        let before = host.uptime();
        while host.uptime() == before {}
        assert!(host.uptime() > before.max(Duration::from_micros(1)));
        assert!(host.has_uids("66000-66000".parse().unwrap()).unwrap() || !has_uid(66_000));
    });
}

fn has_uid(uid: u64) -> bool {
    let map = fs::read_to_string("/proc/self/uid_map").unwrap();
    let numbers: Vec<u64> = map.split_whitespace().map(|text| text.parse().unwrap()).collect();
    numbers.chunks(3).any(|line| (line[0]..line[0] + line[2]).contains(&uid))
}

#[test]
fn a_limit_of_uids_is_seen() {
    let mut host = FakeHost::new();
    host.with(|world| world.uid_limit = Some(70_000));
    assert!(!host.has_uids(UidRange::default()).unwrap());
    assert!(host.has_uids("66000-70000".parse().unwrap()).unwrap());
}

#[test]
fn keys_lie_in_roots_folder_if_sshd_reads_it() {
    let story = |host: &mut dyn Host| {
        let who = who(66_000);
        assert!(host.has_root_keys().unwrap());
        assert_eq!(host.root_keys(&who).unwrap(), None);
        for keys in [&b"one\n"[..], b"two\n"] {
            host.root_keys_write(&who, keys).unwrap();
            assert_eq!(host.root_keys(&who).unwrap().unwrap(), keys);
        }
        for _ in 0..2 {
            host.root_keys_remove(&who).unwrap();
            assert_eq!(host.root_keys(&who).unwrap(), None);
        }
    };
    both(|host| assert!(!host.has_root_keys().unwrap()));
    let mut fake = FakeHost::new();
    fake.use_root_keys();
    story(&mut fake);
    let (root, mut host) = real();
    let ssh = root.path().join("etc/ssh");
    fs::create_dir_all(ssh.join("sshd_config.d")).unwrap();
    let line = "AuthorizedKeysFile /etc/ssh/berth-keys/%u .ssh/authorized_keys\n";
    fs::write(ssh.join("sshd_config"), format!("#{line}")).unwrap();
    fs::write(ssh.join("sshd_config.d/berth.off"), line).unwrap();
    assert!(!host.has_root_keys().unwrap(), "neither a comment nor what sshd does not include");
    fs::write(ssh.join("sshd_config.d/berth.conf"), line).unwrap();
    story(&mut host);
    host.root_keys_write(&who(66_000), b"key").unwrap();
    let seen = |path| fs::metadata(ssh.join(path)).map(|meta| (meta.uid(), meta.mode() & 0o777)).unwrap();
    assert_eq!((seen("berth-keys"), seen("berth-keys/alice")), ((0, 0o755), (0, 0o644)));
}

#[test]
fn ballast_takes_room_and_gives_it_back() {
    let (root, mut host) = real();
    let ballast = root.path().join("var/lib/berth/ballast");
    host.ballast_keep().unwrap();
    let meta = fs::metadata(&ballast).unwrap();
    assert!(meta.len() == 1 << 20 && meta.blocks() * 512 >= 1 << 20 && meta.mode() & 0o777 == 0o600);
    fs::write(&ballast, "half").unwrap();
    host.ballast_keep().unwrap();
    assert_eq!(fs::metadata(&ballast).unwrap().len(), 1 << 20);
    let inode = fs::metadata(&ballast).unwrap().ino();
    host.ballast_keep().unwrap();
    assert_eq!(fs::metadata(&ballast).unwrap().ino(), inode, "what is whole is left alone");
    host.ballast_drop().unwrap();
    assert!(!ballast.exists());
}

#[test]
fn a_full_disk_takes_a_few_writes_once_the_ballast_is_dropped() {
    let mut host = FakeHost::new();
    host.ballast_keep().unwrap();
    host.set_full(true);
    assert_eq!(host.write_ledger(b"x").unwrap_err().kind(), ErrorKind::StorageFull);
    host.ballast_drop().unwrap();
    assert_eq!(host.ballast_keep().unwrap_err().kind(), ErrorKind::StorageFull);
    let written = (0..1_000).take_while(|_| host.write_ledger(b"x").is_ok()).count();
    assert!((1..100).contains(&written), "{written}");
    host.ballast_drop().unwrap();
    assert!(host.write_ledger(b"x").is_err(), "there was none to drop");
    host.set_full(false);
    host.ballast_keep().unwrap();
    assert!(host.has_ballast());
}

#[test]
fn a_terminal_is_told() {
    const UID: u32 = 98_703;
    let (root, _) = real();
    let mut host = RealHost::new("/", root.path());
    let mut session = Command::new("script");
    session.args(["-qfc", "sleep 1000", "/dev/null"]).uid(UID).gid(UID);
    let mut session = session.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
    let is_theirs =
        |entry: std::io::Result<fs::DirEntry>| entry.unwrap().metadata().is_ok_and(|meta| meta.uid() == UID);
    while !fs::read_dir("/dev/pts").unwrap().any(is_theirs) {
        std::thread::yield_now();
    }
    host.tell(&who(UID), "it ends soon\n").unwrap();
    let mut told = String::new();
    BufReader::new(session.stdout.take().unwrap()).read_line(&mut told).unwrap();
    host.kill_all(UID).unwrap();
    session.wait().unwrap();
    assert_eq!(told.trim_end(), "it ends soon");
}

/// A file system of a few pages, which a real disk that is full behaves like.
#[test]
fn no_half_ballast_stays_on_a_full_disk() {
    let (root, mut host) = real();
    let state = root.path().join("var/lib/berth");
    fs::create_dir_all(&state).unwrap();
    let small = nix::mount::mount(
        Some("none"),
        &state,
        Some("tmpfs"),
        nix::mount::MsFlags::empty(),
        Some("size=512k"),
    );
    if small.is_err() {
        return; // this test itself may not mount here
    }
    let kept = host.ballast_keep();
    let left = fs::read_dir(&state).unwrap().count();
    host.write_ledger(b"there is room for this").unwrap();
    nix::mount::umount(&state).unwrap();
    assert_eq!((kept.unwrap_err().kind(), left), (ErrorKind::StorageFull, 0));
}

#[test]
fn the_notice_is_one_line_among_others() {
    let (root, mut host) = real();
    let (motd, status) = (root.path().join("etc/motd"), root.path().join("run/berth-agent/status.json"));
    host.notice_write("", b"").unwrap();
    assert!(!motd.exists() && !status.exists());
    host.notice_write("Berth: until 12:00", b"{}").unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o777;
    assert_eq!(
        (mode(&motd), mode(&status), mode(&root.path().join("run/berth-agent"))),
        (0o644, 0o644, 0o755)
    );
    fs::write(&motd, "Welcome\nBerth: until 12:00\nBye\n").unwrap();
    fs::set_permissions(&motd, fs::Permissions::from_mode(0o600)).unwrap();
    host.notice_write("Berth: until 13:00", b"[]").unwrap();
    assert_eq!(fs::read_to_string(&motd).unwrap(), "Welcome\nBye\nBerth: until 13:00\n");
    assert_eq!((mode(&motd), fs::read(&status).unwrap()), (0o600, b"[]".to_vec()));
    let before = fs::metadata(&motd).unwrap().ino();
    host.notice_write("Berth: until 13:00", b"[]").unwrap();
    assert_eq!(fs::metadata(&motd).unwrap().ino(), before, "what is so already is not written");
    host.notice_write("", b"").unwrap();
    assert_eq!(fs::read_to_string(&motd).unwrap(), "Welcome\nBye\n");
    assert!(!status.exists());
}
