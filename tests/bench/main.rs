//! `just bench`: how fast Berth gives and takes back, beside Ansible and bare ssh on the same containers in one run, how
//! many reservations a second it keeps, and what an agent costs. Writes docs/benchmarks.md.
//!
//! While working on one part, name it: `cargo run --release -p tests --bin bench -- machines` (or `throughput`) prints
//! that part and writes nothing.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a benchmark that cannot go on stops; it prints its tables"
)]
#![allow(clippy::disallowed_methods, reason = "it measures time")]

mod cleaning;
mod others;
mod throughput;

use futures_util::future::BoxFuture;
use model::wire::{DurationText, ReservationCreate, ReservationView};
use others::{Ansible, Bare, Hosts, Program, Tuning};
use std::fmt::Write;
use std::path::Path;
use std::time::{Duration, Instant};
use tests::real::{By, RealFarm, inside, ssh_to};

const ROUNDS: usize = 5;
const MACHINES: u32 = 10;
const IMAGE: &str = "berth-debian";
const USER: &str = "alice";
const PASSWORD: &str = "correct horse";

#[tokio::main]
async fn main() {
    match std::env::args().nth(1).as_deref() {
        None => {
            let (times, agent) = machines().await;
            let text = [times, throughput().await, agent].join("\n");
            println!("{text}");
            save(&text);
        }
        Some("machines") => {
            let (times, agent) = machines().await;
            println!("{times}\n{agent}");
        }
        Some("throughput") => println!("{}", throughput().await),
        Some(part) => {
            eprintln!("there is no part `{part}`: name `machines`, `throughput`, or nothing for all");
            std::process::exit(2);
        }
    }
}

fn save(text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("docs/benchmarks.md");
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(&path, text).unwrap();
}

/// What containers are needed for: the times, and the cost of an agent.
async fn machines() -> (String, String) {
    let farm = RealFarm::start("release").await;
    let pool = format!("bench{}", std::process::id());
    eprintln!("making {MACHINES} containers");
    farm.pool(&pool, IMAGE, MACHINES).await;
    let hosts = Hosts::open(&farm).await;
    let cleaning = cleaning::table(&farm, &hosts.all[0]).await;
    let ansible = Program::find().filter(|_| hosts.install_python());
    let mut ways: Vec<Box<dyn Way>> = vec![Box::new(Berth { farm: &farm, reservation: None })];
    if let Some(program) = &ansible {
        ways.push(Box::new(Ansible::new(program, &hosts, Tuning::Tuned)));
        ways.push(Box::new(Ansible::new(program, &hosts, Tuning::Defaults)));
    }
    ways.push(Box::new(Bare::new(&hosts)));
    let one = medians(&mut ways, 1).await;
    let ten = medians(&mut ways, MACHINES as usize).await;
    let names = ways.iter().map(|way| way.name());
    let rows: Vec<_> = names.zip(one).zip(ten).map(|((name, one), ten)| Row { name, one, ten }).collect();
    let times = [times(&rows, ansible.as_ref()), cleaning].join("\n");
    let agent = agent(&hosts);
    farm.pool(&pool, IMAGE, 0).await;
    (times, agent)
}

/// One way to have an account made on machines, and removed.
trait Way {
    fn name(&self) -> &'static str;
    /// Returns the machines on which the account is now.
    fn create(&mut self, count: usize) -> BoxFuture<'_, Vec<Host>>;
    fn delete(&mut self) -> BoxFuture<'_, ()>;
}

/// A container: its machine's name, and where its SSH server is published.
#[derive(Clone)]
struct Host {
    name: String,
    port: u16,
}

impl Host {
    fn ssh(&self, user: &str, by: &By<'_>, command: &str) -> std::process::Output {
        ssh_to("127.0.0.1", self.port, user, by, command)
    }
}

struct Berth<'a> {
    farm: &'a RealFarm,
    reservation: Option<ReservationView>,
}

impl Way for Berth<'_> {
    fn name(&self) -> &'static str {
        "Berth"
    }

    fn create(&mut self, count: usize) -> BoxFuture<'_, Vec<Host>> {
        Box::pin(async move {
            let reservation = self.farm.reserve(&ask(u32::try_from(count).unwrap())).await;
            let hosts = reservation.machines.iter();
            let hosts = hosts.map(|seat| Host { name: seat.name.to_string(), port: seat.port }).collect();
            self.reservation = Some(reservation);
            hosts
        })
    }

    fn delete(&mut self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            let ended = self.farm.release(self.reservation.take().unwrap().id).await;
            assert_eq!(ended.phase, model::phase::Phase::Ended);
        })
    }
}

fn ask(count: u32) -> ReservationCreate {
    ReservationCreate {
        username: USER.to_owned(),
        password: Some(PASSWORD.to_owned()),
        count: Some(count.into()),
        duration: Some(DurationText::Minutes(60)),
        ..ReservationCreate::default()
    }
}

#[derive(Clone, Copy)]
struct Times {
    create: Duration,
    /// From the same beginning until `ssh` has logged in to the first machine.
    login: Duration,
    delete: Duration,
}

struct Row {
    name: &'static str,
    one: Times,
    ten: Times,
}

