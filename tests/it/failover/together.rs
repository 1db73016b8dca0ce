//! What servers that share a database tell each other, and what they leave to each other.

use super::pair::Pair;
use model::machine::Uids;
use model::{Labels, MachineId, PoolName};
use serde_json::{Value, json};
use server::store::{Claim, Failure, NewMachine, News, Store, Thing};
use std::collections::BTreeSet;
use tests::container::now;
use tests::database::Cluster;
use tests::farm::TTL;
use tests::has_account;
use tests::real::until;
use tokio::sync::mpsc::Receiver;

/// Otherwise the machine would hear of it when its wait is over, and that is later than a machine may be: it would be set
/// aside each time, and there is no other.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_asked_at_one_server_reaches_agents_at_the_other() {
    let mut pair = Pair::start().await;
    let door = pair.door(0);
    let machine = pair.lend_one("m", &door).await;
    pair.until_free(1, 1).await;
    for round in 0..5 {
        let ask = json!({"username": format!("u{round}"), "password": "correct horse", "count": 1, "duration": "1h"});
        let (status, made) = pair.send(1, "POST", "/v1/reservations", &ask).await;
        assert_eq!((status, made["phase"].as_str()), (201, Some("ready")), "{made}");
        assert!(has_account(&machine.host, &format!("u{round}")));
        let path = format!("/v1/reservations/{}", made["id"].as_str().unwrap());
        let (status, longer) = pair.send(1, "PATCH", &path, &json!({"duration": "2h"})).await;
        assert_eq!((status, longer["machines"][0]["in_sync"].as_bool()), (200, Some(true)), "{longer}");
        let (_, ended) = pair.send(1, "DELETE", &path, &Value::Null).await;
        assert_eq!(ended["phase"], "ended", "{ended}");
        pair.until_free(1, 1).await;
    }
    let failed = pair.get(1, "/v1/events?kind=machine.set_aside").await;
    assert_eq!(failed["items"].as_array().map(Vec::len), Some(0), "{failed}");
}

/// A server's store, and what it hears.
struct Server {
    store: Store,
    told: Receiver<News>,
}

impl Server {
    /// Returns when its line stands.
    async fn start(url: &str) -> Self {
        let url = url.to_owned();
        let open = move || Store::open(&url, TTL, now(), None).unwrap();
        let store = tokio::task::spawn_blocking(open).await.unwrap();
        let mut told = store.listen().expect("there may be others");
        assert_eq!(told.recv().await, Some(News::Missed));
        Self { store, told }
    }

    async fn claims(&self, thing: &Thing) -> Option<Claim> {
        self.store.claim_take(thing.clone()).await.unwrap()
    }

    /// Something that is written under a claim.
    async fn writes(&self, claim: &Claim) -> Result<(), Failure> {
        self.store.under(claim).pool_home(pool(), None).await
    }
}

fn pool() -> PoolName {
    "p".parse().unwrap()
}

fn things() -> [Thing; 2] {
    [Thing::Pool(pool()), Thing::VisitsTo(MachineId::new(now()))]
}

