//! Machines and databases that are not what they seem: clones, restored backups, replaced machines, providers that
//! suddenly know of nothing. None of them takes anything from anybody, or makes a machine pass for clean.

use crate::on_both_databases;
use model::phase::Phase;
use model::report::{AccountReport, AccountState, Report};
use model::{AssignmentId, Timestamp};
use serde_json::json;
use std::time::Duration;
use tests::{Database, Farm, ask, has_account, ours};

on_both_databases!(
    a_cloned_machine_is_quarantined_until_it_is_retired,
    agents_that_are_restarted_are_no_clones,
    a_machine_that_was_told_more_is_quarantined,
    a_machine_replaced_under_its_name_is_seen_clean_first,
    a_provider_that_knows_of_nothing_takes_nobodys_seat,
    a_pool_is_looked_after_where_its_machines_were_made,
    a_machine_that_does_not_get_clean_may_be_told_to_try_again,
);

async fn state_of(farm: &Farm, name: &str) -> (String, String) {
    let machine = farm.get(&format!("/v1/machines/{name}")).await;
    let text = |field: &str| machine[field].as_str().unwrap_or_default().to_owned();
    (text("state"), text("reason"))
}

async fn retire(farm: &Farm, name: &str) {
    let answer = farm.http.delete(format!("{}/v1/machines/{name}", farm.url())).send().await.unwrap();
    assert!(answer.status().is_success(), "{}", answer.text().await.unwrap());
}

async fn release_at_once(farm: &Farm, id: impl std::fmt::Display) {
    let path = format!("{}/v1/reservations/{id}?wait=0", farm.url());
    assert!(farm.http.delete(path).send().await.unwrap().status().is_success());
}

async fn a_cloned_machine_is_quarantined_until_it_is_retired(mut farm: Farm) {
    farm.add_machines(1).await;
    let id = farm.reserve(&ask("alice", 1, 60 * 24)).await.unwrap().id;
    farm.clone_machine(0);
    let running = farm.clock.run();
    farm.until("it is found out", async || {
        state_of(&farm, "m1").await.1.starts_with("two machines use its key: was it cloned?")
    })
    .await;
    assert_eq!(farm.events("machine.quarantined").await.len(), 1);
    let another = farm.reserve(&ask("bert", 1, 60)).await.unwrap_err();
    assert!(another.starts_with("409"), "{another}");

    // What is there is taken away from both; that the machine is clean is nobody's to say.
    release_at_once(&farm, id).await;
    farm.until("both are clean", async || farm.machines.iter().all(|lent| ours(&lent.host).is_empty())).await;
    drop(running);
    assert_eq!(farm.reservation(id).await.phase, Phase::Ending);
    assert_eq!(state_of(&farm, "m1").await.0, "maintenance");
    retire(&farm, "m1").await;
    assert_eq!(farm.reservation(id).await.phase, Phase::Ended);
    assert!(farm.machine_views().await.is_empty());
    assert!(farm.letter(0, "c", Report::default()).await.unwrap_err().contains("no longer wanted"));
}

/// Again and again, and with letters of all that were there before.
async fn agents_that_are_restarted_are_no_clones(mut farm: Farm) {
    farm.add_machines(1).await;
    let running = farm.clock.run();
    for round in 0..4 {
        for session in 0..round {
            farm.letter(0, &format!("late-{session}"), Report::default()).await.unwrap();
        }
        farm.stop_agent(0).await;
        farm.start_agent(0);
        let seen_at = farm.get("/v1/machines/m1").await["seen_at"].clone();
        farm.until("it is heard", async || farm.get("/v1/machines/m1").await["seen_at"] != seen_at).await;
    }
    let id = farm.reserve(&ask("alice", 1, 60)).await.unwrap().id;
    assert_eq!(farm.release(id).await.phase, Phase::Ended);
    drop(running);
    assert_eq!(farm.events("machine.quarantined").await, Vec::<String>::new());
    farm.until_free(1).await;
}

