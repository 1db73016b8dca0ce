//! From the ask to the last trace.

use crate::on_both_databases;
use model::phase::Phase;
use std::time::Duration;
use tests::{Farm, ask, has_account, ours};

on_both_databases!(
    reserved_machines_can_be_logged_in_to_and_are_clean_after_release,
    access_ends_when_the_time_is_up,
    an_extended_reservation_stays_and_a_shortened_one_goes,
    a_second_reservation_gets_a_fresh_uid,
    machines_are_given_by_label_and_by_name,
    a_retired_machine_loses_its_account_first,
    a_cordoned_machine_is_not_given,
    the_older_api_answers_as_it_did,
);

async fn reserved_machines_can_be_logged_in_to_and_are_clean_after_release(mut farm: Farm) {
    farm.add_machines(3).await;
    let reservation = farm.reserve(&ask("alice", 2, 60)).await.unwrap();
    assert_eq!(reservation.phase, Phase::Ready);
    assert_eq!(reservation.machines.iter().map(|seat| seat.name.as_str()).collect::<Vec<_>>(), ["m1", "m2"]);
    assert!(has_account(&farm.machine("m1").host, "alice") && has_account(&farm.machine("m2").host, "alice"));
    assert!(!has_account(&farm.machine("m3").host, "alice"));
    farm.machine("m1").host.spawn(reservation.machines[0].uid);

    let ended = farm.release(reservation.id).await;
    assert_eq!((ended.phase, ended.ended_by.as_deref()), (Phase::Ended, Some("released")));
    assert_eq!(ours(&farm.machine("m1").host), Vec::<String>::new());
    farm.until_free(3).await;
    assert_eq!(farm.release(reservation.id).await.phase, Phase::Ended, "a second release changes nothing");
    let kinds: Vec<String> = farm.get("/v1/events?limit=1000").await["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|event| event["kind"].as_str().unwrap().to_owned())
        .filter(|kind| kind.starts_with("reservation") || kind == "machine.cleaned")
        .collect();
    assert_eq!(kinds, ["reservation.created", "reservation.released", "machine.cleaned", "machine.cleaned"]);
}

async fn access_ends_when_the_time_is_up(mut farm: Farm) {
    farm.add_machines(1).await;
    let reservation = farm.reserve(&ask("alice", 1, 60)).await.unwrap();
    farm.clock.advance(Duration::from_secs(59 * 60));
    assert!(has_account(&farm.machine("m1").host, "alice"));
    farm.clock.advance(Duration::from_secs(60));
    farm.until("it has ended", async || farm.reservation(reservation.id).await.phase == Phase::Ended).await;
    assert_eq!(farm.reservation(reservation.id).await.ended_by.as_deref(), Some("expired"));
    assert_eq!(ours(&farm.machine("m1").host), Vec::<String>::new());
}

async fn an_extended_reservation_stays_and_a_shortened_one_goes(mut farm: Farm) {
    farm.add_machines(1).await;
    let id = farm.reserve(&ask("alice", 1, 60)).await.unwrap().id;
    let extended = farm.extend(id, "3h").await.unwrap();
    assert!(extended.machines[0].in_sync, "the machine has confirmed the new end");
    farm.clock.advance(Duration::from_secs(2 * 3600));
    assert_eq!(farm.reservation(id).await.phase, Phase::Ready);
    farm.extend(id, "1m").await.unwrap();
    farm.clock.advance(Duration::from_secs(61));
    farm.until("it has ended", async || farm.reservation(id).await.phase == Phase::Ended).await;
    let late = farm.extend(id, "1h").await.unwrap_err();
    assert!(late.starts_with("409") && late.contains("make a new one"), "{late}");
}

async fn a_second_reservation_gets_a_fresh_uid(mut farm: Farm) {
    farm.add_machines(1).await;
    let first = farm.reserve(&ask("alice", 1, 60)).await.unwrap();
    farm.release(first.id).await;
    farm.until_free(1).await;
    let second = farm.reserve(&ask("alice", 1, 60)).await.unwrap();
    assert_eq!(second.machines[0].uid, first.machines[0].uid + 1);
}

async fn machines_are_given_by_label_and_by_name(mut farm: Farm) {
    farm.add_machines(3).await;
    let mut by_label = ask("alice", 1, 60);
    by_label.labels = "name=m2".parse().unwrap();
    assert_eq!(farm.reserve(&by_label).await.unwrap().machines[0].name.as_str(), "m2");
    let mut by_name = ask("bob2", 1, 60);
    by_name.count = None;
    by_name.machines = vec!["m2".to_owned(), "m3".to_owned()];
    let refused = farm.reserve(&by_name).await.unwrap_err();
    assert!(refused.starts_with("409") && refused.contains("`m2` (held)"), "{refused}");
    assert_eq!(farm.get("/v1/availability").await["free"], 2, "all or nothing");
    by_name.machines = vec!["m3".to_owned()];
    assert_eq!(farm.reserve(&by_name).await.unwrap().machines[0].name.as_str(), "m3");
    let none = farm.reserve(&ask("carol", 2, 60)).await.unwrap_err();
    assert!(none.contains("only 1 of 2 machines are free"), "{none}");
}

async fn a_retired_machine_loses_its_account_first(mut farm: Farm) {
    farm.add_machines(1).await;
    farm.reserve(&ask("alice", 1, 60)).await.unwrap();
    farm.http.delete(format!("{}/v1/machines/m1", farm.url())).send().await.unwrap();
    farm.until("it has gone", async || farm.machine_views().await.is_empty()).await;
    assert_eq!(ours(&farm.machine("m1").host), Vec::<String>::new());
}

async fn a_cordoned_machine_is_not_given(mut farm: Farm) {
    farm.add_machines(1).await;
    let path = format!("{}/v1/machines/m1", farm.url());
    farm.http.patch(&path).body(r#"{"cordoned": true}"#).send().await.unwrap();
    assert!(farm.reserve(&ask("alice", 1, 60)).await.unwrap_err().starts_with("409"));
    farm.http.patch(&path).body(r#"{"cordoned": false}"#).send().await.unwrap();
    assert!(farm.reserve(&ask("alice", 1, 60)).await.is_ok());
}

async fn the_older_api_answers_as_it_did(mut farm: Farm) {
    farm.add_machines(2).await;
    assert_eq!(farm.get("/available").await, serde_json::json!({"available": ["m1", "m2"], "reserved": []}));
    let reserved = farm.get("/reserve?username=alice&count=1&duration=60").await;
    assert_eq!(reserved["status"], "success");
    assert_eq!(
        reserved["machines"],
        serde_json::json!([{"machine": "m1", "host": "127.0.0.1", "port": 2201}])
    );
    assert_eq!(farm.get("/available").await["reserved"], serde_json::json!(["m1"]));
    assert_eq!(
        farm.get("/reserve?username=eve&count=2").await,
        serde_json::json!({"error": "Only 1 machines available"})
    );
    assert_eq!(farm.get("/reservations").await["reservations"][0]["username"], "alice");
    assert_eq!(farm.get("/release_all").await["message"], "All machines released");
    assert_eq!(ours(&farm.machine("m1").host), Vec::<String>::new());
    assert_eq!(farm.get("/release_all").await["message"], "No machines to release");
}