#[tokio::test(flavor = "multi_thread")]
async fn one_server_at_a_time_has_a_claim_and_what_a_former_one_brings_does_not_count() {
    let url = Cluster::shared().create();
    let (one, two) = (Server::start(&url).await, Server::start(&url).await);
    for thing in things() {
        let claim = one.claims(&thing).await.expect("it is nobody's");
        assert_eq!(one.claims(&thing).await, Some(claim.clone()), "it stays so");
        assert_eq!(two.claims(&thing).await, None);
        assert!(two.store.is_elsewhere(thing.clone()).await.unwrap());
        one.writes(&claim).await.unwrap();
        // It cannot do it.
        one.store.claim_leave(claim.clone()).await.unwrap();
        assert!(matches!(one.writes(&claim).await, Err(Failure::TakenOver(_))));
        let taken = two.claims(&thing).await.expect("it was left");
        assert_eq!(one.claims(&thing).await, None);
        two.writes(&taken).await.unwrap();
        assert!(matches!(one.writes(&claim).await, Err(Failure::TakenOver(_))));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whose_line_breaks_is_followed_at_once() {
    let cluster = Cluster::shared();
    let url = cluster.create();
    let (mut one, mut two) = (Server::start(&url).await, Server::start(&url).await);
    for thing in things() {
        let claim = one.claims(&thing).await.unwrap();
        assert_eq!(two.claims(&thing).await, None);
        // Both are cut off, dial again, and have missed something.
        let lines = "SELECT pg_terminate_backend(pid) FROM pg_locks JOIN pg_database d ON d.oid = database \
                     WHERE locktype = 'advisory' AND classid = 4212201 AND datname = current_database()";
        assert_eq!(cluster.rows(&url, lines), ["t", "t"]);
        for server in [&mut one, &mut two] {
            assert_eq!(server.told.recv().await, Some(News::Missed));
        }
        let taken = two.claims(&thing).await.expect("the line that it belonged to is broken");
        assert_eq!(one.claims(&thing).await, None);
        assert!(matches!(one.writes(&claim).await, Err(Failure::TakenOver(_))));
        two.writes(&taken).await.unwrap();
        two.store.claim_leave(taken).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_ends_leaves_its_claims() {
    let url = Cluster::shared().create();
    let two = Server::start(&url).await;
    for thing in things() {
        let one = Server::start(&url).await;
        let claim = one.claims(&thing).await.unwrap();
        assert_eq!(two.claims(&thing).await, None);
        drop(one.told);
        until("it is taken over", async || two.claims(&thing).await.is_some()).await;
        let late = one.store.under(&claim).pool_home(pool(), None).await;
        assert!(matches!(late, Err(Failure::TakenOver(_))), "{late:?}");
    }
}

/// Without a word between them: the database does it.
#[tokio::test(flavor = "multi_thread")]
async fn what_one_writes_the_others_hear_and_it_does_not() {
    let url = Cluster::shared().create();
    let (mut one, mut two) = (Server::start(&url).await, Server::start(&url).await);
    let machine = NewMachine {
        name: "m".parse().unwrap(),
        host: "h".to_owned(),
        port: 22,
        labels: Labels::default(),
        pool: None,
        uids: Uids::default(),
        ssh: None,
        listing: None,
        join: None,
    };
    let (machine, _) = one.store.machine_create(machine, None, now()).await.unwrap();
    assert_eq!(two.told.recv().await, Some(News::Machine(machine.id)));
    two.store.machine_retire("m", now()).await.unwrap();
    assert_eq!(one.told.recv().await, Some(News::Machine(machine.id)), "nothing of its own before");
    one.store.machine_gone(machine.id, now()).await.unwrap();
    assert_eq!(two.told.recv().await, Some(News::Gone(machine.id)));
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_that_start_at_once_make_the_tables_once() {
    let url = Cluster::shared().create();
    let open = || {
        let url = url.clone();
        tokio::task::spawn_blocking(move || Store::open(&url, TTL, now(), None).unwrap().epoch())
    };
    let epochs = futures_util::future::join_all([open(), open(), open(), open()]).await;
    let epochs: BTreeSet<_> = epochs.into_iter().map(|epoch| epoch.unwrap().to_string()).collect();
    assert_eq!(epochs.len(), 1);
}

/// PostgreSQL ends the line of a server that says nothing. What was its work is done by the other, and stays so.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_stands_still_is_followed() {
    let pair = Pair::start().await;
    let pool = json!({"provider": "simulated", "image": "", "size": 2});
    let (status, said) = pair.send(0, "PUT", "/v1/pools/p", &pool).await;
    assert_eq!(status, 200, "{said}");
    pair.until_free(0, 2).await;
    let claimant = || pair.cluster.rows(&pair.database, "SELECT server FROM claim WHERE thing = 'pool p'");
    let before = claimant();
    let has_line = |server| pair.log(server).contains(&format!("number={}\n", before[0]));
    let still = usize::from(!has_line(0));
    assert!(has_line(still) && !has_line(1 - still), "one of them has it");
    pair.signal(still, "STOP");
    // More than fits on the way to it, so that PostgreSQL cannot get rid of it, and waits.
    let much =
        "SELECT pg_notify('berth', number || repeat(' and so on', 700)) FROM generate_series(1, 2000) number";
    pair.cluster.rows(&pair.database, much);
    until("the other has it", async || claimant() != before).await;
    let after = claimant();
    pair.until_free(1 - still, 2).await;
    pair.signal(still, "CONT");
    until("it has noticed", async || pair.log(still).contains("the line to the other servers is down")).await;
    pair.until_free(still, 2).await;
    assert_eq!(claimant(), after);
}
