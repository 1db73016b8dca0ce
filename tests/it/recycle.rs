//! Machines that are destroyed after use, and made anew.

use crate::on_both_databases;
use model::MachineId;
use model::phase::Phase;
use model::wire::ReservationCreate;
use serde_json::json;
use std::time::Duration;
use tests::{Farm, ask, has_account, ours};

on_both_databases!(
    after_sudo_a_machine_is_made_anew,
    after_sudo_no_agent_is_believed,
    only_what_can_be_made_anew_is_given_with_sudo,
    a_pool_that_recycles_makes_a_new_machine_for_everybody,
    whoever_is_on_a_machine_that_is_to_go_is_waited_for,
    uids_come_from_where_the_pool_says,
);

fn ask_root(username: &str) -> ReservationCreate {
    ReservationCreate { sudo: true, ..ask(username, 1, 60) }
}

/// The name and the id of the only machine.
async fn the_machine(farm: &Farm) -> (String, MachineId) {
    let machines = farm.machine_views().await;
    assert_eq!(machines.len(), 1, "{machines:?}");
    (machines[0].name.to_string(), machines[0].id)
}

/// By release, by expiry, and when the machine does not get ready: whether or not its agent says a word.
async fn after_sudo_a_machine_is_made_anew(farm: Farm) {
    farm.pool("p", 1, json!({})).await;
    let (name, first) = the_machine(&farm).await;
    let reservation = farm.reserve(&ask_root("alice")).await.unwrap();
    assert!(has_account(&farm.yard.host(&name), "alice"));
    farm.yard.stop_agent(&name);
    let ended = farm.release(reservation.id).await;
    assert_eq!(ended.phase, Phase::Ended, "the answer waits until the machine is gone");
    farm.until_free(1).await;
    let (name, second) = the_machine(&farm).await;
    assert_ne!(first, second);
    assert!(ours(&farm.yard.host(&name)).is_empty());

    let id = farm.reserve(&ask_root("alice")).await.unwrap().id;
    farm.clock.advance(Duration::from_secs(3600));
    farm.until("it has expired", async || farm.reservation(id).await.phase == Phase::Ended).await;
    farm.until_free(1).await;
    let (name, third) = the_machine(&farm).await;
    assert_ne!(second, third);

    farm.yard.stop_agent(&name);
    let body = ReservationCreate { wait: Some(0), ..ask_root("carol") };
    let id = farm.reserve(&body).await.unwrap().id;
    farm.clock.advance(Duration::from_secs(16));
    farm.until("it has failed", async || farm.reservation(id).await.phase == Phase::Ended).await;
    farm.until_free(1).await;
    assert_ne!(third, the_machine(&farm).await.1);
    assert_eq!(farm.events("machine.cleaned").await, Vec::<String>::new(), "nobody has claimed that");
    assert_eq!(farm.events("machine.recycled").await.len(), 3);
}

async fn after_sudo_no_agent_is_believed(farm: Farm) {
    farm.pool("p", 1, json!({})).await;
    let id = farm.reserve(&ask_root("alice")).await.unwrap().id;
    farm.yard.refuse_to_destroy(true);
    let release = format!("{}/v1/reservations/{id}?wait=0", farm.url());
    farm.http.delete(release).send().await.unwrap();
    let host = farm.yard.host("p-1");
    farm.until("access is taken away at once", async || ours(&host).is_empty()).await;
    farm.until("the agent has said so", async || {
        let machine = farm.get("/v1/machines/p-1").await;
        machine["seen_generation"] == machine["generation"]
    })
    .await;
    let machine = farm.get("/v1/machines/p-1").await;
    assert_eq!(
        (machine["state"].as_str(), farm.reservation(id).await.phase),
        (Some("retiring"), Phase::Ending)
    );
    farm.yard.refuse_to_destroy(false);
    let _running = farm.clock.run();
    farm.until("it is destroyed", async || farm.reservation(id).await.phase == Phase::Ended).await;
    farm.until_free(1).await;
}

