//! Two servers on one PostgreSQL: both serve, and one goes on when the other dies, or the database does.

#![allow(clippy::print_stdout, reason = "the load, the gaps and the nine zeros are what they show")]

mod journal;
mod load;
mod pair;
mod sight;
mod together;
mod visited;
mod zeros;

use crate::is_long;
use load::Load;
use pair::Pair;
use sight::Sight;
use tests::container::now;
use tests::real::until;
use zeros::{Fault, Zeros};

/// Between two faults, so many reservations are acknowledged: a run with less load shows nothing.
const BETWEEN_FAULTS: usize = 25;
const BETWEEN_FAULTS_LONG: usize = 150;
const MACHINES: usize = 20;
const CLIENTS: usize = 5;

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_when_a_server_or_the_database_is_killed_under_load() {
    let mut pair = Pair::start().await;
    let sight = Sight::of(pair.lend(MACHINES).await);
    let load = Load::start(&pair, CLIENTS);
    let (rounds, between) = if is_long() { (8, BETWEEN_FAULTS_LONG) } else { (1, BETWEEN_FAULTS) };
    let mut faults = Vec::new();
    for round in 0..rounds {
        let victim = round % 2;
        load.until_acknowledged(between).await;
        // Whoever has moved stays.
        let moving =
            sight.names().into_iter().enumerate().filter(|(number, _)| round > 0 || number % 2 == victim);
        faults.push(kill_a_server(&mut pair, &load, victim, moving.map(|(_, name)| name).collect()).await);
        load.until_acknowledged(between).await;
        pair.start_server(victim).await;
        faults.push(kill_the_database(&mut pair, &load).await);
        load.until_acknowledged(between).await;
        if is_long() {
            faults.push(stop_a_server_short(&pair, &load, 1 - victim).await);
            load.until_acknowledged(between).await;
        }
    }
    let journal = load.stop().await;
    pair.until_quiet().await;
    println!("{}", journal.reached());
    assert!(journal.odd().is_empty(), "{:#?}", journal.odd());
    let zeros = Zeros::of(&pair, &journal, &faults, sight.close()).await;
    println!("{zeros}");
    assert!(zeros.are_zero(), "{zeros:#?}");
}

/// How long nobody is served is measured, and printed.
async fn kill_a_server(pair: &mut Pair, load: &Load, victim: usize, moving: Vec<String>) -> Fault {
    let killed_at = now();
    pair.kill_server(victim);
    load.until_ready_after(killed_at).await;
    let (served, ready) = load.gaps_after(killed_at);
    pair.until_heard_since(killed_at, moving).await;
    let heard = now().duration_since(killed_at);
    println!(
        "a server was killed: the next answer came after {served:#}, the next account after {ready:#}, \
         and all its machines had been heard by the other after {heard:#}"
    );
    Fault { began: killed_at, ended: now() }
}

async fn kill_the_database(pair: &mut Pair, load: &Load) -> Fault {
    let killed_at = now();
    pair.cluster.crash();
    load.until_unknown_after(killed_at).await;
    let started_at = now();
    pair.cluster.start_again();
    load.until_ready_after(started_at).await;
    let (served, ready) = load.gaps_after(started_at);
    println!(
        "the database was killed, and started again: the next answer came after {served:#}, the next account after {ready:#}"
    );
    Fault { began: killed_at, ended: now() }
}

/// It is there, and holds what it holds, but does nothing.
async fn stop_a_server_short(pair: &Pair, load: &Load, victim: usize) -> Fault {
    let stopped_at = now();
    pair.signal(victim, "STOP");
    load.until_ready_after(stopped_at).await;
    let (served, ready) = load.gaps_after(stopped_at);
    until("PostgreSQL has ended its line", async || pair.lines() == 1).await;
    pair.signal(victim, "CONT");
    println!(
        "a server was stopped for a while: the next answer came after {served:#}, the next account after {ready:#}"
    );
    Fault { began: stopped_at, ended: now() }
}
