//! Machines that have nothing but SSH, visited by the server: what a first visit costs, a visit over the connection that
//! was kept, and one over a new connection; beside others who come over SSH.

use crate::ansible::{Ansible, Mitogen, Program, Tuning};
use crate::hosts::{Host, Hosts, each};
use crate::others::{Bare, Pyinfra};
use crate::rounds::{MADE, REMOVED, Row, Size, Way, milliseconds, rows, table};
use crate::{IMAGE, ask};
use futures_util::future::BoxFuture;
use model::phase::Phase;
use model::wire::{ReservationCreate, ReservationView};
use serde_json::json;
use std::process::Command;
use tests::container::given;
use tests::real::{RealFarm, inside};

const MACHINES: u8 = 50;
/// Nearly all of the time is the others', on many machines.
const SIZES: [Size; 3] = [
    Size { machines: 1, rounds: 5 },
    Size { machines: 10, rounds: 5 },
    Size { machines: MACHINES as usize, rounds: 3 },
];
/// The place of 10 machines in the above.
const TEN: usize = 1;

pub(crate) async fn tables() -> String {
    let alone = alone().await;
    let together = together().await;
    format!("{alone}\n{together}")
}

/// Before there is Python: every file is one that cleaning looks at.
async fn alone() -> String {
    let (farm, hosts) = start(IMAGE, "bare").await;
    let mut ways = berth(&farm, &hosts);
    let rows = rows(&mut ways, &SIZES).await;
    let [first, later] = [1, 0].map(|row: usize| milliseconds(rows[row].times[TEN].create));
    let mut text = include_str!("visits.md").to_owned();
    for (mark, value) in [
        ("{first}", format!("{first:.0}")),
        ("{later}", format!("{later:.0}")),
        ("{rounds}", SIZES[TEN].rounds.to_string()),
        ("{most}", MACHINES.to_string()),
        ("{most_rounds}", SIZES[TEN + 1].rounds.to_string()),
    ] {
        text = text.replace(mark, &value);
    }
    both(&mut text, &rows);
    text
}

/// All ways in one run, on machines that have the Python that Ansible needs.
async fn together() -> String {
    let program = Program::find().filter(|_| is_made_with_python());
    let image = if program.is_some() { WITH_PYTHON } else { IMAGE };
    let (farm, hosts) = start(image, "all").await;
    let mitogen = program.as_ref().and_then(Program::mitogen);
    let pyinfra = Pyinfra::find(&hosts);
    let mut text = others(program.as_ref(), mitogen.as_ref(), pyinfra.as_ref());
    let mut ways = berth(&farm, &hosts);
    if let Some(program) = &program {
        ways.push(Box::new(Ansible::new(program, &hosts, Tuning::Tuned)));
        if let Some(mitogen) = &mitogen {
            ways.push(Box::new(Ansible::new(program, &hosts, Tuning::Mitogen(mitogen))));
        }
    }
    if let Some(pyinfra) = pyinfra {
        ways.push(Box::new(pyinfra));
    }
    ways.push(Box::new(Bare::new(&hosts)));
    let rows = rows(&mut ways, &SIZES).await;
    both(&mut text, &rows);
    text
}

fn both(text: &mut String, rows: &[Row]) {
    table(text, MADE, &SIZES, rows);
    table(text, REMOVED, &SIZES, rows);
}

fn others(program: Option<&Program>, mitogen: Option<&Mitogen>, pyinfra: Option<&Pyinfra<'_>>) -> String {
    let none = "none in this run";
    let mut text = include_str!("visits_others.md").to_owned();
    for (mark, version) in [
        ("{ansible}", program.map(|found| &found.version)),
        ("{mitogen}", mitogen.map(|found| &found.version)),
        ("{pyinfra}", pyinfra.map(|found| &found.version)),
    ] {
        text = text.replace(mark, version.map_or(none, String::as_str));
    }
    text
}

const WITH_PYTHON: &str = "berth-bench-python";

/// Once for all machines; a second run finds it made. Says so if it cannot be.
fn is_made_with_python() -> bool {
    let mut docker = Command::new("docker");
    docker.args(["build", "-q", "--network", "host", "-t", WITH_PYTHON, "-"]);
    let built = given(&mut docker, format!("FROM {IMAGE}\n{INSTALL_PYTHON}\n").as_bytes());
    if !built.status.success() {
        let why = String::from_utf8_lossy(&built.stderr);
        eprintln!("no image with Python could be made, so there will be no rows of Ansible: {why}");
    }
    built.status.success()
}

const INSTALL_PYTHON: &str = "RUN apt-get update -q && apt-get install -q -y --no-install-recommends python3";

