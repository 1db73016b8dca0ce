//! One row that cannot be read stops nothing for the others.

use super::*;
use diesel::connection::SimpleConnection;
use model::allocate::Want;
use model::machine::Machine;
use model::report::Report;
use model::{Labels, MachineName, ReservationId};
use std::collections::BTreeSet;

const TTL: Duration = Duration::from_secs(60);

struct Bench {
    store: Store,
    _folder: tempfile::TempDir,
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

impl Bench {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let url = folder.path().join("berth.db").display().to_string();
        Self { store: Store::open(&url, TTL, at(0), None).unwrap(), _folder: folder }
    }

    /// A machine that was seen clean.
    async fn machine(&self, name: &str) -> Machine {
        let new = NewMachine {
            name: name.parse().unwrap(),
            host: "127.0.0.1".to_owned(),
            port: 22,
            labels: Labels::default(),
            pool: Some("p".parse().unwrap()),
            join: Some((format!("token of {name}"), at(100))),
        };
        let (machine, _) = self.store.machine_create(new, None, at(0)).await.unwrap();
        let credential = format!("credential of {name}");
        let token = format!("token of {name}");
        let enrolled = self.store.machine_enrol(token, credential.clone(), at(0)).await.unwrap();
        let seen = Report { generation: machine.generation, ..Report::default() };
        self.store.machine_report(credential, enrolled.incarnation, seen, at(1)).await.unwrap();
        machine
    }

    async fn reserve(&self, name: &str) -> ReservationId {
        let new = NewReservation {
            username: name.parse().unwrap(),
            want: Want::Count { count: 1, labels: Labels::default() },
            account: StoredAccount {
                password_hash: None,
                ssh_keys: vec![],
                shell: None,
                groups: vec![],
                sudo: false,
            },
            expires_at: at(50),
        };
        self.store.reservation_create(new, None, at(2)).await.unwrap().0.id
    }

    async fn poison(&self, sql: String) {
        self.store.write(move |conn| Ok(conn.batch_execute(&sql)?)).await.unwrap();
    }

    async fn names(&self) -> BTreeSet<MachineName> {
        let machines = self.store.machine_list(None, 100).await.unwrap();
        machines.into_iter().map(|machine| machine.name).collect()
    }
}

#[tokio::test]
async fn a_machine_that_cannot_be_read_is_left_out() {
    let bench = Bench::new();
    let poisoned = bench.machine("m1").await;
    bench.machine("m2").await;
    bench.poison(format!("UPDATE machine SET labels = '{{' WHERE id = '{}'", poisoned.id)).await;
    assert_eq!(bench.names().await, BTreeSet::from(["m2".parse().unwrap()]));
    bench.reserve("alice").await;
    let held = bench.store.machine_get("m2").await.unwrap().holding;
    assert!(held.is_some(), "the other one was given");
}

#[tokio::test]
async fn a_pool_knows_its_machines_whatever_their_rows_hold() {
    let bench = Bench::new();
    let poisoned = bench.machine("m1").await;
    bench.poison(format!("UPDATE machine SET facts = 'x', host = '' WHERE id = '{}'", poisoned.id)).await;
    let members = bench.store.pool_members("p".parse().unwrap()).await.unwrap();
    assert_eq!(members.iter().map(|member| member.id).collect::<Vec<_>>(), [poisoned.id]);
    let sql = "DELETE FROM join_token; UPDATE machine SET id = 'no id'";
    bench.poison(sql.to_owned()).await;
    assert!(bench.store.pool_members("p".parse().unwrap()).await.is_err(), "none is better than too few");
}

#[tokio::test]
async fn a_reservation_that_cannot_be_read_ends_all_the_same() {
    let bench = Bench::new();
    bench.machine("m1").await;
    bench.machine("m2").await;
    let (poisoned, whole) = (bench.reserve("alice").await, bench.reserve("bob").await);
    bench.poison(format!("UPDATE reservation SET labels = '{{' WHERE id = '{poisoned}'")).await;
    let listed = bench.store.reservation_list(None, true, None, 10).await.unwrap();
    assert_eq!(listed.iter().map(|reservation| reservation.id).collect::<Vec<_>>(), [whole]);
    let ended = bench.store.reservations_expire(at(50)).await.unwrap();
    assert_eq!(ended.iter().map(|reservation| reservation.id).collect::<Vec<_>>(), [whole]);
    assert_eq!(bench.store.next_expiry().await.unwrap(), None, "both have ended");
    assert_eq!(bench.store.machines_unsettled().await.unwrap().len(), 2, "both machines hear of it");
}

#[tokio::test]
async fn a_machine_whose_holder_cannot_be_read_is_not_given_to_another() {
    let bench = Bench::new();
    bench.machine("m1").await;
    let reservation = bench.reserve("alice").await;
    bench
        .poison(format!("UPDATE reservation SET expires_at = {} WHERE id = '{reservation}'", i64::MAX))
        .await;
    assert_eq!(bench.names().await, BTreeSet::new());
    let new = Want::Named(vec!["m1".parse().unwrap()]);
    let looked = bench.store.read(move |conn| machine::choose(conn, &new, TTL, at(3))).await;
    assert!(matches!(looked, Err(Failure::Shortage(_))), "{looked:?}");
}
