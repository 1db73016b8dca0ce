//! One row that cannot be read stops nothing for the others.

use super::choose::{Spares, choose};
use super::*;
use diesel::connection::SimpleConnection;
use model::adoption::{Adoption, Stage};
use model::allocate::Want;
use model::cleaning::{Cleaning, Residue};
use model::machine::{Machine, Uids};
use model::pool::AfterUse;
use model::report::Report;
use model::reservation::OnFailure;
use model::ssh::AuthKind;
use model::wire::SyncRequest;
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
            ssh: None,
            uids: Uids::default(),
            listing: None,
            join: Some((format!("token of {name}"), at(100))),
        };
        let (machine, _) = self.store.machine_create(new, None, at(0)).await.unwrap();
        let credential = format!("credential of {name}");
        let token = format!("token of {name}");
        let enrolled = self.store.machine_enrol(token, credential.clone(), at(0)).await.unwrap();
        let report = Report { generation: machine.generation, ..Report::default() };
        let incarnation = enrolled.incarnation;
        let seen = SyncRequest { incarnation, session: String::new(), challenge: None, report };
        self.store.machine_report(credential, seen, 0, at(1)).await.unwrap();
        machine
    }

    /// A report of a machine at its newest generation, with nothing on it but what is told of cleaning.
    async fn told(&self, name: &str, cleanings: Vec<Cleaning>) -> Received {
        let machine = self.store.machine_get(name).await.unwrap();
        let report = Report { generation: machine.generation, cleanings, ..Report::default() };
        self.letter(name, report).await.unwrap()
    }

    async fn letter(&self, name: &str, report: Report) -> Result<Received, Failure> {
        let incarnation = self.store.machine_get(name).await?.incarnation.unwrap();
        let letter = SyncRequest { incarnation, session: String::new(), challenge: None, report };
        self.store.machine_report(format!("credential of {name}"), letter, 0, at(3)).await
    }

    async fn reserve(&self, name: &str) -> ReservationId {
        self.try_reserve(name, Want::Count { count: 1, labels: Labels::default() }).await.unwrap()
    }

    async fn try_reserve(&self, name: &str, want: Want) -> Result<ReservationId, Failure> {
        let new = NewReservation {
            owner: None,
            username: name.parse().unwrap(),
            want,
            account: StoredAccount {
                password_hash: None,
                ssh_keys: vec![],
                shell: None,
                groups: vec![],
                sudo: false,
            },
            expires_at: at(50),
            on_failure: OnFailure::Keep,
        };
        Ok(self.store.reservation_create(new, None, at(2)).await?.0.id)
    }

    async fn poison(&self, sql: String) {
        self.store.write(move |conn| Ok(conn.batch_execute(&sql)?)).await.unwrap();
    }

    async fn names(&self) -> BTreeSet<MachineName> {
        let machines = self.store.machine_list(None, 100).await.unwrap().items;
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
    let listed = bench.store.reservation_list(None, None, true, None, 10).await.unwrap().items;
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
    let looked =
        bench.store.read(move |conn| choose(conn, &new, AfterUse::Clean, Spares::KeptBack, TTL, at(3))).await;
    assert!(matches!(looked, Err(Failure::Shortage(_))), "{looked:?}");
}

