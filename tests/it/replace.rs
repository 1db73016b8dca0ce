//! Held machines that fall silent: where that was asked for, others take their places, and pools keep some back for it.

use crate::on_both_databases;
use model::Timestamp;
use model::phase::Phase;
use model::reservation::OnFailure;
use model::wire::{ReservationCreate, ReservationView};
use playbooks::{Db, FakeHost};
use serde_json::json;
use std::time::Duration;
use tests::farm::TTL;
use tests::{Farm, ask, has_account, ours};

on_both_databases!(
    a_machine_that_falls_silent_is_replaced,
    a_machine_is_kept_for_whoever_did_not_ask_for_another,
    a_machine_that_comes_back_in_time_keeps_its_seat,
    while_no_other_is_free_it_goes_on_with_what_it_has,
    spares_are_for_whoever_lost_a_machine,
    what_a_pool_keeps_back_is_checked,
    a_server_that_was_down_replaces_nobody_at_once,
    a_server_that_was_cut_off_replaces_nobody_at_once,
    many_that_fall_silent_together_are_not_believed_at_once,
    a_reservation_outlives_a_machine_that_vanished,
    a_substitute_that_fails_does_not_end_the_reservation,
    after_a_release_both_machines_get_clean,
);

const MINUTE: Duration = Duration::from_secs(60);
/// From the last word of a machine on it counts as failed after the time to live and the grace, which is 5 minutes.
const GRACE: Duration = Duration::from_secs(5 * 60);

/// For a day, on any machines.
fn ask_replaced(username: &str, count: i64) -> ReservationCreate {
    ReservationCreate { on_failure: OnFailure::Replace, ..ask(username, count, 24 * 60) }
}

/// Lets time pass so slowly that every machine is heard of again and again, but for these.
async fn pass(farm: &Farm, lasts: Duration, silent: &[&str]) {
    let end = farm.clock.now() + lasts;
    while farm.clock.now() < end {
        let before = farm.clock.now();
        farm.clock.advance(end.duration_since(before).unsigned_abs().min(TTL / 2));
        until_heard(farm, before, silent).await;
    }
}

/// An agent that was about to wait, or found no server, waits by a clock that would stand still.
async fn until_heard(farm: &Farm, since: Timestamp, silent: &[&str]) {
    farm.until("all others are heard", async || {
        let machines = farm.machine_views().await;
        let mut others = machines.iter().filter(|machine| !silent.contains(&machine.name.as_str()));
        let are_heard = others.all(|machine| machine.seen_at > Some(since));
        if !are_heard {
            farm.clock.advance(Duration::from_millis(500));
        }
        are_heard
    })
    .await;
}

async fn restart_server(farm: &mut Farm, silent: &[&str]) {
    farm.kill_server().await;
    let since = farm.clock.now();
    farm.start_server(None);
    until_heard(farm, since, silent).await;
}

async fn wake(farm: &mut Farm, number: usize, silent: &[&str]) {
    let since = farm.clock.now();
    farm.start_agent(number);
    until_heard(farm, since, silent).await;
}

fn names(of: &ReservationView) -> Vec<&str> {
    of.machines.iter().map(|seat| seat.name.as_str()).collect()
}

async fn until_it_has(farm: &Farm, id: impl std::fmt::Display + Copy, machines: &[&str]) {
    farm.until(&format!("it has {machines:?} and is ready"), async || {
        let of = farm.reservation(id).await;
        names(&of) == machines && of.phase == Phase::Ready
    })
    .await;
}

async fn error_of(farm: &Farm, id: impl std::fmt::Display) -> String {
    farm.reservation(id).await.machines[0].error.clone().unwrap_or_default()
}

async fn until_none_is_free(farm: &Farm, id: impl std::fmt::Display + Copy) {
    let says_so = async || error_of(farm, id).await.ends_with("and no other is free to take its place");
    farm.until("it says that none is free", says_so).await;
}

/// As it stands in shadow.
fn hash_of(host: &FakeHost, username: &str) -> String {
    let shadow = String::from_utf8(host.world().files[&Db::Shadow].clone()).unwrap();
    let line = shadow.lines().find(|line| line.starts_with(&format!("{username}:")));
    line.unwrap().split(':').nth(1).unwrap().to_owned()
}

