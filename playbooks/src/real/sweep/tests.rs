//! Sweeping below a folder of our own, as root.

use super::*;
use std::fs::{self, File, Permissions};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, lchown, symlink};
use tempfile::TempDir;

const ALICE: u32 = 66_000;
const BOB: u32 = 1_000;

struct Place(TempDir);

impl Place {
    /// Absent: this is not root, who alone can give files away.
    fn new() -> Option<Self> {
        let place = Self(TempDir::new().unwrap());
        fs::set_permissions(place.path(""), Permissions::from_mode(0o755)).unwrap();
        nix::unistd::geteuid().is_root().then_some(place)
    }

    fn path(&self, path: &str) -> std::path::PathBuf {
        self.0.path().join(path)
    }

    fn folder(&self, path: &str, uid: u32) {
        fs::create_dir_all(self.path(path)).unwrap();
        chown(self.path(path), Some(uid), Some(uid)).unwrap();
    }

    fn file(&self, path: &str, uid: u32) {
        File::create(self.path(path)).unwrap();
        chown(self.path(path), Some(uid), Some(uid)).unwrap();
    }

    fn sweep(&self) -> Cleared {
        sweep(self.0.path(), &[alice()], Budget::default()).unwrap()
    }

    /// What is found, without the folder's own path, in order; nothing is left unsaid or undone.
    fn found(&self) -> Vec<String> {
        let Cleared { found, unswept } = self.sweep();
        assert_eq!(unswept, Vec::<String>::new());
        assert!(found.iter().all(|found| found.removed.is_ok()), "{found:?}");
        let root = self.0.path().canonicalize().unwrap().display().to_string() + "/";
        let mut found: Vec<String> = found.iter().map(|found| found.what.replace(&root, "")).collect();
        found.sort();
        assert_eq!(self.sweep(), Cleared::default(), "the second time there is nothing");
        found
    }
}

fn alice() -> Who {
    let assignment = "01900000-0000-7000-8000-000000000001".parse().unwrap();
    Who { assignment, name: "alice".parse().unwrap(), uid: ALICE }
}

fn list(named: u32, allowed: u8, group: u8, mask: u8) -> Vec<u8> {
    let nobody = u32::MAX.to_le_bytes();
    let entry = |tag: u8, allowed: u8, id: [u8; 4]| [&[tag, 0, allowed, 0][..], &id].concat();
    let entries = [
        entry(1, 6, nobody),
        entry(2, allowed, named.to_le_bytes()),
        entry(4, group, nobody),
        entry(0x10, mask, nobody),
        entry(0x20, 0, nobody),
    ];
    [&[2, 0, 0, 0][..], &entries.concat()].concat()
}