/// Of this machine only, the newest, and never half of what was told in full.
#[tokio::test]
async fn what_agents_tell_of_cleaning_is_kept() {
    let bench = Bench::new();
    bench.machine("m1").await;
    bench.machine("m2").await;
    let id = bench.reserve("alice").await;
    let seat = bench.store.reservation_get(id).await.unwrap().seats[0].id;
    let begun = Cleaning { attempts: 1, ..Cleaning::began(seat, "alice".parse().unwrap(), 66_000, at(2)) };
    let removed = [(Residue::Process, 3), (Residue::Cron, 1)].into();
    let ended = Cleaning { ended_at: Some(at(3)), removed, attempts: 2, ..begun.clone() };
    let foreign = bench.told("m2", vec![ended.clone()]).await;
    assert_eq!((foreign.kept, foreign.cleaned), (vec![seat], vec![]), "it need not be told again");
    assert!(bench.store.cleaning_list("m2", None, 10).await.unwrap().items.is_empty());

    bench.told("m1", vec![begun.clone()]).await;
    let kept = bench.store.cleaning_list("m1", None, 10).await.unwrap().items;
    assert_eq!((kept.len(), kept[0].attempts, kept[0].ended_at), (1, 1, None));
    bench.store.reservation_release(id, at(3)).await.unwrap();
    let news = bench.told("m1", vec![ended.clone()]).await;
    assert_eq!((news.kept, news.cleaned.len()), (vec![seat], 1));
    assert_eq!(news.seen.last(), Some(&Seen::Clean(id)));
    let again = bench.told("m1", vec![begun, ended]).await;
    assert_eq!((again.kept, again.cleaned), (vec![seat], vec![]), "no news");
    let kept = bench.store.cleaning_list("m1", None, 10).await.unwrap().items;
    assert_eq!((kept.len(), kept[0].attempts, kept[0].ended_at), (1, 2, Some(at(3))));
    let events = bench.store.event_list(0, EventFilter::default(), 100).await.unwrap().items;
    let cleaned = events.iter().find(|event| event.kind == "machine.cleaned").unwrap();
    assert_eq!(cleaned.detail, "alice: 3 processes, 1 cron job in 0 ms");
    assert!(
        bench.store.cleaning_list("m1", Some(seat), 10).await.unwrap().items.is_empty(),
        "the page after"
    );
    assert!(matches!(bench.store.cleaning_list("m9", None, 10).await, Err(Failure::NotFound(_))));
}

#[tokio::test]
async fn one_token_is_for_one_agent_and_a_former_one_does_not_come_back_by_it() {
    let bench = Bench::new();
    let machine = bench.machine("m1").await;
    let again = || bench.store.machine_enrol("token of m1".into(), "credential of m1".into(), at(2));
    let first = again().await.unwrap().incarnation;
    assert_eq!(again().await.unwrap().incarnation, first, "the first answer was lost");
    bench.store.join_token_add(machine.id, "another".into(), at(100)).await.unwrap();
    let second = bench.store.machine_enrol("another".into(), "new".into(), at(3)).await.unwrap().incarnation;
    assert_ne!(first, second);
    assert!(matches!(again().await, Err(Failure::Unauthorised(_))));
    assert_eq!(bench.store.machine_get("m1").await.unwrap().seen_generation, 0);
}

#[tokio::test]
async fn the_database_itself_refuses_a_second_holder() {
    let bench = Bench::new();
    bench.machine("m1").await;
    bench.reserve("alice").await;
    let again = "INSERT INTO assignment (id, reservation_id, machine_id, uid, created_at, attempts) \
                 SELECT 'another', reservation_id, machine_id, uid + 1, created_at, 0 FROM assignment";
    let refused = bench.store.write(move |conn| Ok(conn.batch_execute(again)?)).await;
    assert!(refused.is_err());
}

/// A pool's machine is destroyed, and until that has happened nobody calls it clean; its holder has another at once.
#[tokio::test]
async fn a_pools_machine_in_quarantine_is_destroyed_once_it_is_retired() {
    let bench = Bench::new();
    let machine = bench.machine("m1").await;
    let other = bench.machine("m2").await;
    let id = bench.reserve("alice").await;
    let ahead = Report { generation: 99, ..Report::default() };
    assert!(bench.letter("m1", ahead).await.unwrap().spec.is_none());
    let members = || async { bench.store.pool_members("p".parse().unwrap()).await.unwrap() };
    assert!(members().await[0].held, "it stays until somebody retires it");

    let (retired, outcome) = bench.store.machine_retire("m1", at(5)).await.unwrap();
    assert!(retired.retired_at.is_some() && retired.holding.is_some());
    assert_eq!((outcome.reservation, outcome.machines), (Some(id), vec![machine.id, other.id]));
    assert!(matches!(bench.letter("m1", Report::default()).await, Err(Failure::Gone(_))));
    assert!(!members().await[0].held, "it may be destroyed");
    assert_eq!(bench.store.machine_gone(machine.id, at(6)).await.unwrap().reservation, Some(id));
    let seats = bench.store.reservation_get(id).await.unwrap().seats;
    assert_eq!((seats[0].cleaned_at, seats[1].cleaned_at), (Some(at(6)), None));
}