async fn a_machine_that_falls_silent_is_replaced(mut farm: Farm) {
    farm.add_machines(2).await;
    let id = farm.reserve(&ask_replaced("alice", 1)).await.unwrap().id;
    farm.stop_agent(0).await;
    pass(&farm, TTL, &["m1"]).await;
    assert_eq!(names(&farm.reservation(id).await), ["m1"], "it has time left");
    pass(&farm, GRACE, &["m1"]).await;
    until_it_has(&farm, id, &["m1", "m2"]).await;

    let (former, other) = (farm.machine("m1").host.clone(), farm.machine("m2").host.clone());
    assert!(has_account(&other, "alice"));
    assert_eq!(hash_of(&other, "alice"), hash_of(&former, "alice"));
    let of = farm.reservation(id).await;
    assert_eq!((of.on_failure, of.machines[0].phase), (OnFailure::Replace, Phase::Ending));
    assert!(of.machines[0].error.as_ref().unwrap().contains("`m1` was last heard of at 2026-"), "{of:?}");
    assert_eq!(farm.events("machine.failed").await.len(), 1);
    assert_eq!(farm.events("reservation.replaced").await.len(), 1);

    assert!(has_account(&former, "alice"), "nobody has asked the old one");
    farm.start_agent(0);
    farm.until("it is clean", async || ours(&former).is_empty()).await;
    farm.until_free(1).await;
    assert_eq!(farm.reservation(id).await.phase, Phase::Ready);
}

/// Beside somebody who did, so that it is seen when the time has come.
async fn a_machine_is_kept_for_whoever_did_not_ask_for_another(mut farm: Farm) {
    farm.add_machines(3).await;
    let kept = farm.reserve(&ask("alice", 1, 24 * 60)).await.unwrap().id;
    let replaced = farm.reserve(&ask_replaced("bert", 1)).await.unwrap().id;
    farm.stop_agent(0).await;
    farm.stop_agent(1).await;
    pass(&farm, TTL + GRACE, &["m1", "m2"]).await;
    until_it_has(&farm, replaced, &["m2", "m3"]).await;
    farm.release(format!("{replaced}?wait=0")).await;
    farm.until_free(1).await;
    pass(&farm, TTL + GRACE, &["m1", "m2"]).await;
    let of = farm.reservation(kept).await;
    assert_eq!((names(&of), of.phase, of.on_failure), (vec!["m1"], Phase::Ready, OnFailure::Keep));
    assert_eq!(farm.events("machine.failed").await.len(), 1, "that of bert");
}

async fn a_machine_that_comes_back_in_time_keeps_its_seat(mut farm: Farm) {
    farm.add_machines(3).await;
    let returning = farm.reserve(&ask_replaced("alice", 1)).await.unwrap().id;
    let silent = farm.reserve(&ask_replaced("bert", 1)).await.unwrap().id;
    farm.stop_agent(0).await;
    farm.stop_agent(1).await;
    pass(&farm, TTL, &["m1", "m2"]).await;
    wake(&mut farm, 0, &["m2"]).await;
    pass(&farm, GRACE, &["m2"]).await;
    until_it_has(&farm, silent, &["m2", "m3"]).await;
    let of = farm.reservation(returning).await;
    assert_eq!((names(&of), of.phase), (vec!["m1"], Phase::Ready));
}

async fn while_no_other_is_free_it_goes_on_with_what_it_has(mut farm: Farm) {
    farm.add_machines(2).await;
    let id = farm.reserve(&ask_replaced("alice", 1)).await.unwrap().id;
    let other = farm.reserve(&ask("bert", 1, 24 * 60)).await.unwrap().id;
    farm.stop_agent(0).await;
    pass(&farm, TTL + GRACE, &["m1"]).await;
    until_none_is_free(&farm, id).await;
    let of = farm.reservation(id).await;
    assert_eq!((names(&of), of.phase), (vec!["m1"], Phase::Ready));

    farm.start_agent(0);
    farm.until("it is back", async || error_of(&farm, id).await.is_empty()).await;
    farm.stop_agent(0).await;
    pass(&farm, TTL + GRACE, &["m1"]).await;
    until_none_is_free(&farm, id).await;
    pass(&farm, MINUTE, &["m1"]).await;
    assert_eq!(farm.events("machine.failed").await.len(), 2, "once for each time");
    farm.release(other).await;
    pass(&farm, MINUTE, &["m1"]).await;
    until_it_has(&farm, id, &["m1", "m2"]).await;
}