async fn only_what_can_be_made_anew_is_given_with_sudo(mut farm: Farm) {
    farm.add_machines(2).await;
    let refused = farm.reserve(&ask_root("alice")).await.unwrap_err();
    assert!(refused.starts_with("409") && refused.contains("only machines of a pool"), "{refused}");
    let named = ReservationCreate { count: None, machines: vec!["m1".to_owned()], ..ask_root("alice") };
    let refused = farm.reserve(&named).await.unwrap_err();
    assert!(refused.starts_with("409") && refused.contains("`m1` (registered by hand"), "{refused}");
    farm.pool("p", 1, json!({})).await;
    let given = farm.reserve(&ask_root("alice")).await.unwrap();
    assert_eq!(given.machines[0].name.as_str(), "p-1");
    // Nobody stands in who could not be given in the first place.
    farm.yard.lose("p-1");
    farm.pool("other", 0, json!({})).await;
    farm.until("it has failed", async || farm.reservation(given.id).await.phase == Phase::Ended).await;
    assert_eq!(farm.reservation(given.id).await.ended_by.as_deref(), Some("failed"));
}

async fn a_pool_that_recycles_makes_a_new_machine_for_everybody(farm: Farm) {
    farm.pool("p", 1, json!({ "after_use": "recycle" })).await;
    assert_eq!(farm.get("/v1/pools/p").await["after_use"], "recycle");
    let mut ids = vec![the_machine(&farm).await.1];
    for _ in 0..2 {
        let reservation = farm.reserve(&ask("alice", 1, 60)).await.unwrap();
        assert_eq!(farm.release(reservation.id).await.phase, Phase::Ended);
        farm.until_free(1).await;
        let id = the_machine(&farm).await.1;
        assert!(!ids.contains(&id));
        ids.push(id);
    }
}

/// A pool that shrinks, and a machine retired by hand, wait for their agents' word as ever.
async fn whoever_is_on_a_machine_that_is_to_go_is_waited_for(farm: Farm) {
    farm.pool("p", 2, json!({})).await;
    let reservation = farm.reserve(&ask("alice", 1, 60)).await.unwrap();
    farm.pool_set("p", 0, json!({})).await;
    farm.until("the idle one is gone", async || farm.machine_views().await.len() == 1).await;
    assert_eq!(farm.reservation(reservation.id).await.phase, Phase::Ready);
    assert!(has_account(&farm.yard.host("p-1"), "alice"));

    let host = farm.yard.host("p-1");
    host.set_immortal(true);
    host.spawn(reservation.machines[0].uid);
    farm.http.delete(format!("{}/v1/machines/p-1", farm.url())).send().await.unwrap();
    farm.until("its agent tries", async || !has_account(&host, "alice")).await;
    assert_eq!(farm.yard.hosts().len(), 1, "nobody destroys what is not clean");
    assert_eq!(farm.get("/v1/machines/p-1").await["state"], "retiring");
    host.set_immortal(false);
    let _running = farm.clock.run();
    farm.until("it is gone", async || farm.yard.hosts().is_empty()).await;
    farm.release(reservation.id).await;
}

async fn uids_come_from_where_the_pool_says(farm: Farm) {
    let put = async |name: &str, uids: &str| {
        let body = json!({ "provider": "simulated", "size": 2, "uids": uids }).to_string();
        farm.http.put(format!("{}/v1/pools/{name}", farm.url())).body(body).send().await.unwrap()
    };
    for bad in ["", "5", "100-200", "60000-70000", "Fleet"] {
        let refused: serde_json::Value = put("a", bad).await.json().await.unwrap();
        assert_eq!(
            (refused["status"].as_u64(), refused["field"].as_str()),
            (Some(400), Some("uids")),
            "{bad}"
        );
    }
    for (name, uids) in [("a", "20000-60000"), ("b", "fleet"), ("c", "fleet")] {
        assert!(put(name, uids).await.status().is_success());
        assert_eq!(farm.get(&format!("/v1/pools/{name}")).await["uids"], uids);
    }
    farm.until_free(6).await;
    let mut given = Vec::new();
    for round in 0..2 {
        for pool in ["a", "b", "c"] {
            let body = ReservationCreate {
                labels: format!("pool={pool}").parse().unwrap(),
                ..ask(&format!("user{round}"), 2, 60)
            };
            let reservation = farm.reserve(&body).await.unwrap();
            given.extend(reservation.machines.iter().map(|seat| seat.uid));
            farm.release(reservation.id).await;
        }
        farm.until_free(6).await;
    }
    let fleet = |number: u32| 2_000_300_000 + number;
    let (first, second) = given.split_at(6);
    assert_eq!(first, [20_000, 20_000, fleet(0), fleet(1), fleet(2), fleet(3)]);
    assert_eq!(second, [20_001, 20_001, fleet(4), fleet(5), fleet(6), fleet(7)]);
}