impl Bench {
    /// One that was visited.
    async fn visited(&self, name: &str) -> Machine {
        let ssh = NewAccess {
            user: "root".to_owned(),
            auth: AuthKind::Password,
            key_file: None,
            sealed: Box::new(|_| String::new()),
            host_key: Some(HostKeyChange::Pin {
                line: "ssh-ed25519 AAAA".into(),
                fingerprint: String::new(),
            }),
            jump: None,
        };
        let new = NewMachine {
            name: name.parse().unwrap(),
            host: name.to_owned(),
            port: 22,
            labels: Labels::default(),
            pool: None,
            ssh: Some(ssh),
            uids: Uids::default(),
            listing: None,
            join: None,
        };
        let (machine, _) = self.store.machine_create(new, None, at(0)).await.unwrap();
        let report = Report { generation: machine.generation, ..Report::default() };
        self.store.visit_made(machine.id, report, at(1)).await.unwrap();
        machine
    }

    /// One that somebody wants to have an agent.
    async fn adopting(&self, name: &str) -> Machine {
        self.visited(name).await;
        let door = "unix:/run/berth/agent.sock".parse().unwrap();
        let machine = self.store.machine_adopt(name, door, None, at(1)).await.unwrap();
        self.store.adoption_token(machine.id, "token".into(), at(100), at(1)).await.unwrap();
        machine
    }

    async fn stage(&self, name: &str) -> Option<Stage> {
        self.store.machine_get(name).await.unwrap().ssh.unwrap().stage()
    }

    async fn order(&self, name: &str) -> Adoption {
        self.store.machine_get(name).await.unwrap().ssh.unwrap().adoption.unwrap()
    }
}

#[tokio::test]
async fn a_damaged_log_in_leaves_out_one_machine() {
    let bench = Bench::new();
    let poisoned = bench.visited("m1").await;
    let whole = bench.visited("m2").await;
    bench.poison(format!("UPDATE ssh_access SET auth = '' WHERE machine_id = '{}'", poisoned.id)).await;
    let listed = bench.store.machine_list(None, 10).await.unwrap().items;
    assert_eq!(listed.iter().map(|machine| machine.id).collect::<Vec<_>>(), [whole.id]);
    let id = bench.reserve("alice").await;
    assert_eq!(bench.store.reservation_get(id).await.unwrap().seats[0].machine, whole.id);
    assert!(bench.store.itinerary(poisoned.id).await.is_err());
    assert_eq!(bench.store.itinerary(whole.id).await.unwrap().accesses.len(), 1);
    bench.visited("m3").await;
    let page = bench.store.machine_list(None, 2).await.unwrap();
    assert_eq!((page.items.len(), page.is_last), (1, false), "others follow all the same");
}

#[tokio::test]
async fn a_machine_without_a_confirmed_host_key_is_not_lent() {
    let bench = Bench::new();
    bench.visited("m1").await;
    let await_another = MachineChange {
        labels: None,
        cordoned: None,
        host: None,
        port: None,
        ssh: None,
        host_key: Some(HostKeyChange::Await("accept-new".parse().unwrap())),
    };
    bench.store.machine_patch("m1", await_another, at(2)).await.unwrap();
    let refused = bench.try_reserve("alice", Want::Count { count: 1, labels: Labels::default() }).await;
    assert!(matches!(refused, Err(Failure::Shortage(_))), "{refused:?}");
}

