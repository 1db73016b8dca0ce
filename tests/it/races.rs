//! Many at once.

use crate::on_both_databases;
use futures_util::future::join_all;
use model::Incarnation;
use model::report::Report;
use model::wire::{EnrolRequest, MachineCreate, ReservationCreate, SyncRequest};
use server::app::{App, Refusal, VmPool};
use server::reconcile::Hub;
use server::store::Store;
use std::collections::BTreeSet;
use std::sync::Arc;
use tests::farm::{TTL, desk, gate};
use tests::{Database, FakeClock, Farm, ask};

on_both_databases!(
    two_hundred_reservers_of_the_last_machine_have_one_winner,
    one_key_fifty_times_is_one_reservation
);

const RESERVERS: usize = 200;

/// Over HTTP and with a real agent, a few times; without either, a thousand times: see below.
async fn two_hundred_reservers_of_the_last_machine_have_one_winner(mut farm: Farm) {
    farm.add_machines(1).await;
    for round in 0..10 {
        let body = body();
        let answers = join_all((0..RESERVERS).map(|_| farm.reserve(&body))).await;
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

#[tokio::test(flavor = "multi_thread")]
async fn of_two_hundred_reservers_one_wins_a_thousand_times_on_sqlite() {
    Race::new(Database::Sqlite, 1).await.run(1000).await;
}

/// Asked of two servers that share the database.
#[tokio::test(flavor = "multi_thread")]
async fn of_two_hundred_reservers_one_wins_a_thousand_times_on_postgres() {
    Race::new(Database::Postgres, 2).await.run(1000).await;
}

/// One machine, and the use-cases of servers: everything between HTTP and the disk. Sockets and an agent would take a
/// hundred times as long, and neither decides who wins.
struct Race {
    _folder: tempfile::TempDir,
    servers: Vec<(Arc<Hub>, App)>,
    incarnation: Incarnation,
    clock: FakeClock,
}

const CREDENTIAL: &str = "berth_agent_of_the_race";

impl Race {
    async fn new(database: Database, servers: usize) -> Self {
        let (folder, clock) = (tempfile::tempdir().unwrap(), FakeClock::default());
        let url = database.url(folder.path());
        let server = |_| {
            let store = Store::open(&url, TTL, clock.now(), None).unwrap();
            let hub = Hub::new(store, Arc::new(clock.clone()), None, false);
            (hub.clone(), App::new(hub, gate(), VmPool::default()))
        };
        let servers: Vec<_> = (0..servers).map(server).collect();
        let app = &servers[0].1;
        let machine = MachineCreate {
            name: "m1".into(),
            host: "h".into(),
            port: 22,
            labels: Default::default(),
            uids: None,
            ssh: None,
        };
        let join_token = desk(app).await.machine_create(machine, None).await.unwrap().join_token.unwrap();
        let credential_sha256 = server::secret::digest(CREDENTIAL);
        let incarnation =
            app.agent_enrol(EnrolRequest { join_token, credential_sha256 }).await.unwrap().incarnation;
        Self { _folder: folder, servers, incarnation, clock }
    }

    async fn run(&self, rounds: usize) {
        for round in 0..rounds {
            self.report_clean().await;
            let asks = (0..RESERVERS).map(|number| {
                let app = self.servers[number % self.servers.len()].1.clone();
                tokio::spawn(async move { desk(&app).await.reservation_create(body(), None).await })
            });
            let answers: Vec<_> = join_all(asks).await.into_iter().map(Result::unwrap).collect();
            let lost = answers.iter().filter(|answer| matches!(answer, Err(Refusal::Shortage(_)))).count();
            let winners: Vec<_> = answers.iter().flatten().collect();
            assert_eq!((winners.len(), lost), (1, RESERVERS - 1), "round {round}: {answers:?}");
            let id = winners[0].id.to_string();
            desk(&self.servers[0].1).await.reservation_release(&id, Some(0)).await.unwrap();
        }
    }

    /// As the machine's agent would: it asks for the newest spec, and says that there is nothing on it.
    async fn report_clean(&self) {
        let mut report = Report::default();
        while let Some(spec) = self.report(report.clone()).await {
            report.generation = spec;
        }
    }

    /// The generation that is newer than the reported one, if there is one.
    async fn report(&self, report: Report) -> Option<u64> {
        let store = &self.servers[0].0.store;
        let credential = server::secret::digest(CREDENTIAL);
        let (incarnation, session) = (self.incarnation, "race".to_owned());
        let request = SyncRequest { incarnation, session, challenge: None, report };
        let received = store.machine_report(credential, request, 1, self.clock.now());
        received.await.unwrap().spec.map(|spec| spec.generation)
    }
}

/// With a key, since hashing 200 passwords would hide the race behind the hashing.
fn body() -> ReservationCreate {
    ReservationCreate { wait: Some(0), password: None, ssh_keys: vec![KEY.to_owned()], ..ask("alice", 1, 60) }
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
