//! `just bench`: how fast Berth gives and takes back, on real containers, and how many reservations a second it keeps.
//! Prints a table and writes it to docs/benchmarks.md. Medians; the times are wall time.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a benchmark that cannot go on stops; it prints its table"
)]
#![allow(clippy::disallowed_methods, reason = "it measures time")]

mod throughput;

use model::wire::{DurationText, ReservationCreate, ReservationView};
use std::fmt::Write;
use std::path::Path;
use std::time::{Duration, Instant};
use tests::real::{By, RealFarm, inside, ssh};

const ROUNDS: usize = 5;
const MACHINES: u32 = 10;
const PASSWORD: &str = "correct horse";

#[tokio::main]
async fn main() {
    let farm = RealFarm::start("release").await;
    let pool = format!("bench{}", std::process::id());
    farm.pool(&pool, "berth-debian", MACHINES).await;
    let mut text = String::from(
        "# Benchmarks\n\nWritten by `just bench`: one run on one machine, medians of 5, milliseconds unless said otherwise.\n\n\
         | what | 1 machine | 10 machines |\n|---|---|---|\n",
    );
    let (one, ten) = (berth(&farm, 1).await, berth(&farm, MACHINES).await);
    row(&mut text, "Berth: request → answer, log-in works", one.reserve, ten.reserve);
    row(&mut text, "Berth: request → answer → `ssh` logged in to the first", one.login, ten.login);
    row(&mut text, "Berth: release → account gone, verified", one.release, ten.release);
    let agent = agent_footprint(&pool);
    farm.pool(&pool, "berth-debian", 0).await;
    text.push_str(
        "\n| durable reservations per second, 64 clients over HTTP, simulated machines | |\n|---|---|\n",
    );
    for (database, rate) in throughput::both().await {
        writeln!(text, "| {database} | {rate:.0} |").unwrap();
    }
    text.push_str(&agent);
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("docs/benchmarks.md");
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(&path, &text).unwrap();
    println!("{text}");
}

fn row(text: &mut String, what: &str, one: Duration, ten: Duration) {
    let ms = |time: Duration| time.as_secs_f64() * 1000.0;
    writeln!(text, "| {what} | {:.0} | {:.0} |", ms(one), ms(ten)).unwrap();
    println!("{what}: {:.0} ms, {:.0} ms", ms(one), ms(ten));
}

struct Times {
    reserve: Duration,
    login: Duration,
    release: Duration,
}

async fn berth(farm: &RealFarm, count: u32) -> Times {
    let (mut reserves, mut logins, mut releases) = (vec![], vec![], vec![]);
    for _ in 0..ROUNDS {
        let began = Instant::now();
        let reservation = farm.reserve(&ask(count)).await;
        reserves.push(began.elapsed());
        log_in(&reservation);
        logins.push(began.elapsed());
        let began = Instant::now();
        let ended = farm.release(reservation.id).await;
        releases.push(began.elapsed());
        assert_eq!(ended.phase, model::phase::Phase::Ended);
    }
    Times { reserve: median(reserves), login: median(logins), release: median(releases) }
}

fn log_in(reservation: &ReservationView) {
    let output = ssh(&reservation.machines[0], "alice", &By::Password(PASSWORD), "id -un");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "alice\n", "{output:?}");
}

fn ask(count: u32) -> ReservationCreate {
    ReservationCreate {
        username: "alice".to_owned(),
        password: Some(PASSWORD.to_owned()),
        count: Some(count.into()),
        duration: Some(DurationText::Minutes(60)),
        ..ReservationCreate::default()
    }
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

fn agent_footprint(pool: &str) -> String {
    let machine = format!("{pool}-1");
    let size = inside(&machine, "stat -c %s /usr/local/sbin/berth-agent");
    let status = "p=$(pidof berth-agent); grep VmRSS /proc/$p/status; cut -d' ' -f14,15 /proc/$p/stat; sleep 10; cut -d' ' -f14,15 /proc/$p/stat";
    let seen = inside(&machine, status);
    format!(
        "\nThe agent: {} bytes. Its memory, and its CPU ticks (user, system; 100 a second) before and after 10 idle seconds:\n\n```\n{}\n```\n",
        size.trim(),
        seen.trim()
    )
}
