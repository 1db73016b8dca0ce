//! The agent is killed at its Nth system call, or that call fails: while it makes an account, and while it takes one
//! away. Two visits later all is well, and nothing of anybody else's has changed.

use super::traces::look;
use crate::is_long;
use model::report::{AccountState, Report};
use model::spec::{AccountSpec, Spec};
use std::collections::BTreeMap;
use std::fs;
use std::panic::resume_unwind;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use tests::container::{Container, account, eventually, fed, given_alone, said, spec, visit};
use tests::inventory::{Inside, Inventory};

/// Whatever changes something, or is needed for it.
const CALLS: &str = "rename,renameat,renameat2,link,linkat,unlink,unlinkat,rmdir,fsync,fdatasync,sync_file_range,open,\
    openat,openat2,write,pwrite64,writev,mkdir,mkdirat,chown,fchown,fchownat,lchown,chmod,fchmod,fchmodat,symlinkat,\
    fsetxattr,setxattr,removexattr,fremovexattr,lremovexattr,fallocate,ftruncate,umount2,clone,clone3,fork,vfork,msgctl,\
    getdents64";
const ERRORS: [&str; 4] = ["error=ENOSPC", "error=EIO", "error=EINTR", "error=EACCES"];
/// In the short form so many points of each call.
const KILLS_OF_EACH: usize = 4;
/// Where an account is made.
const WATCHED: [&str; 4] = ["etc", "home", "tmp", "var/mail"];
const AGENT: &str = "/usr/local/sbin/berth-agent";
const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f me@here";
const HASH: &str = "$6$abcdefgh$0123456789012345678901234567890123456789";

#[test]
fn killed_at_any_call_an_agent_on_debian_recovers() {
    kill_everywhere("berth-debian");
}

#[test]
fn killed_at_any_call_an_agent_on_alpine_recovers() {
    kill_everywhere("berth-alpine");
}

/// In the long form on as many machines as there are cores, each of which takes its share of the points.
fn kill_everywhere(image: &'static str) {
    let shares = if is_long() { thread::available_parallelism().unwrap().get() } else { 1 };
    let points = Bench::new(image).points();
    let [creating, cleaning] = points.each_ref().map(Vec::len);
    eprintln!("{image}: {creating} and {cleaning} points");
    let kills = thread::scope(|scope| {
        let work = |share| {
            let share = points.each_ref().map(|points| points.iter().skip(share).step_by(shares));
            scope.spawn(|| Bench::new(image).work(share))
        };
        let begun: Vec<_> = (0..shares).map(work).collect();
        begun
            .into_iter()
            .map(|work| work.join().unwrap_or_else(|panic| resume_unwind(panic)))
            .collect::<Vec<_>>()
    });
    let sum = |of: fn(&Kills) -> u32| kills.iter().map(of).sum::<u32>();
    let (meant, hit) = (sum(|kills| kills.meant), sum(|kills| kills.hit));
    // No two runs make quite the same calls.
    assert!(hit * 10 >= meant * 9, "killed {hit} times of {meant}");
    println!(
        "{image}: {creating} points of creating, {cleaning} of cleaning, killed {hit} times, 0 unrecoverable"
    );
}

/// How often the agent was to be killed, and was.
#[derive(Default)]
struct Kills {
    meant: u32,
    hit: u32,
}

/// What is to happen at which call: `when` counts those of one name.
#[derive(Debug, Clone)]
struct Point {
    call: String,
    when: usize,
    what: &'static str,
}

struct Bench {
    container: Container,
    before: Inventory,
    generation: u64,
    uid: u32,
    kills: Kills,
}

impl Bench {
    fn new(image: &'static str) -> Self {
        let container = Container::idle(image, &[]);
        container.run(
            "mkdir -p /var/spool/cron/crontabs; touch /etc/subuid /etc/subgid
            for file in passwd shadow group subuid; do cp -p /etc/$file /etc/$file-; done",
        );
        let mut bench = Self {
            container,
            before: Inventory::default(),
            generation: 0,
            uid: 66_000,
            kills: Kills::default(),
        };
        // The first visit leaves what every machine with an agent has.
        bench.visit(&bench.spec(true));
        bench.generation += 1;
        bench.visit(&bench.spec(false));
        bench.next();
        bench.before = Inventory::take(&bench.container.path("/"), &[]);
        bench
    }

