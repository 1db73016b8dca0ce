//! A machine that is visited over SSH gets an agent of its own, and is visited again.

mod machine;
mod tls;

use crate::adopt::machine::{Services, Visited};
use model::adoption::{AdoptionView, Stage};
use model::phase::Phase;
use model::report::EndsBy;
use model::wire::{DurationText, ReservationCreate, ReservationView};
use std::process::Command;
use std::time::Duration;
use tests::container::said;
use tests::real::{By, RealFarm, ssh, until};

const DOOR: &str = "unix:/run/berth/agent.sock";
const PASSWORD: &str = "correct horse";

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_without_a_service_manager_is_adopted_and_released() {
    there_and_back("berth-debian", Services::None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_with_systemd_is_adopted_and_released() {
    there_and_back("berth-debian", Services::Systemd).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_with_openrc_is_adopted_and_released() {
    there_and_back("berth-alpine", Services::OpenRc).await;
}

/// Alice is on it when the agent comes, and notices nothing of it.
async fn there_and_back(image: &str, services: Services) {
    let farm = RealFarm::start("debug").await;
    let machine = Visited::register(&farm, "m1", image, services).await;
    let alice = machine.reserve("alice").await;
    let uid = alice.machines[0].uid;
    assert!(runs(&alice, "alice", "setsid sleep 1000 >/dev/null 2>&1 & echo hers >~/note"));
    let (before, started) = (machine.entries("alice"), machine.process_of(uid));

    let adopting = machine.client.machine_adopt(&machine.name, DOOR, None).await.unwrap().body;
    assert_eq!(adopting.ssh.unwrap().adoption.map(|adoption| adoption.server).as_deref(), Some(DOOR));
    machine.until_adopted().await;
    assert_eq!(machine.entries("alice"), before, "her account is the one that was made");
    assert!(runs(&alice, "alice", &format!("[ \"$(cat ~/note)\" = hers ] && [ $(id -u) = {uid} ]")));
    assert_eq!(machine.process_of(uid), started, "what she started goes on");
    assert!(machine.container.agents("watch").is_empty(), "the agent took over from the watcher");
    assert_eq!(machine.get().await.reservation, Some(alice.id));
    let again = machine.client.machine_adopt(&machine.name, DOOR, None).await.unwrap().body;
    assert_eq!(again.ssh.unwrap().adoption.unwrap().stage, Stage::Adopted, "asked again, nothing changes");
    installing_again_changes_nothing(&machine);

    let refused = machine.client.machine_release_agent(&machine.name).await.unwrap_err();
    assert!(
        refused.status() == Some(409) && refused.to_string().contains(&alice.id.to_string()),
        "{refused}"
    );
    assert_eq!(farm.release(alice.id).await.phase, Phase::Ended, "{}", farm.log());
    assert!(!runs(&alice, "alice", "true") && machine.entries("alice").is_empty());
    let bob = machine.reserve("bob").await;
    assert!(runs(&bob, "bob", "true") && bob.machines[0].uid > uid);
    assert_eq!(bob.machines[0].ends_by, Some(EndsBy::Agent));
    assert_eq!(farm.release(bob.id).await.phase, Phase::Ended, "{}", farm.log());

    machine.client.machine_release_agent(&machine.name).await.unwrap();
    machine.until_visited().await;
    machine.nothing_of_a_service_is_left();
    let carol = machine.reserve("carol").await;
    assert!(runs(&carol, "carol", "true") && carol.machines[0].uid > bob.machines[0].uid);
    assert_eq!(carol.machines[0].ends_by, Some(EndsBy::Watcher));
    assert_eq!(farm.release(carol.id).await.phase, Phase::Ended, "{}", farm.log());
    assert!(!farm.log().contains("berth_join_"), "the log keeps tokens to itself");
}

/// The same token again, as somebody would by hand.
fn installing_again_changes_nothing(machine: &Visited) {
    let agents = || machine.container.agents("run");
    let before = agents();
    assert_eq!(before.len(), 1, "there is one agent: {before:?}");
    let install = format!("/usr/local/sbin/berth-agent install --server {DOOR} </var/lib/berth/join-token");
    machine.container.run(&install);
    assert_eq!(agents(), before);
}

/// Until it has enrolled, an agent keeps nobody out. It is never given up.
#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_does_not_enrol_is_said_and_visits_go_on() {
    let farm = RealFarm::start("debug").await;
    let machine = Visited::register(&farm, "m1", "berth-debian", Services::None).await;
    machine.client.machine_adopt(&machine.name, "unix:/run/elsewhere/agent.sock", None).await.unwrap();
    until("its agent is there", async || machine.container.agents("run").len() == 1).await;
    let alice = machine.reserve("alice").await;
    assert!(runs(&alice, "alice", "true"));
    let said = async || machine.adoption().await.and_then(|adoption| adoption.error);
    let is_said = async || said().await.is_some();
    // It is given a minute, and `until` has no more patience than that.
    for _ in 0..2 {
        let waited = tokio::time::timeout(Duration::from_secs(50), until("it is said", &is_said)).await;
        if waited.is_ok() {
            break;
        }
    }
    let error = said().await.unwrap();
    assert!(
        error.contains("has not enrolled within 60 s") && error.contains("unix:/run/elsewhere/agent.sock"),
        "{error}"
    );
    let AdoptionView { stage, .. } = machine.adoption().await.unwrap();
    assert_eq!(stage, Stage::Adopting);
    assert!(runs(&alice, "alice", "true"));
    machine.container.run("mkdir /run/elsewhere; ln -s /run/berth/agent.sock /run/elsewhere/agent.sock");
    machine.until_adopted().await;
    assert_eq!(machine.adoption().await.unwrap().error, None);
    assert!(runs(&alice, "alice", "true"));
    assert_eq!(farm.release(alice.id).await.phase, Phase::Ended, "{}", farm.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_installed_is_said_and_tried_again() {
    let farm = RealFarm::start("debug").await;
    let machine = Visited::register(&farm, "m1", "berth-debian", Services::None).await;
    machine.container.run("chmod 777 /usr/local/sbin");
    machine.client.machine_adopt(&machine.name, DOOR, None).await.unwrap();
    let said = async || machine.adoption().await.and_then(|adoption| adoption.error).unwrap_or_default();
    until("it is said", async || said().await.contains("others may write to /usr/local/sbin")).await;
    assert_eq!(machine.get().await.state, "free", "visits go on");
    machine.container.run("chmod 755 /usr/local/sbin");
    machine.until_adopted().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_was_killed_comes_back_and_one_retired_leaves_nothing() {
    let farm = RealFarm::start("debug").await;
    let machine = Visited::register(&farm, "m1", "berth-debian", Services::None).await;
    machine.client.machine_adopt(&machine.name, DOOR, None).await.unwrap();
    machine.until_adopted().await;
    let agents = || machine.container.agents("run");
    let before = agents();
    said(Command::new("kill").args(["-9", &before[0].to_string()]));
    until("another one runs", async || agents().len() == 1 && agents() != before).await;
    let alice = machine.reserve("alice").await;
    assert!(runs(&alice, "alice", "true"));
    assert_eq!(farm.release(alice.id).await.phase, Phase::Ended, "{}", farm.log());
    machine.client.machine_retire(&machine.name).await.unwrap();
    until("its agent is gone", async || agents().is_empty()).await;
    until("and who kept it", async || machine.container.agents("keep").is_empty()).await;
    machine.nothing_of_a_service_is_left();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_taken_away_before_it_enrolled_leaves_nothing() {
    let farm = RealFarm::start("debug").await;
    let machine = Visited::register(&farm, "m1", "berth-debian", Services::None).await;
    machine.client.machine_adopt(&machine.name, "unix:/run/elsewhere/agent.sock", None).await.unwrap();
    until("its agent is there", async || machine.container.agents("run").len() == 1).await;
    machine.client.machine_release_agent(&machine.name).await.unwrap();
    machine.until_visited().await;
    machine.nothing_of_a_service_is_left();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_is_refused() {
    let farm = RealFarm::start("debug").await;
    let machine = Visited::register(&farm, "m1", "berth-debian", Services::None).await;
    for server in ["http://10.0.0.1:80", "https://127.0.0.1:port", "unix:relative", "unix:/run/$(reboot)"] {
        let refused = machine.client.machine_adopt(&machine.name, server, None).await.unwrap_err();
        assert!(
            refused.status() == Some(400) && refused.to_string().contains("`server`"),
            "{server}: {refused}"
        );
    }
    let refused = machine.client.machine_release_agent(&machine.name).await.unwrap_err();
    assert_eq!(refused.status(), Some(409), "{refused}");
    let other = serde_json::from_str(r#"{"name": "m2", "host": "127.0.0.1"}"#).unwrap();
    let other = machine.client.machine_create(&other, None).await.unwrap().body.machine.name;
    let refused = machine.client.machine_adopt(&other, DOOR, None).await.unwrap_err();
    assert_eq!(refused.status(), Some(409), "{refused}");
    assert_eq!(machine.adoption().await, None);
}

fn ask(username: &str, machine: &str) -> ReservationCreate {
    ReservationCreate {
        username: username.to_owned(),
        password: Some(PASSWORD.to_owned()),
        machines: vec![machine.to_owned()],
        duration: Some(DurationText::Text("1h".to_owned())),
        ..ReservationCreate::default()
    }
}

/// Whether a command of hers works on the machine, over a connection of its own.
fn runs(of: &ReservationView, user: &str, command: &str) -> bool {
    ssh(&of.machines[0], user, &By::Password(PASSWORD), command).status.success()
}
