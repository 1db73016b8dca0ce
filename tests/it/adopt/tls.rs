//! An agent that is brought over SSH and dials over TLS.

use super::machine::{Services, Visited};
use super::runs;
use crate::tls::authority::Authority;
use model::phase::Phase;
use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::process::Command;
use tests::container::{Container, said};
use tests::real::{RealFarm, until};

/// In a real container, from which the server is at the address of Docker's bridge.
#[tokio::test(flavor = "multi_thread")]
async fn it_knows_its_server_by_the_ca_it_was_given() {
    let gateway = gateway();
    let port = TcpListener::bind((gateway.as_str(), 0)).unwrap().local_addr().unwrap().port();
    let (authority, folder) = (Authority::new(), tempfile::tempdir().unwrap());
    let issued = authority.issue(&gateway);
    let files = ["certificate.pem", "key.pem"].map(|name| folder.path().join(name).display().to_string());
    fs::write(&files[0], issued.certificate).unwrap();
    fs::write(&files[1], issued.key).unwrap();
    let door = format!("tls:{gateway}:{port}");
    let flags = ["--tls-certificate", &files[0], "--tls-key", &files[1], "--agent-listen", &door];
    // People come through a proxy, so that TLS is for agents alone.
    let farm = RealFarm::start_with("debug", &[&flags[..], &["--behind-proxy"]].concat()).await;
    let machine = Visited::register(&farm, "m1", "berth-debian", Services::None).await;
    let kept = || fs::read_to_string(machine.container.path("/var/lib/berth/ca.pem")).unwrap_or_default();

    let (dials, other) = (format!("https://{gateway}:{port}"), Authority::new().pem());
    machine.client.machine_adopt(&machine.name, &dials, Some(&other)).await.unwrap();
    until("its agent is there", async || machine.container.agents("run").len() == 1).await;
    assert_eq!(kept().trim(), other.trim());
    let identity = || fs::read_to_string(machine.container.path("/var/lib/berth/identity.json"));
    until("it has begun", async || identity().is_ok()).await;

    machine.client.machine_adopt(&machine.name, &dials, Some(&authority.pem())).await.unwrap();
    machine.until_adopted().await;
    assert_eq!(kept().trim(), authority.pem().trim(), "the right one has taken the place of the wrong one");
    let before = machine.container.agents("run");
    said(Command::new("kill").args(["-9", &before[0].to_string()]));
    let agents = || machine.container.agents("run");
    until("another one runs", async || agents().len() == 1 && agents() != before).await;
    let alice = machine.reserve("alice").await;
    assert!(runs(&alice, "alice", "true"));
    assert_eq!(farm.release(alice.id).await.phase, Phase::Ended, "{}", farm.log());

    machine.client.machine_release_agent(&machine.name).await.unwrap();
    machine.until_visited().await;
    machine.nothing_of_a_service_is_left();
}

/// Where a container finds the machine it runs on. An engine that was never restarted does not tell it of its network.
fn gateway() -> String {
    let container = Container::idle("berth-debian", &[]);
    let routes = fs::read_to_string(format!("/proc/{}/net/route", container.pid)).unwrap();
    let mut routes = routes.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let default = routes.find(|route| route[1] == "00000000").expect("there is a way out");
    let address = u32::from_str_radix(default[2], 16).unwrap();
    Ipv4Addr::from(address.to_le_bytes()).to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ca_that_is_none_is_refused() {
    let farm = RealFarm::start("debug").await;
    let machine = Visited::register(&farm, "m1", "berth-debian", Services::None).await;
    let ca = Authority::new().pem();
    for (dials, ca) in [("https://localhost:1", "nonsense"), ("unix:/run/berth/agent.sock", ca.as_str())] {
        let refused = machine.client.machine_adopt(&machine.name, dials, Some(ca)).await.unwrap_err();
        assert!(refused.status() == Some(400) && refused.to_string().contains("`ca`"), "{refused}");
    }
    assert_eq!(machine.adoption().await, None);
}
