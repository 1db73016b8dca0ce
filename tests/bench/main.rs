//! `just bench`: how fast Berth gives and takes back, beside Ansible and bare ssh on the same containers in one run, with
//! agents and over SSH, how many reservations a second it keeps, and what an agent costs. Writes docs/benchmarks.md.
//!
//! While working on one part, name it: `cargo run --release -p tests --bin bench -- machines` (or `ssh`, or `throughput`)
//! prints that part and writes nothing.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a benchmark that cannot go on stops; it prints its tables"
)]
#![allow(clippy::disallowed_methods, reason = "it measures time")]

mod ansible;
mod cleaning;
mod hosts;
mod others;
mod rounds;
mod throughput;
mod visits;

use ansible::{Ansible, Program, Tuning};
use futures_util::future::BoxFuture;
use hosts::{Host, Hosts};
use model::wire::{DurationText, ReservationCreate, ReservationView};
use others::Bare;
use rounds::{LOGGED_IN, MADE, REMOVED, Row, Size, Way, milliseconds, rows, table};
use std::fmt::Write;
use std::path::Path;
use tests::real::{RealFarm, inside};

const ROUNDS: usize = 5;
const MACHINES: u32 = 10;
const SIZES: [Size; 2] =
    [Size { machines: 1, rounds: ROUNDS }, Size { machines: MACHINES as usize, rounds: ROUNDS }];
const IMAGE: &str = "berth-debian";
const USER: &str = "alice";
const PASSWORD: &str = "correct horse";

#[tokio::main]
async fn main() {
    match std::env::args().nth(1).as_deref() {
        None => {
            let (times, agent) = machines().await;
            let text = [times, visits::tables().await, throughput().await, agent].join("\n");
            println!("{text}");
            save(&text);
        }
        Some("machines") => {
            let (times, agent) = machines().await;
            println!("{times}\n{agent}");
        }
        Some("ssh") => println!("{}", visits::tables().await),
        Some("throughput") => println!("{}", throughput().await),
        Some(part) => {
            eprintln!("there is no part `{part}`: name `machines`, `ssh`, `throughput`, or nothing for all");
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
    let rows = rows(&mut ways, &SIZES).await;
    let times = [times(&rows, ansible.as_ref()), cleaning].join("\n");
    let agent = agent(&hosts);
    farm.pool(&pool, IMAGE, 0).await;
    (times, agent)
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
            let hosts = hosts
                .map(|seat| Host { name: seat.name.to_string(), address: seat.host.clone(), port: seat.port })
                .collect();
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

fn times(rows: &[Row], ansible: Option<&Program>) -> String {
    let cores = std::thread::available_parallelism().unwrap();
    let berth = rows[0].times[0];
    let mut text = include_str!("times.md").to_owned();
    for (mark, value) in [
        ("{cores}", cores.to_string()),
        ("{rounds}", ROUNDS.to_string()),
        ("{ansible}", ansible.map_or("none in this run", |program| &program.version).to_owned()),
        ("{login}", format!("{:.0}", milliseconds(berth.login - berth.create))),
    ] {
        text = text.replace(mark, &value);
    }
    for measure in [MADE, LOGGED_IN, REMOVED] {
        table(&mut text, measure, &SIZES, rows);
    }
    text
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