async fn a_machine_that_was_told_more_is_quarantined(mut farm: Farm) {
    farm.add_machines(2).await;
    let newer = Report { generation: 1000, ..Report::default() };
    assert!(farm.letter(0, "", newer).await.unwrap().spec.is_none());
    let stranger = AccountReport {
        assignment: AssignmentId::new(Timestamp::UNIX_EPOCH),
        name: "eve".parse().unwrap(),
        uid: 66_000,
        state: AccountState::Ready,
    };
    let report = Report { accounts: vec![stranger], ..Report::default() };
    assert!(farm.letter(1, "", report).await.unwrap().spec.is_none(), "and is told nothing");
    for name in ["m1", "m2"] {
        let (state, reason) = state_of(&farm, name).await;
        assert!(state == "maintenance" && reason.contains("was a backup restored?"), "{state}: {reason}");
    }
    // What it says later is not believed either.
    farm.letter(0, "", Report { generation: 1, ..Report::default() }).await.unwrap();
    assert_eq!(state_of(&farm, "m1").await.0, "maintenance");
    let events = farm.events("machine.quarantined").await;
    assert!(events[0].contains("generation 1000") && events[1].contains("`eve`"), "{events:?}");
    retire(&farm, "m1").await;
    retire(&farm, "m2").await;
    assert!(farm.machine_views().await.is_empty());
}

/// The database is put back to before alice's reservation: she keeps what she was given until her time is up.
#[tokio::test(flavor = "multi_thread")]
async fn a_restored_backup_deletes_nothing() {
    let mut farm = Farm::new(Database::Sqlite).await;
    farm.add_machines(1).await;
    farm.kill_server().await;
    let backup = farm.backup().await;
    farm.start_server(None);
    let running = farm.clock.run();
    farm.until_free(1).await;
    farm.reserve(&ask("alice", 1, 600)).await.unwrap();
    farm.kill_server().await;
    farm.restore(&backup).await;
    farm.start_server(None);
    farm.until("it is noticed", async || state_of(&farm, "m1").await.1.contains("was a backup restored?"))
        .await;
    assert!(has_account(&farm.machine("m1").host, "alice"));
    assert!(farm.reserve(&ask("bert", 1, 60)).await.unwrap_err().starts_with("409"));
    drop(running);
    farm.clock.advance(Duration::from_secs(36_000));
    farm.until("her time is up", async || ours(&farm.machine("m1").host).is_empty()).await;
    retire(&farm, "m1").await;
    assert!(farm.machine_views().await.is_empty());
}

async fn a_machine_replaced_under_its_name_is_seen_clean_first(mut farm: Farm) {
    farm.add_machines(2).await;
    let reservation = farm.reserve(&ask("alice", 1, 60)).await.unwrap();
    let former = farm.machines[0].host.clone();
    farm.replace_machine(0).await;
    let given: Vec<_> =
        farm.reservation(reservation.id).await.machines.into_iter().map(|seat| seat.name).collect();
    assert_eq!(given.iter().map(|name| name.as_str()).collect::<Vec<_>>(), ["m1", "m2"]);
    farm.until("another has taken its place", async || {
        farm.reservation(reservation.id).await.phase == Phase::Ready
    })
    .await;
    assert!(has_account(&former, "alice"), "nobody has asked the old one");
    assert_eq!(state_of(&farm, "m1").await.0, "cleaning");
    farm.start_agent(0);
    farm.until_free(1).await;
    let second = farm.reserve(&ask("bert", 1, 60)).await.unwrap();
    assert_eq!(second.machines[0].name.as_str(), "m1");
    assert_eq!(second.machines[0].uid, reservation.machines[0].uid + 1, "UIDs go on");
}

async fn a_provider_that_knows_of_nothing_takes_nobodys_seat(farm: Farm) {
    farm.pool("p", 8, json!({})).await;
    let id = farm.reserve(&ask("alice", 6, 60)).await.unwrap().id;
    farm.yard.forget_all(true);
    farm.pool_set("p", 8, json!({})).await;
    farm.until("it is not believed", async || {
        farm.get("/v1/pools/p").await["problem"].as_str().is_some_and(|problem| {
            problem.contains("8 of its 8 machines") && problem.contains("berth pool accept-losses p")
        })
    })
    .await;
    assert_eq!(farm.reservation(id).await.phase, Phase::Ready);
    assert_eq!(farm.machine_views().await.len(), 8, "nobody was put in their place");
    farm.yard.forget_all(false);
    let running = farm.clock.run();
    farm.until("it thinks better of it", async || farm.get("/v1/pools/p").await["problem"].is_null()).await;
    assert_eq!(farm.events("machine.lost").await.len(), 0);

    // One that is really gone is replaced; when all are, somebody has to say so.
    farm.yard.hosts().iter().for_each(|(name, _)| farm.yard.lose(name));
    farm.pool_set("p", 8, json!({})).await;
    farm.until("it is not believed", async || !farm.get("/v1/pools/p").await["problem"].is_null()).await;
    let accepted = farm.post("/v1/pools/p/accept-losses", "").await;
    assert!(accepted.status().is_success());
    farm.until("all are lost", async || farm.events("machine.lost").await.len() == 8).await;
    farm.until("alice's time is over", async || farm.reservation(id).await.phase == Phase::Ended).await;
    drop(running);
    assert_eq!(farm.events("pool.losses_accepted").await.len(), 1);
    farm.until_free(8).await;
}