/// Of each way, in their order. The ways take turns, so that whatever else the machine does slows all of them.
async fn medians(ways: &mut [Box<dyn Way + '_>], count: usize) -> Vec<Times> {
    let mut rounds = vec![Vec::new(); ways.len()];
    for number in 0..=ROUNDS {
        for (way, rounds) in ways.iter_mut().zip(&mut rounds) {
            let times = round(way.as_mut(), count).await;
            let shown = [times.create, times.login, times.delete].map(milliseconds);
            eprintln!(
                "round {number} of {ROUNDS}, {count} of {MACHINES} machines, {}: {shown:.0?}",
                way.name()
            );
            // The first is there to warm up.
            if number > 0 {
                rounds.push(times);
            }
        }
    }
    rounds.iter().map(|rounds| median(rounds)).collect()
}

fn median(rounds: &[Times]) -> Times {
    let median = |of: Measure| {
        let mut times: Vec<_> = rounds.iter().map(of).collect();
        times.sort();
        times[times.len() / 2]
    };
    Times { create: median(|t| t.create), login: median(|t| t.login), delete: median(|t| t.delete) }
}

async fn round(way: &mut dyn Way, count: usize) -> Times {
    let began = Instant::now();
    let hosts = way.create(count).await;
    let create = began.elapsed();
    let seen = hosts[0].ssh(USER, &By::Password(PASSWORD), "id -un");
    let login = began.elapsed();
    assert_eq!(String::from_utf8_lossy(&seen.stdout).trim(), USER, "{seen:?}");
    assert_eq!(hosts.len(), count);
    each(&hosts, assert_made);
    let began = Instant::now();
    way.delete().await;
    let delete = began.elapsed();
    each(&hosts, assert_gone);
    Times { create, login, delete }
}

/// Waits until the log-in's last process has ended too, because `userdel` refuses while there is one.
fn assert_made(host: &Host) {
    let seen = inside(
        &host.name,
        &format!(
            r#"getent shadow {USER} | grep -q '^{USER}:\$6\$' && test "$(stat -c %U /home/{USER})" = {USER} &&
            timeout 10 sh -c 'while pgrep -u {USER} >/dev/null; do sleep 0.02; done' && echo made"#
        ),
    );
    assert_eq!(seen.trim(), "made", "on {}", host.name);
}

fn assert_gone(host: &Host) {
    let seen = inside(&host.name, &format!("getent passwd {USER} || test -e /home/{USER} || echo gone"));
    assert_eq!(seen.trim(), "gone", "on {}", host.name);
}

/// Does the same for all machines at once.
fn each<T: Send>(hosts: &[Host], act: impl Fn(&Host) -> T + Sync) -> Vec<T> {
    std::thread::scope(|scope| {
        let acting: Vec<_> = hosts.iter().map(|host| scope.spawn(|| act(host))).collect();
        acting.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

fn times(rows: &[Row], ansible: Option<&Program>) -> String {
    let cores = std::thread::available_parallelism().unwrap();
    let berth = &rows[0].one;
    let mut text = include_str!("times.md").to_owned();
    for (mark, value) in [
        ("{cores}", cores.to_string()),
        ("{rounds}", ROUNDS.to_string()),
        ("{ansible}", ansible.map_or("none in this run", |program| &program.version).to_owned()),
        ("{login}", format!("{:.0}", milliseconds(berth.login - berth.create))),
    ] {
        text = text.replace(mark, &value);
    }
    for (title, of) in MEASURES {
        table(&mut text, title, rows, of);
    }
    text
}

type Measure = fn(&Times) -> Duration;

const MEASURES: [(&str, Measure); 3] = [
    ("Account made", |times| times.create),
    ("Account made, and logged in to on the first machine with `ssh`", |times| times.login),
    ("Account removed", |times| times.delete),
];

fn table(text: &mut String, title: &str, rows: &[Row], of: Measure) {
    let head = "| | 1 machine, ms | times as long as Berth | 10 machines, ms | times as long as Berth |";
    writeln!(text, "\n### {title}\n\n{head}\n|---|--:|--:|--:|--:|").unwrap();
    let (berth_one, berth_ten) = (milliseconds(of(&rows[0].one)), milliseconds(of(&rows[0].ten)));
    for row in rows {
        let (one, ten) = (milliseconds(of(&row.one)), milliseconds(of(&row.ten)));
        let (slower_one, slower_ten) = (one / berth_one, ten / berth_ten);
        writeln!(text, "| {} | {one:.0} | {slower_one:.1} | {ten:.0} | {slower_ten:.1} |", row.name).unwrap();
    }
}

async fn throughput() -> String {
    let mut text = "## Throughput\n\nReservations a second, made durable and given back, asked for over HTTP by 64 \
                    clients at once; the machines are simulated.\n\n| database | reservations/s |\n|---|--:|\n"
        .to_owned();
    for (database, rate) in throughput::both().await {
        writeln!(text, "| {database} | {rate:.0} |").unwrap();
    }
    text
}

/// What an agent costs while nothing happens.
fn agent(hosts: &Hosts) -> String {
    let seen = inside(&hosts.all[0].name, FOOTPRINT);
    let [size, memory, ticks] = seen.split_whitespace().collect::<Vec<_>>()[..] else {
        panic!("no three figures: {seen}")
    };
    format!(
        "## The agent\n\nOn a machine of the run above, in 10 seconds in which nothing happens.\n\n| | |\n|---|--:|\n\
         | binary, bytes | {size} |\n| resident memory, KiB | {memory} |\n\
         | CPU, ticks (1000 would be one core all the time) | {ticks} |\n"
    )
}

const FOOTPRINT: &str = r"p=$(pidof berth-agent)
    ticks() { cut -d' ' -f14,15 /proc/$p/stat | tr ' ' +; }
    stat -c %s /usr/local/sbin/berth-agent
    sed -n 's/^VmRSS:[^0-9]*\([0-9]*\) kB/\1/p' /proc/$p/status
    before=$(($(ticks))); sleep 10; echo $(($(ticks) - before))";
