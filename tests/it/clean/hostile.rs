//! A tenant does all that a tenant can do, and what root's programs do in a tenant's name is done as well: fifty times
//! on each distribution, nothing of it is left, and the next one inherits nothing.

use super::traces::{Traces, look};
use model::cleaning::Residue;
use model::report::{AccountState, EndsBy, Report};
use model::spec::AccountSpec;
use std::collections::BTreeSet;
use std::fs::File;
use std::os::unix::fs::chown;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use tests::container::{Container, account, eventually, given, now, said, spec};
use tests::inventory::Inventory;

const RUNS: u32 = 50;
/// In so many of them it is made sure that there is something to clean.
const CHECKED: u32 = 8;
/// One in so many ends by itself, and the others are released.
const EXPIRES: u32 = 7;
/// Long enough for a visit.
const SOON: Duration = Duration::from_secs(3);
/// The same name again, and another one's.
const NAMES: [&str; 4] = ["alice", "alice", "bob", "carol-2"];
const TENANT: &str = include_str!("hostile.sh");
const ROOT: &str = include_str!("root.sh");
/// To be found before, so that finding nothing afterwards says something.
const KINDS: [&str; 14] = [
    "acl",
    "at",
    "backup",
    "connection",
    "cron",
    "entry",
    "file",
    "home",
    "ipc",
    "linger",
    "mail",
    "process",
    "runtime",
    "setuid",
];
const REPORTED: [Residue; 12] = [
    Residue::Process,
    Residue::Key,
    Residue::Cron,
    Residue::At,
    Residue::Linger,
    Residue::Ipc,
    Residue::Home,
    Residue::Mail,
    Residue::Entry,
    Residue::Backup,
    Residue::File,
    Residue::Acl,
];

#[test]
fn whatever_a_tenant_leaves_on_debian_is_gone() {
    fifty_tenants("berth-debian");
}

#[test]
fn whatever_a_tenant_leaves_on_alpine_is_gone() {
    fifty_tenants("berth-alpine");
}

/// One machine with FUSE, where a tenant may mount, and one with nothing but what an engine allows by itself.
fn fifty_tenants(image: &str) {
    let fuse = ["--cap-add", "SYS_ADMIN", "--device", "/dev/fuse"];
    let mut stages = [Stage::new(image, &fuse), Stage::new(image, &[])];
    for run in 0..RUNS {
        let stage = &mut stages[run as usize % 2];
        stage.play(run);
    }
    println!("{image}: {RUNS} of {RUNS} tenants left nothing of {} kinds", KINDS.len() + 2);
}

/// Answers never come while these are open.
struct Hanging {
    _devices: [File; 2],
    waits: Child,
}

struct Stage {
    container: Container,
    has_fuse: bool,
    before: Inventory,
    folder: tempfile::TempDir,
    port: u16,
    generation: u64,
}

/// Places that the packages of cron, at and systemd bring along, and files of others.
const SETTING: &str = "mkdir -p /var/spool/cron/crontabs /var/spool/cron/atjobs /var/spool/cron/atspool
    mkdir -p /var/lib/systemd/linger /run/user /run/mount /srv/shared /srv/open /srv/grouped
    echo '0 0 * * * true' >/var/spool/cron/crontabs/daemon; chown 1 /var/spool/cron/crontabs/daemon
    echo true >/var/spool/cron/atjobs/a1; chown 1 /var/spool/cron/atjobs/a1
    echo kept >/srv/shared/file; chmod 640 /srv/shared/file; echo kept >/srv/plain; chmod 1777 /srv/open
    chmod 775 /srv/grouped; touch /etc/subuid /etc/subgid; echo other:500000:65536 >>/etc/subuid
    for file in passwd shadow group gshadow subuid subgid; do
        if [ -e /etc/$file ]; then cp -p /etc/$file /etc/$file-; fi
    done";

impl Stage {
    fn new(image: &str, flags: &[&str]) -> Self {
        let container = Container::start(image, flags);
        container.run(SETTING);
        acl(&container, "u:65534:r", "/srv/shared/file");
        let folder = tempfile::tempdir().unwrap();
        let key = folder.path().join("key");
        said(Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(&key));
        let (port, has_fuse) = (container.ssh_port(), !flags.is_empty());
        let before = Inventory::take(&container.path("/"), &[]);
        Self { container, has_fuse, before, folder, port, generation: 0 }
    }

