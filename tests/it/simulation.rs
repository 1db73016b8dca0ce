//! A small world driven by dice: the real use-cases, the real store, the real machine loop and the real agents, over
//! pretend machines, a pretend network and a pretend clock, one step at a time in one thread.
//!
//! People reserve, extend and release. Letters between agents and server are late, lost, doubled and out of order.
//! Agents and machines die and come back, calls fail before, after and late, disks are full, processes do not die,
//! machines' clocks are wrong by up to ten minutes, and the server dies, also in the middle of a commit. After each
//! step the laws are checked. In the end the faults stop, and everything has to come right.
//!
//! `BERTH_SEEDS=2000` tries so many seeds, from `BERTH_FIRST_SEED` on. A seed that fails is printed with all its steps;
//! the same seed goes the same way again.

mod asks;
mod dice;
mod faults;
mod laws;
mod machine;
mod network;
mod server;
mod steps;
mod world;

use dice::Dice;
use std::sync::atomic::{AtomicU64, Ordering};
use world::{Sabotage, World};

/// Steps of one life.
const STEPS: u32 = 250;
const SEEDS: u64 = 200;

#[test]
fn whatever_happens_the_laws_hold_and_all_comes_right() {
    let first = number("BERTH_FIRST_SEED", 1);
    let seeds = first..first + number("BERTH_SEEDS", SEEDS);
    let broken = first_broken(seeds, None);
    if let Some(life) = broken {
        panic!("seed {}:\n{}\n\nbroken: {}", life.seed, life.trace.join("\n"), life.broken.unwrap());
    }
}

#[test]
fn the_same_seed_goes_the_same_way() {
    let (one, other) = (live(4, None), live(4, None));
    assert_eq!(one.trace, other.trace);
    assert_ne!(one.trace, live(5, None).trace);
}

/// The simulation comes to that, too.
#[test]
fn a_machine_that_falls_silent_is_replaced_in_some_life() {
    assert!((1..SEEDS).any(|seed| live(seed, None).replaced > 0), "in no life");
}

/// Takes away one rule after the other; the laws have to notice each.
#[test]
fn the_simulation_finds_what_it_is_for() {
    for sabotage in Sabotage::ALL {
        let found = first_broken(1..200, Some(sabotage));
        assert!(found.is_some(), "nobody notices {sabotage:?}");
    }
}

/// What became of one seed.
struct Life {
    seed: u64,
    trace: Vec<String>,
    /// Seats that worked and were given to another machine.
    replaced: usize,
    broken: Option<String>,
}

fn live(seed: u64, sabotage: Option<Sabotage>) -> Life {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut world = runtime.block_on(World::new(Dice::new(seed), sabotage));
    let broken = runtime.block_on(world.live(STEPS)).err();
    Life { seed, replaced: world.replaced(), trace: world.trace, broken }
}

/// The lowest seed that breaks a law; two at a time.
fn first_broken(seeds: std::ops::Range<u64>, sabotage: Option<Sabotage>) -> Option<Life> {
    let (next, stop) = (AtomicU64::new(seeds.start), AtomicU64::new(seeds.end));
    let search = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= stop.load(Ordering::Relaxed) {
                return None;
            }
            let life = live(seed, sabotage);
            if life.broken.is_some() {
                // Lower seeds that are under way come to their end.
                stop.fetch_min(seed, Ordering::Relaxed);
                return Some(life);
            }
        }
    };
    let found: Vec<Life> = std::thread::scope(|scope| {
        let searches = [scope.spawn(search), scope.spawn(search)];
        searches.into_iter().filter_map(|search| search.join().unwrap()).collect()
    });
    found.into_iter().min_by_key(|life| life.seed)
}

fn number(variable: &str, otherwise: u64) -> u64 {
    std::env::var(variable).map_or(otherwise, |text| text.parse().expect("a number"))
}
