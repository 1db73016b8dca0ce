//! Many at once.

use crate::on_both_databases;
use futures_util::future::join_all;
use std::collections::BTreeSet;
use tests::{Farm, ask};

on_both_databases!(
    two_hundred_reservers_of_the_last_machine_have_one_winner,
    one_key_fifty_times_is_one_reservation
);

/// Rounds on each database.
const ROUNDS: usize = 20;

async fn two_hundred_reservers_of_the_last_machine_have_one_winner(mut farm: Farm) {
    farm.add_machines(1).await;
    for round in 0..ROUNDS {
        let asks = join_all((0..200).map(|_| {
            let farm = &farm;
            async move {
                let mut body = ask("alice", 1, 60);
                body.wait = Some(0);
                body.password = None;
                body.ssh_keys = vec![KEY.to_owned()];
                farm.reserve(&body).await
            }
        }));
        let answers = asks.await;
        let winners: Vec<_> = answers.iter().flatten().collect();
        assert_eq!(winners.len(), 1, "round {round}");
        let refused = answers.iter().filter_map(|answer| answer.as_ref().err());
        assert!(
            refused.clone().all(|why| why.starts_with("409")),
            "round {round}: {:?}",
            refused.collect::<Vec<_>>()
        );
        farm.release(winners[0].id).await;
        farm.until_free(1).await;
    }
}

async fn one_key_fifty_times_is_one_reservation(mut farm: Farm) {
    farm.add_machines(3).await;
    let send = |duration: i64| {
        let body = serde_json::to_string(&ask("alice", 1, duration)).unwrap();
        farm.http
            .post(format!("{}/v1/reservations", farm.url()))
            .header("Idempotency-Key", "the-same")
            .body(body)
            .send()
    };
    let ids: BTreeSet<String> = join_all((0..50).map(|_| async {
        let answer: serde_json::Value = send(60).await.unwrap().json().await.unwrap();
        answer["id"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned()
    }))
    .await
    .into_iter()
    .collect();
    assert_eq!(ids.len(), 1);
    assert_eq!(farm.get("/v1/availability").await["free"], 2);
    assert_eq!(send(61).await.unwrap().status(), 422, "the same key for something else");
}

const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f a@b";