    fn play(&mut self, run: u32) {
        let (name, uid) = (NAMES[(run / 2) as usize % NAMES.len()], 66_000 + run);
        let alice =
            AccountSpec { ssh_keys: vec![self.key()], sudo: run.is_multiple_of(3), ..account(name, uid) };
        let report = self.visit(vec![alice.clone()]);
        assert_eq!(report.accounts[0].state, AccountState::Ready, "run {run}: {report:?}");
        self.nothing_is_inherited(name, uid);
        let mut master = self.connect(name);
        let fuse = self.misbehave(name, uid, run);
        if run < CHECKED {
            self.there_is_something_to_clean(name, uid);
        }
        let report = if run % EXPIRES == 2 { self.expire(alice) } else { self.release() };
        self.is_gone(name, uid, &report);
        eventually("the connection has ended", || master.try_wait().unwrap().is_some());
        if let Some(mut hanging) = fuse {
            assert!(!hanging.waits.wait().unwrap().success(), "it never got an answer");
        }
    }

    fn release(&mut self) -> Report {
        let report = self.visit(vec![]);
        if report.accounts.is_empty() { report } else { self.visit(vec![]) }
    }

    /// Nobody visits any more: what takes the account away is the watcher of the last visit. The next one tells of it.
    fn expire(&mut self, account: AccountSpec) -> Report {
        let not_after = now().saturating_add(SOON).unwrap();
        let report = self.visit(vec![AccountSpec { not_after, ..account }]);
        assert_eq!(report.facts.ends_by, Some(EndsBy::Watcher), "{report:?}");
        eventually("the watcher is done", || self.container.agents("watch").is_empty());
        assert!(now() >= not_after, "not before its time");
        self.container.visit(None)
    }

    fn there_is_something_to_clean(&self, name: &str, uid: u32) {
        let found = self.look(name, uid).0.with("connection", self.gets_in(name));
        let missing: Vec<_> = KINDS.iter().filter(|kind| !found.has(kind)).collect();
        assert!(missing.is_empty(), "nothing of {missing:?} to be cleaned; there is {found:?}");
    }

    fn visit(&mut self, accounts: Vec<AccountSpec>) -> Report {
        self.generation += 1;
        self.container.visit(Some(&spec(self.generation, accounts)))
    }

    fn look(&self, name: &str, uid: u32) -> (Traces, Inventory) {
        look(&self.container, name, uid)
    }

    /// Nothing on the machine has changed but what an account consists of.
    fn nothing_is_inherited(&self, name: &str, uid: u32) {
        let now = Inventory::take(&self.container.path("/"), &[]);
        let home = format!("home/{name}");
        let mut own = vec![home, format!("etc/sudoers.d/berth-{name}"), format!("etc/ssh/berth-keys/{name}")];
        let files = ["passwd", "shadow", "group", "gshadow", "subuid", "subgid", "motd"];
        own.extend(files.map(|file| format!("etc/{file}")));
        let strange = |path: &PathBuf| own.iter().all(|place| !path.starts_with(place));
        let strange: Vec<_> = now.differences(&self.before).into_iter().filter(strange).collect();
        assert!(strange.is_empty(), "{name} finds more than an account: {strange:?}");
        assert!(self.container.processes(uid).is_empty());
    }

    fn misbehave(&self, name: &str, uid: u32, run: u32) -> Option<Hanging> {
        let mut script = self.ssh(name, &[], &format!("sh -s -- {run}"));
        let output = given(&mut script, TENANT.as_bytes());
        assert!(output.stdout.ends_with(b"done\n"), "{output:?}");
        said(self.container.enter(&[]).args(["sh", "-c", ROOT, "root.sh", name, &uid.to_string()]));
        acl(&self.container, &format!("u:{uid}:rwx,d:u:{uid}:rwx,g:{uid}:x"), "/srv/shared");
        acl(&self.container, &format!("u:{uid}:rw"), "/srv/shared/file");
        acl(&self.container, &format!("u:{uid}:rwx"), "/srv/plain");
        let socket = self.container.path(&format!("/tmp/{name}.socket"));
        drop(UnixListener::bind(&socket).unwrap());
        chown(&socket, Some(uid), Some(uid)).unwrap();
        for object in [["-M", "4096"], ["-S", "2"], ["-Q", ""]] {
            let id = uid.to_string();
            let mut ipcmk = self.container.lend(&["-i"]);
            ipcmk.args(["setpriv", "--reuid", &id, "--regid", &id, "--clear-groups", "ipcmk"]);
            said(ipcmk.args(object.iter().filter(|part| !part.is_empty())));
        }
        self.has_fuse.then(|| self.mount(name, uid))
    }