/// Docker on another host lists other containers, and is believed as little.
async fn a_pool_is_looked_after_where_its_machines_were_made(farm: Farm) {
    farm.yard.move_to("one host");
    farm.pool("p", 2, json!({})).await;
    let id = farm.reserve(&ask("alice", 1, 60)).await.unwrap().id;
    farm.yard.move_to("another host");
    farm.pool_set("p", 3, json!({})).await;
    farm.until("it is not looked after from there", async || {
        farm.get("/v1/pools/p").await["problem"].as_str().is_some_and(|problem| {
            problem.contains("made at one host") && problem.contains("berth pool accept-losses p")
        })
    })
    .await;
    assert_eq!(farm.machine_views().await.len(), 2, "nothing is made there either");
    assert_eq!(farm.reservation(id).await.phase, Phase::Ready);
    let running = farm.clock.run();
    farm.yard.move_to("one host");
    farm.until("it goes on", async || farm.get("/v1/pools/p").await["problem"].is_null()).await;
    farm.until_free(2).await;
    assert_eq!(farm.events("machine.lost").await.len(), 0);

    farm.yard.move_to("another host");
    assert!(farm.post("/v1/pools/p/accept-losses", "").await.status().is_success());
    farm.until("all are lost", async || farm.events("machine.lost").await.len() == 3).await;
    farm.until_free(3).await;
    assert_eq!(farm.reservation(id).await.phase, Phase::Ended);
    drop(running);
}

async fn a_machine_that_does_not_get_clean_may_be_told_to_try_again(mut farm: Farm) {
    farm.add_machines(1).await;
    let clean = async || farm.post("/v1/machines/m1/clean", "").await;
    let refused = clean().await;
    assert_eq!(refused.status(), 409);
    assert!(refused.text().await.unwrap().contains("nobody is leaving `m1`"));
    let reservation = farm.reserve(&ask("alice", 1, 60)).await.unwrap();
    assert_eq!(clean().await.status(), 409);
    let host = farm.machine("m1").host.clone();
    host.set_immortal(true);
    host.spawn(reservation.machines[0].uid);
    release_at_once(&farm, reservation.id).await;
    let running = farm.clock.run();
    farm.until("it asks for help", async || state_of(&farm, "m1").await.1.starts_with("could not clean:"))
        .await;
    drop(running);
    assert_eq!(farm.events("machine.unclean").await.len(), 1);
    // Its agent would wait: the clock stands still.
    host.set_immortal(false);
    let cleaned = clean().await;
    assert_eq!(cleaned.status(), 200);
    let view: serde_json::Value = cleaned.json().await.unwrap();
    assert_eq!(view["state"], "cleaning");
    farm.until_free(1).await;
    let told = farm.get("/v1/machines/m1/cleanings").await;
    let told = told["items"].as_array().unwrap();
    assert_eq!((told.len(), told[0]["username"].as_str()), (1, Some("alice")), "{told:?}");
    assert!(told[0]["ended_at"].is_string() && told[0]["removed"]["process"].as_u64() >= Some(1), "{told:?}");
    assert!(farm.events("machine.cleaned").await[0].starts_with("alice: "));
    let metrics =
        farm.http.get(format!("{}/metrics", farm.url())).send().await.unwrap().text().await.unwrap();
    assert!(metrics.contains("berth_residue_removed_total{kind=\"process\"}"), "{metrics}");
    assert!(metrics.contains("berth_cleaning_seconds_count 1"), "{metrics}");
}
