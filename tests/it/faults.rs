//! What breaks, and what holds all the same.

use crate::on_both_databases;
use model::phase::Phase;
use server::store::CommitSide;
use std::time::Duration;
use tests::{Database, Farm, ask, has_account, ours};

on_both_databases!(
    access_ends_with_the_server_dead,
    access_ends_after_the_agent_was_restarted_too,
    a_machine_that_does_not_answer_is_replaced,
    a_name_taken_on_one_machine_is_given_another,
    a_reservation_no_machine_can_meet_fails_and_holds_nothing,
    a_server_killed_and_started_again_forgets_nothing,
    what_nobody_was_told_of_is_found,
    what_does_not_get_on_is_shown,
);

async fn access_ends_with_the_server_dead(mut farm: Farm) {
    farm.add_machines(2).await;
    let id = farm.reserve(&ask("alice", 2, 60)).await.unwrap().id;
    farm.machine("m1").host.spawn(66_000);
    farm.kill_server().await;
    farm.clock.advance(Duration::from_secs(3601));
    farm_until(&farm, "both are clean", |farm| farm.machines.iter().all(|lent| ours(&lent.host).is_empty()))
        .await;
    farm.start_server(None);
    // The agents pause between tries.
    let _running = farm.clock.run();
    farm.until("the server knows", async || farm.reservation(id).await.phase == Phase::Ended).await;
    farm.until_free(2).await;
}

async fn access_ends_after_the_agent_was_restarted_too(mut farm: Farm) {
    farm.add_machines(1).await;
    farm.reserve(&ask("alice", 1, 60)).await.unwrap();
    farm.kill_server().await;
    farm.stop_agent(0).await;
    farm.clock.advance(Duration::from_secs(3601));
    assert!(has_account(&farm.machine("m1").host, "alice"), "nobody is there to remove it");
    farm.start_agent(0);
    farm_until(&farm, "it is clean", |farm| ours(&farm.machines[0].host).is_empty()).await;
}

async fn a_machine_that_does_not_answer_is_replaced(mut farm: Farm) {
    farm.add_machines(2).await;
    farm.stop_agent(0).await;
    let mut body = ask("alice", 1, 60);
    body.wait = Some(0);
    let reservation = farm.reserve(&body).await.unwrap();
    assert_eq!((reservation.phase, reservation.machines[0].name.as_str()), (Phase::Pending, "m1"));
    farm.clock.advance(Duration::from_secs(16));
    farm.until("another has taken its place", async || {
        farm.reservation(reservation.id).await.phase == Phase::Ready
    })
    .await;
    assert!(has_account(&farm.machine("m2").host, "alice"));
    // The first comes back, with nothing to do, and is kept back for a while.
    farm.start_agent(0);
    farm.until("it is set aside", async || farm.get("/v1/machines/m1").await["state"] == "maintenance").await;
    farm.clock.advance(Duration::from_secs(60));
    farm.until_free(1).await;
    assert_eq!(ours(&farm.machine("m1").host), Vec::<String>::new());
}

async fn a_name_taken_on_one_machine_is_given_another(mut farm: Farm) {
    farm.add_machines(2).await;
    // `bob` is somebody else's account on every pretend machine; carol only on the first.
    farm.machine("m1").host.with(|world| {
        let passwd = world.files.get_mut(&playbooks::Db::Passwd).unwrap();
        passwd.extend_from_slice(b"carol:x:1007:1007::/home/carol:/bin/bash\n");
    });
    let reservation = farm.reserve(&ask("carol", 1, 60)).await.unwrap();
    let live: Vec<_> = reservation.machines.iter().filter(|seat| seat.phase == Phase::Ready).collect();
    assert_eq!(live[0].name.as_str(), "m2");
    farm.until_free(1).await;
    assert!(
        farm.machine("m1").host.text(playbooks::Db::Passwd).contains("carol:x:1007"),
        "it is not ours to touch"
    );
}

async fn a_reservation_no_machine_can_meet_fails_and_holds_nothing(mut farm: Farm) {
    farm.add_machines(2).await;
    let refused = farm.reserve(&ask("bob", 1, 60)).await.unwrap_err();
    assert!(refused.starts_with("503") && refused.contains("bob"), "{refused}");
    farm.until_free(2).await;
}

async fn a_server_killed_and_started_again_forgets_nothing(mut farm: Farm) {
    farm.add_machines(2).await;
    let id = farm.reserve(&ask("alice", 1, 60)).await.unwrap().id;
    farm.kill_server().await;
    farm.start_server(None);
    assert_eq!(farm.reservation(id).await.phase, Phase::Ready);
    assert!(has_account(&farm.machine("m1").host, "alice"));
    // The agents pause between tries.
    let _running = farm.clock.run();
    farm.release(id).await;
    farm.until("it is clean", async || farm.reservation(id).await.phase == Phase::Ended).await;
}