#[test]
fn what_is_theirs_goes_wherever_it_lies() {
    let Some(place) = Place::new() else { return };
    for folder in ["tmp", "srv/deep/er", "var/spool"] {
        fs::create_dir_all(place.path(folder)).unwrap();
    }
    for file in ["tmp/one", "srv/deep/er/two", "var/spool/three", "four"] {
        place.file(file, ALICE);
    }
    place.folder("tmp/five/six", ALICE);
    place.folder("tmp/five", ALICE);
    place.file("tmp/bobs", BOB);
    place.file("tmp/shell", ALICE);
    fs::set_permissions(place.path("tmp/shell"), Permissions::from_mode(0o4755)).unwrap();
    let strange = std::ffi::OsStr::from_bytes(b"tmp/new\nline\x1b[2J\xff");
    File::create(place.0.path().join(strange)).unwrap();
    chown(place.0.path().join(strange), Some(ALICE), None).unwrap();
    symlink("/etc/passwd", place.path("tmp/link")).unwrap();
    lchown(place.path("tmp/link"), Some(ALICE), Some(ALICE)).unwrap();
    nix::unistd::mkfifo(&place.path("tmp/pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    chown(place.path("tmp/pipe"), Some(ALICE), None).unwrap();
    assert_eq!(
        place.found(),
        [
            "four",
            "srv/deep/er/two",
            "tmp/five",
            "tmp/five/six",
            "tmp/link",
            "tmp/new\\nline\\u{1b}[2J\u{fffd}",
            "tmp/one",
            "tmp/pipe",
            "tmp/shell (setuid)",
            "var/spool/three"
        ]
    );
    assert!(place.path("tmp/bobs").exists() && place.path("srv/deep/er").exists());
}

#[test]
fn files_of_others_in_a_folder_of_theirs_stay() {
    let Some(place) = Place::new() else { return };
    place.folder("tmp/shared/inner", ALICE);
    place.folder("tmp/shared", ALICE);
    place.file("tmp/shared/bobs", BOB);
    place.file("tmp/shared/alices", ALICE);
    fs::set_permissions(place.path("tmp/shared"), Permissions::from_mode(0o2777)).unwrap();
    assert_eq!(
        place.found(),
        [
            "tmp/shared, a folder that holds files of others: it is root's now",
            "tmp/shared/alices",
            "tmp/shared/inner"
        ]
    );
    let meta = fs::metadata(place.path("tmp/shared")).unwrap();
    assert_eq!((meta.uid(), meta.gid(), meta.mode() & 0o7777), (0, 0, 0o755));
    assert_eq!(fs::metadata(place.path("tmp/shared/bobs")).unwrap().uid(), BOB);
}

#[test]
fn a_group_of_theirs_is_nobodys() {
    let Some(place) = Place::new() else { return };
    place.folder("srv", 0);
    place.file("srv/tool", BOB);
    chown(place.path("srv"), None, Some(ALICE)).unwrap();
    chown(place.path("srv/tool"), None, Some(ALICE)).unwrap();
    fs::set_permissions(place.path("srv"), Permissions::from_mode(0o2775)).unwrap();
    fs::set_permissions(place.path("srv/tool"), Permissions::from_mode(0o6755)).unwrap();
    assert_eq!(place.found(), ["srv (its group)", "srv/tool (its group)"]);
    let seen = |path: &str| {
        fs::metadata(place.path(path)).map(|meta| (meta.uid(), meta.gid(), meta.mode() & 0o7777))
    };
    assert_eq!(seen("srv").unwrap(), (0, 0, 0o775));
    assert_eq!(seen("srv/tool").unwrap(), (BOB, 0, 0o4755), "what its owner lets others do stays");
}

#[test]
fn access_lists_of_others_name_them_no_longer() {
    let Some(place) = Place::new() else { return };
    place.folder("srv/bobs", BOB);
    for file in ["srv/bobs/file", "srv/file"] {
        place.file(file, BOB);
        xattr::set(place.path(file), acl::ACCESS, &list(ALICE, 6, 7, 5)).unwrap();
        assert_eq!(fs::metadata(place.path(file)).unwrap().mode() & 0o070, 0o050, "the mask, that is");
    }
    xattr::set(place.path("srv"), acl::DEFAULT, &list(ALICE, 7, 5, 7)).unwrap();
    place.file("bobs-friend", BOB);
    xattr::set(place.path("bobs-friend"), acl::ACCESS, &list(BOB, 6, 0, 6)).unwrap();
    assert_eq!(
        place.found(),
        ["srv (its access list)", "srv/bobs/file (its access list)", "srv/file (its access list)"]
    );
    for file in ["srv/bobs/file", "srv/file"] {
        assert_eq!(xattr::get(place.path(file), acl::ACCESS).unwrap(), None);
        assert_eq!(fs::metadata(place.path(file)).unwrap().mode() & 0o777, 0o650, "no more than before");
    }
    assert_eq!(xattr::get(place.path("srv"), acl::DEFAULT).unwrap(), None);
    assert!(xattr::get(place.path("bobs-friend"), acl::ACCESS).unwrap().is_some());
}

#[test]
fn a_tree_of_any_depth_is_walked_with_few_open_files() {
    let Some(place) = Place::new() else { return };
    place.folder("tmp/deep", ALICE);
    place.folder("tmp/wide", ALICE);
    // Built upwards: each round puts what there is one level deeper, as a path could not name the bottom.
    for depth in 0..5_000 {
        place.folder("tmp/outer", ALICE);
        if depth % 5 == 0 {
            place.file("tmp/outer/file", ALICE);
        }
        fs::rename(place.path("tmp/deep"), place.path("tmp/outer/deep")).unwrap();
        fs::rename(place.path("tmp/outer"), place.path("tmp/deep")).unwrap();
    }
    (0..10_000).for_each(|number| place.file(&format!("tmp/wide/{number}"), ALICE));
    (0..300).for_each(|number| place.folder(&format!("tmp/wide/folder-{number}"), ALICE));
    let open = || fs::read_dir("/proc/self/fd").unwrap().count();
    let before = open();
    let Cleared { found, unswept } = place.sweep();
    assert_eq!((found.len(), unswept.len()), (5_001 + 1_000 + 1 + 10_000 + 300, 0));
    assert!(open() < before + 64, "other tests open some, too");
    assert_eq!(fs::read_dir(place.path("tmp")).unwrap().count(), 0);
    let longest = found.iter().map(|found| found.what.chars().count()).max();
    assert!(longest.is_some_and(|longest| longest < 400), "{longest:?}");
}

#[test]
fn mounts_and_links_are_not_followed() {
    let Some(place) = Place::new() else { return };
    let elsewhere = TempDir::new().unwrap();
    let precious = elsewhere.path().join("precious");
    File::create(&precious).unwrap();
    chown(&precious, Some(ALICE), None).unwrap();
    place.folder("tmp/mine/point", ALICE);
    place.folder("tmp/mine", ALICE);
    symlink(elsewhere.path(), place.path("tmp/mine/link")).unwrap();
    let none: Option<&str> = None;
    let (point, bind) = (place.path("tmp/mine/point"), nix::mount::MsFlags::MS_BIND);
    let walk = |sweep: &mut Sweep| walk::walk(sweep, &place.path("tmp"));
    let mut sweep =
        Sweep { uids: vec![ALICE], seen: HashSet::new(), left: None, cleared: Cleared::default() };
    if nix::mount::mount(Some(elsewhere.path()), &point, none, bind, none).is_err() {
        return; // this test itself may not mount here
    }
    walk(&mut sweep).unwrap();
    nix::mount::umount(&point).unwrap();
    assert!(precious.exists(), "{:?}", sweep.cleared);
    assert_eq!(place.found(), ["tmp/mine/point"], "which could not be seen before");
    assert!(precious.exists());
}

#[test]
fn a_folder_stays_theirs_while_something_in_it_cannot_be_removed() {
    let Some(place) = Place::new() else { return };
    place.folder("tmp/mine", ALICE);
    place.file("tmp/mine/file", ALICE);
    let (none, bind): (Option<&str>, _) = (None, nix::mount::MsFlags::MS_BIND);
    let file = place.path("tmp/mine/file");
    if nix::mount::mount(Some(&file), &file, none, bind, none).is_err() {
        return; // this test itself may not mount here
    }
    let Cleared { found, .. } = place.sweep();
    nix::mount::umount(&file).unwrap();
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found[0].removed.as_ref().is_err_and(|why| why.contains("mounted there")), "{found:?}");
    assert!(found[1].removed.is_err() && found[1].what.ends_with("tmp/mine"), "{found:?}");
    assert_eq!(place.found(), ["tmp/mine", "tmp/mine/file"]);
}

#[test]
fn folders_beyond_what_is_remembered_are_looked_into_later() {
    let Some(place) = Place::new() else { return };
    (0..350).for_each(|number| place.folder(&format!("tmp/{number}/inner"), 0));
    (0..350).for_each(|number| place.file(&format!("tmp/{number}/inner/file"), ALICE));
    (0..350).for_each(|number| place.folder(&format!("var/tmp/all/{number}"), ALICE));
    let Cleared { found, unswept } = place.sweep();
    assert!(
        unswept.len() == 1 && unswept[0].ends_with("tmp: too many folders to look into all of them"),
        "{unswept:?}"
    );
    assert!((100..700).contains(&found.len()), "{}", found.len());
    assert_eq!(fs::read_dir(place.path("var/tmp/all")).map_or(0, Iterator::count), 0);
}

#[test]
fn what_is_not_looked_at_is_said() {
    let Some(place) = Place::new() else { return };
    fs::create_dir_all(place.path("tmp")).unwrap();
    fs::create_dir_all(place.path("srv")).unwrap();
    (0..100).for_each(|number| place.file(&format!("tmp/{number}"), ALICE));
    (0..100).for_each(|number| place.file(&format!("srv/{number}"), ALICE));
    let budget = Budget { entries: 50, time: Duration::from_secs(1_000) };
    let Cleared { found, unswept } = sweep(place.0.path(), &[alice()], budget).unwrap();
    assert_eq!(unswept.len(), 1, "{unswept:?}");
    assert!(unswept[0].ends_with(": there are more files than are looked at in one sweep"), "{unswept:?}");
    assert!((100..150).contains(&found.len()), "{}", found.len());
    assert_eq!(place.sweep().unswept, Vec::<String>::new());
    assert_eq!(place.sweep(), Cleared::default());
}

#[test]
fn kinds_of_file_systems() {
    let mount = |point: &str, kind: &str, read_only| Mount {
        root: "/".into(),
        point: point.into(),
        kind: kind.into(),
        read_only,
        user: None,
    };
    let mounts = [
        mount("/", "ext4", false),
        mount("/home", "nfs4", false),
        mount("/usr", "ext4", true),
        mount("/srv", "ext4", false),
        mount("/srv", "proc", false),
        mount("/mnt", "fuse.sshfs", false),
        mount("/mnt/in", "ext4", false),
        mount("/home/here", "xfs", false),
    ];
    let readable = |place: &str| {
        let place = Path::new(place);
        obstacle(place, &mounts).is_none() && !is_read_only(place, &mounts)
    };
    for place in ["/", "/tmp", "/home/here/too", "/home2"] {
        assert!(readable(place), "{place}");
    }
    for place in ["/home", "/home/alice", "/usr", "/srv", "/mnt/in/side"] {
        assert!(!readable(place), "{place}");
    }
}