#[tokio::test]
async fn whoever_is_on_a_machine_stays_when_its_agent_comes() {
    let bench = Bench::new();
    let machine = bench.adopting("m1").await;
    let id = bench.reserve("alice").await;
    let enrol = || bench.store.machine_enrol("token".into(), "credential of m1".into(), at(3));
    for _ in 0..2 {
        let enrolled = enrol().await.unwrap();
        assert!(enrolled.goes_on && enrolled.replaced.reservation.is_none(), "{enrolled:?}");
        assert_eq!(Some(enrolled.incarnation), machine.incarnation);
    }
    let adopted = bench.store.machine_get("m1").await.unwrap();
    assert_eq!(adopted.holding.map(|holding| (holding.reservation, holding.ended_at)), Some((id, None)));
    assert_eq!((adopted.seen_at, bench.stage("m1").await), (Some(at(1)), Some(Stage::Adopted)));
    let spec = bench.letter("m1", Report::default()).await.unwrap().spec;
    assert_eq!(spec.map(|spec| spec.accounts.len()), Some(1));
    // A visit that was under way, and found the agent at work, says nothing of the machine.
    bench.store.visit_failed(machine.id, "busy".into(), at(4)).await.unwrap();
    assert_eq!(bench.store.machine_get("m1").await.unwrap().ssh.unwrap().error, None);
    assert!(matches!(bench.store.itinerary(machine.id).await, Err(Failure::NotFound(_))));
}

#[tokio::test]
async fn an_agent_that_is_to_go_lets_nobody_in_and_does_not_come_back() {
    let bench = Bench::new();
    let machine = bench.adopting("m1").await;
    bench.store.machine_enrol("token".into(), "credential of m1".into(), at(2)).await.unwrap();
    bench.store.adoption_token(machine.id, "late".into(), at(100), at(2)).await.unwrap_err();
    bench.store.machine_release_agent("m1", at(3)).await.unwrap();
    let ask = Want::Named(vec!["m1".parse().unwrap()]);
    let refused = bench.try_reserve("alice", ask).await;
    assert!(matches!(refused, Err(Failure::Shortage(_))), "{refused:?}");
    let report = Report { generation: machine.generation, ..Report::default() };
    bench.store.agent_released(machine.id, report, at(4)).await.unwrap();
    assert_eq!(bench.stage("m1").await, None);
    assert!(matches!(bench.letter("m1", Report::default()).await, Err(Failure::Unauthorised(_))));
    let again = bench.store.machine_enrol("token".into(), "credential of m1".into(), at(5)).await;
    assert!(matches!(again, Err(Failure::Unauthorised(_))), "{again:?}");
    bench.reserve("alice").await;
    let refused = bench.store.machine_release_agent("m1", at(6)).await;
    assert!(matches!(refused, Err(Failure::Conflict(_))));
}

#[tokio::test]
async fn a_token_that_was_not_used_ends_with_the_wish() {
    let bench = Bench::new();
    let machine = bench.adopting("m1").await;
    let order = bench.order("m1").await;
    bench.store.agent_installed(machine.id, order, at(2)).await.unwrap();
    bench.store.agent_overdue(machine.id, at(62)).await.unwrap();
    let adoption = bench.order("m1").await;
    assert_eq!((adoption.installed_at, adoption.failures), (None, 1));
    assert!(adoption.error.unwrap().contains("unix:/run/berth/agent.sock"));
    bench.store.machine_release_agent("m1", at(63)).await.unwrap();
    let late = bench.store.machine_enrol("token".into(), "credential".into(), at(64)).await;
    assert!(matches!(late, Err(Failure::Unauthorised(_))), "{late:?}");
    assert_eq!(bench.stage("m1").await, Some(Stage::Releasing));
}

#[tokio::test]
async fn what_comes_of_an_order_does_not_count_for_the_next_one() {
    let bench = Bench::new();
    let machine = bench.adopting("m1").await;
    let first = bench.order("m1").await;
    let other = "https://berth.example.org:8444".parse().unwrap();
    bench.store.machine_adopt("m1", other, None, at(2)).await.unwrap();
    let second = bench.order("m1").await;
    bench.store.agent_installed(machine.id, first.clone(), at(3)).await.unwrap();
    bench.store.adoption_failed(machine.id, first, "it hangs".into(), at(3)).await.unwrap();
    assert_eq!(bench.order("m1").await, second, "it is carried out at once");
    bench.store.agent_installed(machine.id, second, at(4)).await.unwrap();
    assert_eq!(bench.order("m1").await.installed_at, Some(at(4)));
}