/// A server that has registered all of these, and has seen them.
async fn start(image: &str, kind: &str) -> (RealFarm, Hosts) {
    let farm = RealFarm::start("release").await;
    eprintln!("making {MACHINES} containers of {image}");
    let prefix = format!("bench{}-{kind}", std::process::id());
    let hosts = Hosts::start(image, &prefix, MACHINES, farm.folder.path()).await;
    let key = std::fs::read_to_string(&hosts.key).unwrap();
    for Host { name, address, port } in &hosts.all {
        let host_key = inside(name, "cat /etc/ssh/ssh_host_ed25519_key.pub");
        let ssh = json!({"private_key": key, "host_key": host_key.trim()});
        let body = json!({"name": name, "host": address, "port": port, "ssh": ssh});
        let (status, made) = farm.send("POST", "/v1/machines", &body).await;
        assert_eq!(status, 201, "{made}");
    }
    for host in &hosts.all {
        farm.machine_is(&host.name, "free").await;
    }
    (farm, hosts)
}

/// In this order, each finds that the one before has just visited the machines: the server does not come by on its own
/// while they are prepared.
fn berth<'a>(farm: &'a RealFarm, hosts: &'a Hosts) -> Vec<Box<dyn Way + 'a>> {
    let kinds = [Visit::Later, Visit::First, Visit::NewConnection];
    kinds.map(|visit| Box::new(Berth { farm, hosts, visit, reservation: None }) as Box<dyn Way>).into()
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Visit {
    /// Connection and agent are there.
    Later,
    /// Neither is.
    First,
    /// The agent is.
    NewConnection,
}

struct Berth<'a> {
    farm: &'a RealFarm,
    hosts: &'a Hosts,
    visit: Visit,
    reservation: Option<ReservationView>,
}

impl Berth<'_> {
    /// An address that is given anew, though it is the same, ends the kept connection.
    async fn hang_up(&self, hosts: &[Host]) {
        for Host { name, port, .. } in hosts {
            let (status, answer) =
                self.farm.send("PATCH", &format!("/v1/machines/{name}"), &json!({"port": port})).await;
            assert_eq!(status, 200, "{answer}");
        }
    }
}

impl Way for Berth<'_> {
    fn name(&self) -> &'static str {
        match self.visit {
            Visit::Later => "Berth, later",
            Visit::First => "Berth, first contact",
            Visit::NewConnection => "Berth, later, new connection",
        }
    }

    fn prepare(&mut self, count: usize) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            let hosts = &self.hosts.all[..count];
            if self.visit != Visit::Later {
                self.hang_up(hosts).await;
            }
            let clear = if self.visit == Visit::First { CLEAR } else { "" };
            let prepared = each(hosts, |host| inside(&host.name, &format!("{clear}{PREPARE}")));
            assert!(prepared.iter().all(|said| said == "prepared\n"), "{prepared:?}");
        })
    }

    fn create(&mut self, count: usize) -> BoxFuture<'_, Vec<Host>> {
        Box::pin(async move {
            let hosts = &self.hosts.all[..count];
            let machines = hosts.iter().map(|host| host.name.clone()).collect();
            let body = ReservationCreate { machines, count: None, ..ask(1) };
            let reservation = self.farm.reserve(&body).await;
            assert_eq!(reservation.phase, Phase::Ready, "{reservation:?} {}", self.farm.log());
            self.reservation = Some(reservation);
            hosts.to_vec()
        })
    }

    fn assert_so(&self, hosts: &[Host]) {
        let (log_ins, is_new) = match self.visit {
            Visit::Later => (0, false),
            Visit::First => (1, true),
            Visit::NewConnection => (1, false),
        };
        let seen = each(hosts, |host| inside(&host.name, SEEN));
        let wanted = format!("{log_ins} {}\n", u8::from(is_new));
        assert!(seen.iter().all(|seen| *seen == wanted), "{}: {seen:?}", self.name());
    }

    fn delete(&mut self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            let ended = self.farm.release(self.reservation.take().unwrap().id).await;
            assert_eq!(ended.phase, Phase::Ended, "{ended:?} {}", self.farm.log());
        })
    }
}

/// As if we had never been there. The watcher of the account that was there last ends by itself.
const CLEAR: &str = "timeout 20 sh -c 'while pgrep berth-agent >/dev/null; do sleep 0.05; done' &&
    rm -rf /var/lib/berth /usr/local/lib/berth /opt/berth && ";
/// How often root has logged in so far.
const PREPARE: &str = "grep -c 'Accepted publickey for root' /run/sshd.log >/run/log_ins; echo prepared";
/// How often since, and how many agents were put there.
const SEEN: &str = "now=$(grep -c 'Accepted publickey for root' /run/sshd.log)
    echo $((now - $(cat /run/log_ins))) $(find /var/lib/berth/bin -type f -newer /run/log_ins | wc -l)";