    fn work<'a>(mut self, [mut creating, mut cleaning]: [impl Iterator<Item = &'a Point>; 2]) -> Kills {
        loop {
            match (creating.next(), cleaning.next()) {
                (None, None) => return self.kills,
                (creating, cleaning) => self.round(creating, cleaning),
            }
        }
    }

    /// Each goes on from where the one before left off.
    fn round(&mut self, creating: Option<&Point>, cleaning: Option<&Point>) {
        let wanted = self.spec(true);
        let first = self.hurt(&wanted, creating);
        let made = self.recover(&wanted, is_ready);
        assert!(made.is_some() && self.is_whole(), "{creating:?}: {:?} {first:?}", self.visit(&wanted));
        self.no_stranger_is_hurt(creating);
        let mut process = self.litter();
        self.generation += 1;
        let unwanted = self.spec(false);
        let first = self.hurt(&unwanted, cleaning);
        let gone = self.recover(&unwanted, |report| report.accounts.is_empty() && report.problems.is_empty());
        assert!(gone.is_some(), "{cleaning:?}: {:?} {first:?}", self.visit(&unwanted));
        let (left, mut now) = look(&self.container, "alice", self.uid);
        self.overlook_stale_locks(&mut now);
        let changed = now.differences(&self.before);
        assert!(
            left.is_empty() && changed.is_empty(),
            "{cleaning:?}: {left:?} {changed:?} {first:?} {gone:?}"
        );
        process.wait().unwrap();
        self.next();
    }

    /// At most two visits.
    fn recover(&self, spec: &Spec, is_well: impl Fn(&Report) -> bool) -> Option<Report> {
        (0..2).find_map(|_| self.visit(spec).filter(|report| is_well(report)))
    }

    fn visit(&self, spec: &Spec) -> Option<Report> {
        serde_json::from_slice(&fed(self.container.enter(&[]).args([AGENT, "once"]), Some(spec)).stdout).ok()
    }

    /// The watcher that such a visit leaves is hurt at the same point of its own.
    fn hurt(&mut self, spec: &Spec, point: Option<&Point>) -> Option<Output> {
        let Point { call, when, what } = point?;
        let mut strace = Command::new("strace");
        strace.args(["-D", "-f", "-qq", "-o", "/dev/null", "-e", &format!("trace={call}")]);
        strace.args(["-e", &format!("inject={call}:{what}:when={when}")]);
        let output = given_alone(self.inside(&mut strace), &visit(spec));
        if what.contains("KILL") {
            self.kills.meant += 1;
            self.kills.hit += u32::from(!output.status.success());
        }
        Some(output)
    }

    fn inside<'a>(&self, strace: &'a mut Command) -> &'a mut Command {
        strace.args(["nsenter", "-t", &self.container.pid.to_string(), "-a", AGENT, "once"])
    }

    fn next(&mut self) {
        self.generation += 1;
        self.uid += 1;
    }

    fn spec(&self, wanted: bool) -> Spec {
        let alice = AccountSpec {
            ssh_keys: vec![KEY.parse().unwrap()],
            password_hash: Some(HASH.parse().unwrap()),
            sudo: true,
            ..account("alice", self.uid)
        };
        spec(self.generation, if wanted { vec![alice] } else { vec![] })
    }

    /// Judged by the machine, not by the report.
    fn is_whole(&self) -> bool {
        let read = |path: &str| fs::read_to_string(self.container.path(path)).unwrap_or_default();
        let uid = self.uid;
        let keys = read("/home/alice/.ssh/authorized_keys") + &read("/etc/ssh/berth-keys/alice");
        let has =
            |path: &str, start: &str| read(path).lines().filter(|line| line.starts_with(start)).count() == 1;
        has("/etc/passwd", &format!("alice:x:{uid}:{uid}:"))
            && has("/etc/shadow", &format!("alice:{HASH}:"))
            && has("/etc/group", &format!("alice:x:{uid}:"))
            && has("/etc/sudoers.d/berth-alice", "alice ")
            && keys.contains(KEY)
    }

    fn no_stranger_is_hurt(&self, point: Option<&Point>) {
        let mut now = Inventory::below(&self.container.path("/"), &WATCHED, &[]);
        self.overlook_stale_locks(&mut now);
        let own = ["home/alice", "etc/sudoers.d/berth-alice", "etc/ssh/berth-keys/alice", "etc/motd"];
        let files = ["etc/passwd", "etc/shadow", "etc/group", "etc/gshadow"];
        let is_own = |path: &str| own.iter().any(|place| path.starts_with(place)) || files.contains(&path);
        let is_watched =
            |path: &Path| WATCHED.iter().any(|place| path.starts_with(place) && path != Path::new(place));
        let mut before = self.before.clone();
        before.0.retain(|path, _| is_watched(path));
        let mut strange = now.differences(&before);
        strange.retain(|path| !is_own(&path.to_string_lossy()));
        assert!(strange.is_empty(), "{point:?}: {strange:?}");
        for file in files {
            let Ok(text) = fs::read_to_string(self.container.path(file)) else { continue };
            let theirs: String =
                text.split_inclusive('\n').filter(|line| !line.starts_with("alice:")).collect();
            let before = self.before.0.get(Path::new(file)).map(|entry| &entry.inside);
            assert_eq!(before, Some(&Inside::Text(theirs.into_bytes())), "{point:?}: {file}");
        }
    }

    /// One that was killed last of all leaves them to whoever edits the files next, who sees that their owner is dead.
    fn overlook_stale_locks(&self, now: &mut Inventory) {
        now.0.retain(|path, entry| match &entry.inside {
            Inside::Text(owner)
                if path.starts_with("etc") && path.extension().is_some_and(|end| end == "lock") =>
            {
                let pid = String::from_utf8_lossy(owner);
                self.container.path(&format!("/proc/{pid}/stat")).exists()
            }
            _ => true,
        });
    }

    /// Returns a process of the account's.
    fn litter(&self) -> Child {
        let uid = self.uid.to_string();
        let script = format!(
            "echo '* * * * * id' >/var/spool/cron/crontabs/alice; echo mail >/var/mail/alice
            mkdir -p /tmp/d/e; cp /bin/sh /tmp/d/e/sh; chmod 4755 /tmp/d/e/sh; ln -s /etc /tmp/d/link
            echo alice:100000:65536 >>/etc/subuid; cp -p /etc/passwd /etc/passwd-; cp -p /etc/shadow /etc/shadow-
            chown -hR {uid}:{uid} /tmp/d /var/mail/alice"
        );
        self.container.run(&script);
        let mut ipcmk = self.container.lend(&["-i"]);
        ipcmk.args(["setpriv", "--reuid", &uid, "--regid", &uid, "--clear-groups", "ipcmk", "-Q"]);
        said(&mut ipcmk);
        let mut sleep = self.container.enter(&["-S", &uid, "-G", &uid]);
        let process = sleep.args(["sleep", "9999"]).stdout(Stdio::null()).spawn().unwrap();
        // It becomes the account's only after it has begun, and the agent is to find it.
        eventually("a process of the account's", || !self.container.processes(self.uid).is_empty());
        process
    }

    /// Of creating and of cleaning: how often each call is made is found out once.
    fn points(&mut self) -> [Vec<Point>; 2] {
        let creating = self.counted(&self.spec(true));
        let mut process = self.litter();
        self.generation += 1;
        let cleaning = self.counted(&self.spec(false));
        process.wait().unwrap();
        self.next();
        [creating, cleaning].map(|counts| points(&counts))
    }

    /// From the call after the agent has begun up to its last one.
    fn counted(&self, spec: &Spec) -> BTreeMap<String, (usize, usize)> {
        let log = tempfile::NamedTempFile::new().unwrap();
        let mut strace = Command::new("strace");
        strace.args(["-D", "-f", "-qq", "-e", &format!("trace=execve,{CALLS}"), "-o"]).arg(log.path());
        let output = given_alone(self.inside(&mut strace), &visit(spec));
        assert!(output.status.success(), "{output:?}");
        count(&fs::read_to_string(log.path()).unwrap())
    }
}