async fn spares_are_for_whoever_lost_a_machine(farm: Farm) {
    farm.pool("p", 3, json!({ "spare": 1, "grace": "30m" })).await;
    let pool = farm.get("/v1/pools/p").await;
    assert_eq!((pool["spare"].as_u64(), pool["grace"].as_str()), (Some(1), Some("30m")));
    let availability = farm.get("/v1/availability").await;
    assert_eq!((availability["free"].as_u64(), availability["states"]["free"].as_u64()), (Some(2), Some(3)));
    let refused = farm.reserve(&ask("alice", 3, 60)).await.unwrap_err();
    assert!(refused.starts_with("409") && refused.contains("only 2 of 3"), "{refused}");
    let id = farm.reserve(&ask_replaced("alice", 2)).await.unwrap().id;
    assert!(farm.reserve(&ask("bert", 1, 60)).await.unwrap_err().contains("only 0 of 1"));
    let named = ReservationCreate { count: None, machines: vec!["p-3".to_owned()], ..ask("bert", 1, 60) };
    let refused = farm.reserve(&named).await.unwrap_err();
    assert!(refused.starts_with("409") && refused.contains("`p-3` (pool `p` keeps 1 back"), "{refused}");

    farm.yard.stop_agent("p-1");
    pass(&farm, TTL + GRACE, &["p-1"]).await;
    assert_eq!(names(&farm.reservation(id).await), ["p-1", "p-2"], "its pool is more patient");
    pass(&farm, GRACE * 5, &["p-1"]).await;
    until_it_has(&farm, id, &["p-1", "p-2", "p-3"]).await;
    assert!(has_account(&farm.yard.host("p-3"), "alice"));
}

async fn what_a_pool_keeps_back_is_checked(farm: Farm) {
    for (status, field, value) in
        [(422, "spare", json!(3)), (400, "grace", json!("soon")), (400, "grace", json!(0))]
    {
        let mut body = json!({ "provider": "simulated", "size": 2 });
        body[field] = value;
        let request = farm.http.put(format!("{}/v1/pools/p", farm.url())).body(body.to_string());
        let refused: serde_json::Value = request.send().await.unwrap().json().await.unwrap();
        assert_eq!(
            (refused["status"].as_u64(), refused["field"].as_str()),
            (Some(status), Some(field)),
            "{body}"
        );
    }
    farm.pool("p", 2, json!({})).await;
    let pool = farm.get("/v1/pools/p").await;
    assert_eq!((pool["spare"].as_u64(), pool["grace"].as_str()), (Some(0), Some("5m")));
    let named = ReservationCreate { count: None, machines: vec!["p-1".to_owned()], ..ask_replaced("a", 1) };
    let refused = farm.reserve(&named).await.unwrap_err();
    assert!(refused.starts_with("400") && refused.contains("\"field\":\"on_failure\""), "{refused}");
}

async fn a_server_that_was_down_replaces_nobody_at_once(mut farm: Farm) {
    farm.add_machines(2).await;
    let id = farm.reserve(&ask_replaced("alice", 1)).await.unwrap().id;
    farm.kill_server().await;
    farm.stop_agent(0).await;
    farm.clock.advance(TTL * 5);
    let since = farm.clock.now();
    farm.start_server(None);
    until_heard(&farm, since, &["m1"]).await;
    pass(&farm, TTL, &["m1"]).await;
    let of = farm.reservation(id).await;
    assert_eq!((names(&of), of.phase), (vec!["m1"], Phase::Ready));
    pass(&farm, GRACE, &["m1"]).await;
    until_it_has(&farm, id, &["m1", "m2"]).await;
}