/// Another server on the same database gives and takes; no wake-up reaches this one or the agent parked with it.
async fn what_nobody_was_told_of_is_found(mut farm: Farm) {
    farm.add_machines(1).await;
    let id = farm.reserve(&ask("alice", 1, 60)).await.unwrap().id;
    farm.other_store().reservation_release(id, farm.clock.now()).await.unwrap();
    assert!(has_account(&farm.machine("m1").host, "alice"), "nobody has heard of it");
    let _running = farm.clock.run();
    farm.until("it is found", async || farm.reservation(id).await.phase == Phase::Ended).await;
    assert_eq!(ours(&farm.machine("m1").host), Vec::<String>::new());
}

/// A machine that is not clean ten minutes after its release is counted where operators look.
async fn what_does_not_get_on_is_shown(mut farm: Farm) {
    farm.add_machines(1).await;
    let id = farm.reserve(&ask("alice", 1, 60)).await.unwrap().id;
    farm.stop_agent(0).await;
    let release = format!("{}/v1/reservations/{id}?wait=0", farm.url());
    assert_eq!(farm.http.delete(release).send().await.unwrap().status(), 202);
    farm.clock.advance(Duration::from_secs(600));
    assert_eq!(farm.get("/healthz").await["stuck"], 0);
    farm.clock.advance(Duration::from_secs(1));
    assert_eq!(farm.get("/healthz").await["stuck"], 1);
    let metrics = farm.http.get(format!("{}/metrics", farm.url())).send().await.unwrap();
    assert!(metrics.text().await.unwrap().contains("\nberth_machines_stuck 1\n"));
    farm.start_agent(0);
    farm.until_free(1).await;
    assert_eq!(farm.get("/healthz").await["stuck"], 0);
}

/// The server dies before, and after, each commit in the life of a reservation. What was answered stands; what was
/// not may stand or not; and in the end nothing is left anywhere.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_killed_at_any_commit_loses_nothing() {
    let mut crashes = 0;
    for side in [CommitSide::Before, CommitSide::After] {
        for number in 1.. {
            match live_through_crash(number, side).await {
                true => crashes += 1,
                false => break,
            }
        }
    }
    assert!(crashes >= 10, "only {crashes} commits were reached");
}

/// Whether the life was long enough to reach that commit.
async fn live_through_crash(number: u64, side: CommitSide) -> bool {
    let mut farm = Farm::new(Database::Sqlite).await;
    farm.add_machines(2).await;
    farm.kill_server().await;
    let _running = farm.clock.run();
    let (crash, crashed) = tokio::sync::watch::channel(false);
    let hook = move |commit: u64, at: CommitSide| {
        if (commit, at) == (number, side) {
            crash.send_replace(true);
            return Err(format!("crash {side:?} commit {number}"));
        }
        Ok(())
    };
    farm.start_server(Some(Box::new(hook)));
    let mut body = ask("alice", 2, 60);
    body.wait = Some(30);
    let acknowledged = tokio::select! {
        answer = farm.reserve(&body) => answer.ok(),
        () = happened(crashed.clone()) => None,
    };
    // A value, not the guard of it: the crash needs to write there.
    let dead = *crashed.borrow();
    if let (Some(reservation), false) = (&acknowledged, dead) {
        tokio::select! {
            _ = farm.extend(reservation.id, "2h") => {}
            () = happened(crashed.clone()) => {}
        }
    }
    let reached = *crashed.borrow();
    farm.kill_server().await;
    farm.start_server(None);
    if let Some(reservation) = &acknowledged {
        assert_eq!(
            farm.reservation(reservation.id).await.username.as_str(),
            "alice",
            "{side:?} {number}: lost"
        );
    }
    let list = farm.get("/v1/reservations").await;
    let made = list["items"].as_array().unwrap().clone();
    assert!(made.len() <= 1, "{side:?} {number}: doubled");
    for reservation in made {
        let id = reservation["id"].as_str().unwrap().to_owned();
        let path = format!("{}/v1/reservations/{id}?wait=0", farm.url());
        assert!(farm.http.delete(path).send().await.unwrap().status().is_success());
    }
    farm.until_free(2).await;
    for lent in &farm.machines {
        assert_eq!(ours(&lent.host), Vec::<String>::new(), "{side:?} {number}: `{}`", lent.name);
    }
    reached
}

async fn happened(mut crashed: tokio::sync::watch::Receiver<bool>) {
    if crashed.wait_for(|crashed| *crashed).await.is_err() {
        std::future::pending().await
    }
}

/// Waits for the machines alone; no server is asked.
async fn farm_until(farm: &Farm, what: &str, met: impl Fn(&Farm) -> bool) {
    for _ in 0..1000 {
        if met(farm) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("never: {what}");
}