fn is_ready(report: &Report) -> bool {
    report.accounts.iter().all(|account| account.state == AccountState::Ready) && report.accounts.len() == 1
}

/// Lines are `PID  call(…`. Each process counts for itself.
fn count(log: &str) -> BTreeMap<String, (usize, usize)> {
    let lines = log.lines().filter_map(|line| line.split_once(' '));
    let calls: Vec<(&str, &str, &str)> = lines
        .filter_map(|(pid, rest)| rest.trim_start().split_once('(').map(|(call, rest)| (pid, call, rest)))
        .collect();
    let is_visit = |(_, call, rest): &(&str, &str, &str)| {
        *call == "execve" && rest.starts_with(&format!("{AGENT:?}")) && rest.contains("\"once\"]")
    };
    let began = calls.iter().position(is_visit).expect("an agent is started");
    let (agent, ..) = calls[began];
    let mut counts: BTreeMap<String, (usize, usize)> = BTreeMap::new();
    for (at, (pid, call, _)) in calls.iter().enumerate() {
        if *pid != agent
            || *call == "execve"
            || call.contains(|letter: char| !letter.is_alphanumeric() && letter != '_')
        {
            continue;
        }
        let (before, all) = counts.entry((*call).to_owned()).or_default();
        *all += 1;
        *before += usize::from(at < began);
    }
    counts
}

fn points(counts: &BTreeMap<String, (usize, usize)>) -> Vec<Point> {
    let mut points = Vec::new();
    for (call, (before, all)) in counts {
        let count = all - before;
        let spread = |most: usize| {
            let most = most.min(count);
            (0..most).map(move |number| before + 1 + number * count / most)
        };
        let (kills, errors) = if is_long() { (count, 20) } else { (KILLS_OF_EACH, 2) };
        let point = |when, what| Point { call: call.clone(), when, what };
        points.extend(spread(kills).map(|when| point(when, "signal=KILL")));
        let errors = spread(errors).flat_map(|when| ERRORS.map(|what| point(when, what)));
        // In the short form another one for each call.
        let step = if is_long() { 1 } else { 3 };
        points.extend(errors.skip(points.len() % step).step_by(step));
    }
    points
}