async fn a_server_that_was_cut_off_replaces_nobody_at_once(mut farm: Farm) {
    farm.add_machines(2).await;
    let id = farm.reserve(&ask_replaced("alice", 1)).await.unwrap().id;
    farm.stop_agent(0).await;
    farm.stop_agent(1).await;
    farm.clock.advance(TTL * 5);
    farm.until("it is noticed", async || !error_of(&farm, id).await.is_empty()).await;
    wake(&mut farm, 1, &["m1"]).await;
    pass(&farm, TTL, &["m1"]).await;
    let of = farm.reservation(id).await;
    assert_eq!((names(&of), of.phase), (vec!["m1"], Phase::Ready));
    pass(&farm, GRACE, &["m1"]).await;
    until_it_has(&farm, id, &["m1", "m2"]).await;
}

async fn many_that_fall_silent_together_are_not_believed_at_once(mut farm: Farm) {
    farm.add_machines(8).await;
    let id = farm.reserve(&ask_replaced("alice", 6)).await.unwrap().id;
    let silent = ["m1", "m2", "m3", "m4", "m5", "m6"];
    for number in 0..silent.len() {
        farm.stop_agent(number).await;
    }
    pass(&farm, TTL + GRACE, &silent).await;
    farm.until("it says so", async || error_of(&farm, id).await.contains("look at the server's network"))
        .await;
    assert_eq!(names(&farm.reservation(id).await), silent);
    assert_eq!(farm.events("machine.failed").await.len(), 0);
    // One of them speaks again: so few are believed.
    wake(&mut farm, 5, &silent[..5]).await;
    pass(&farm, MINUTE, &silent[..5]).await;
    farm.until("those that are free take their places", async || {
        let of = farm.reservation(id).await;
        has_account(&farm.machine("m7").host, "alice")
            && has_account(&farm.machine("m8").host, "alice")
            && of.phase == Phase::Ready
    })
    .await;
    assert_eq!(farm.reservation(id).await.machines.len(), 8);
}

async fn a_reservation_outlives_a_machine_that_vanished(mut farm: Farm) {
    farm.pool("p", 1, json!({})).await;
    let id = farm.reserve(&ask_replaced("alice", 1)).await.unwrap().id;
    farm.yard.lose("p-1");
    farm.pool("p", 1, json!({})).await;
    farm.until("it misses a machine", async || farm.events("reservation.short").await.len() == 1).await;
    farm.until_free(1).await;
    // A server that starts looks for all that is left to do.
    restart_server(&mut farm, &[]).await;
    farm.until("it has another", async || farm.reservation(id).await.phase == Phase::Ready).await;
    assert_eq!(farm.reservation(id).await.machines.len(), 2);
}

async fn a_substitute_that_fails_does_not_end_the_reservation(mut farm: Farm) {
    farm.add_machines(2).await;
    let id = farm.reserve(&ask_replaced("alice", 1)).await.unwrap().id;
    farm.stop_agent(0).await;
    pass(&farm, TTL, &["m1"]).await;
    farm.stop_agent(1).await;
    farm.clock.advance(GRACE);
    farm.until("it was given to her", async || names(&farm.reservation(id).await) == ["m1", "m2"]).await;
    farm.clock.advance(Duration::from_secs(16));
    farm.until("it is given up", async || farm.events("reservation.short").await.len() == 1).await;
    assert_eq!(farm.reservation(id).await.phase, Phase::Pending);
    farm.start_agent(1);
    farm.clock.advance(MINUTE * 2);
    farm.until_free(1).await;
    restart_server(&mut farm, &["m1"]).await;
    until_it_has(&farm, id, &["m1", "m2", "m2"]).await;
}

async fn after_a_release_both_machines_get_clean(mut farm: Farm) {
    farm.add_machines(2).await;
    let id = farm.reserve(&ask_replaced("alice", 1)).await.unwrap().id;
    farm.stop_agent(0).await;
    pass(&farm, TTL + GRACE, &["m1"]).await;
    until_it_has(&farm, id, &["m1", "m2"]).await;
    farm.release(format!("{id}?wait=0")).await;
    farm.until("the one that answers is clean", async || ours(&farm.machine("m2").host).is_empty()).await;
    assert_eq!(farm.reservation(id).await.phase, Phase::Ending, "the other has not said so");
    farm.start_agent(0);
    farm.until_free(2).await;
    assert_eq!(farm.reservation(id).await.phase, Phase::Ended);
}
