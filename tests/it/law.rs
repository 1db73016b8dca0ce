//! The law itself: that it sees whoever breaks it.

use tests::law::{Facts, breaches};
use tests::{Database, Farm, ask};

/// Alice has m1, m2 is free; one thing after the other is made wrong, named, and put right.
#[tokio::test(flavor = "multi_thread")]
async fn the_law_sees_whoever_breaks_it() {
    let mut farm = Farm::new(Database::Sqlite).await;
    farm.add_machines(2).await;
    farm.reserve(&ask("alice", 1, 60)).await.unwrap();
    let facts = Facts::of(&farm.http, farm.url()).await;
    let hosts = farm.hosts();
    assert_eq!(breaches(&facts, &hosts), Vec::<String>::new());
    let good = [hosts[0].1.world(), hosts[1].1.world()];
    let broken = |facts: &Facts, words: &[&str]| {
        let found = breaches(facts, &hosts).join("; ");
        assert!(words.iter().all(|word| found.contains(word)), "{words:?} in: {found}");
        hosts.iter().zip(&good).for_each(|((_, host), good)| host.with(|world| *world = good.clone()));
    };

    hosts[1].1.spawn(66_000);
    broken(&facts, &["`m2` is offered and has", "process 101 of uid 66000"]);
    hosts[0].1.with(|world| world.sudoers.as_mut().unwrap().insert("bert".to_owned(), Vec::new()));
    broken(&facts, &["`m1` has what nobody holds it for", "berth-bert"]);
    hosts[0].1.with(|world| world.homes.remove("alice"));
    broken(&facts, &["`alice` is called ready on `m1` as uid 66000, and there is None"]);

    let mut twice = facts.clone();
    twice.reservations.push(twice.reservations[0].clone());
    broken(&twice, &["`m1` is held by"]);
    let mut given = facts.clone();
    given.machines[0].reservation = None;
    broken(&given, &["`m1` is held by None"]);
    let mut offered = facts;
    offered.machines[0].state = "free".to_owned();
    broken(&offered, &["`m1` is offered and has", "`m1` is free, its seat for `alice` Ready"]);
}