    /// File systems in user space that answer nobody, not even root. Somebody waits for one of them.
    fn mount(&self, name: &str, uid: u32) -> Hanging {
        self.container.run(&format!("mkdir /tmp/{name}.mnt; chown {uid} /tmp/{name}.mnt"));
        let places = [format!("/home/{name}/mnt"), format!("/tmp/{name}.mnt")];
        let devices = places.map(|place| {
            let device = File::options().read(true).write(true).open("/dev/fuse").unwrap();
            let options = format!("fd=0,rootmode=40000,user_id={uid},group_id={uid},allow_other");
            let mut mount = self.container.lend(&["-m"]);
            mount.args(["mount", "-i", "-t", "fuse", "-o", &options, "hangs", &place]);
            said(mount.stdin(device.try_clone().unwrap()));
            device
        });
        let mut waits = self.container.enter(&["-S", &uid.to_string(), "-G", &uid.to_string()]);
        waits.args(["ls", &format!("/tmp/{name}.mnt")]).stdout(Stdio::null()).stderr(Stdio::null());
        Hanging { _devices: devices, waits: waits.spawn().unwrap() }
    }

    fn is_gone(&self, name: &str, uid: u32, report: &Report) {
        let (left, mut now) = self.look(name, uid);
        let left = left.with("connection", self.gets_in(name));
        assert!(left.is_empty(), "{name} {uid} left {left:?}; {report:?}");
        assert!(report.accounts.is_empty() && report.problems.is_empty(), "{report:?}");
        let cleaning = report.cleanings.iter().find(|cleaning| cleaning.uid == uid).expect("a record of it");
        assert!(cleaning.ended_at.is_some() && cleaning.refused.is_empty(), "{cleaning:?}");
        let reported: BTreeSet<_> = cleaning.removed.keys().copied().collect();
        let missing: Vec<_> = REPORTED.iter().filter(|kind| !reported.contains(kind)).collect();
        assert!(missing.is_empty(), "not a word about {missing:?}: {cleaning:?}");
        assert!(!self.has_fuse || reported.contains(&Residue::Mount), "{cleaning:?}");
        self.others_keep_what_is_theirs(name, &mut now);
    }

    /// A folder of the tenant's with a file of root's is root's now; everything else is as it was.
    fn others_keep_what_is_theirs(&self, name: &str, now: &mut Inventory) {
        let kept = format!("tmp/{name}.shared");
        assert_eq!(std::fs::read_to_string(self.container.path(&kept).join("kept")).unwrap(), "root's\n");
        std::fs::remove_dir_all(self.container.path(&kept)).unwrap();
        now.0.retain(|path, _| !path.starts_with(&kept));
        let changed = now.differences(&self.before);
        let was_and_is = |path| (path, self.before.0.get(path), now.0.get(path));
        assert!(changed.is_empty(), "{:?}", changed.iter().map(was_and_is).collect::<Vec<_>>());
    }

    fn key(&self) -> model::account::SshKey {
        std::fs::read_to_string(self.folder.path().join("key.pub")).unwrap().trim().parse().unwrap()
    }

    /// The master of a shared connection, which has been asked nothing for when its account ends.
    fn connect(&self, name: &str) -> Child {
        let master = self.ssh(name, &["-M", "-N"], "").spawn().unwrap();
        eventually("the master is connected", || said_yes(&mut self.ssh(name, &["-O", "check"], "")));
        master
    }

    /// Over the shared connection or a new one.
    fn gets_in(&self, name: &str) -> Vec<String> {
        if said_yes(&mut self.ssh(name, &[], "true")) {
            vec![format!("{name} is let in")]
        } else {
            Vec::new()
        }
    }

    fn ssh(&self, name: &str, flags: &[&str], command: &str) -> Command {
        let mut ssh = Command::new("ssh");
        ssh.args(["-F", "none", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null"]);
        ssh.args(["-o", "BatchMode=yes", "-o", "IdentitiesOnly=yes", "-o", "LogLevel=ERROR"]);
        ssh.arg("-i").arg(self.folder.path().join("key")).arg("-S").arg(self.folder.path().join("mux"));
        ssh.args(["-p", &self.port.to_string(), "-l", name]).args(flags).arg("127.0.0.1");
        ssh.args(Some(command).filter(|command| !command.is_empty()));
        ssh.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        ssh
    }
}

fn said_yes(command: &mut Command) -> bool {
    command.status().unwrap().success()
}

fn acl(container: &Container, entry: &str, path: &str) {
    said(Command::new("setfacl").args(["-m", entry]).arg(container.path(path)));
}
