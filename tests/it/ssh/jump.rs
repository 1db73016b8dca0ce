//! Through one machine to another that only it can reach.

use super::between::{Between, Then};
use super::{input, is_report, patient, ssh, ssh_with, ssh_within};
use futures_util::future::join_all;
use server::reach::VisitError;
use server::reach::ssh::{Target, Timeouts};
use std::process::Command;
use std::time::Duration;
use tests::container::said;
use tests::sshd::{Sshd, key_pair, pinned};

/// Removed when dropped.
struct Network(String);

impl Network {
    fn new() -> Self {
        let name = format!("berth-test-{}", tests::sshd::machine());
        said(Command::new("docker").args(["network", "create", &name]));
        Self(name)
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        let _ = Command::new("docker").args(["network", "rm", &self.0]).output();
    }
}

/// In the order they have to go in.
struct Place {
    inner: Sshd,
    jump: Sshd,
    _network: Network,
}

impl Place {
    /// `options` are those of the jump host's sshd. The inner one's listens at no port that is published.
    fn new(options: &str) -> Self {
        let network = Network::new();
        let flags = ["--network", &network.0];
        let inner = ["--network", &network.0, "--network-alias", "inner"];
        Self {
            inner: Sshd::openssh("berth-debian", &inner, "-p 2222"),
            jump: Sshd::openssh("berth-alpine", &flags, options),
            _network: network,
        }
    }

    fn target(&self, jump: Target) -> Target {
        Target { host: "inner".into(), port: 2222, jump: Some(Box::new(jump)), ..self.inner.target() }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_behind_another_is_visited() {
    let place = Place::new("-o AllowTcpForwarding=yes");
    let ssh = ssh();
    let jump = place.jump.target();
    let target = place.target(jump.clone());
    let direct = Target { jump: None, ..target.clone() };
    assert!(matches!(
        ssh.visit(&direct, "once", || input().into()).await,
        Err(VisitError::NoSuchName { .. })
    ));
    assert_eq!(ssh.scan("inner", 2222, Some(&jump)).await.unwrap(), place.inner.host_key());
    for _ in 0..2 {
        assert!(is_report(&ssh.visit(&target, "once", || input().into()).await.unwrap()));
    }
    assert_eq!((place.jump.count("Accepted"), place.inner.count("Accepted")), (1, 1));
    assert_eq!(place.jump.agents(), "", "nothing is left on the way");
    // Another connection to the jump host, so another one through it.
    ssh.forget(jump.machine);
    assert!(is_report(&ssh.visit(&target, "once", || input().into()).await.unwrap()));
    assert_eq!((place.jump.count("Accepted"), place.inner.count("Accepted")), (2, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn many_machines_share_the_way() {
    let place = Place::new("-o AllowTcpForwarding=yes");
    let ssh = ssh_with(&[&place.inner.container, &place.jump.container], "cat", patient());
    let jump = place.jump.target();
    let targets: Vec<Target> = (0..20).map(|_| place.target(jump.clone())).collect();
    // The jump host is a machine, too.
    let visits =
        join_all(targets.iter().chain([&jump]).map(|target| ssh.visit(target, "once", || b"seen".into())))
            .await;
    for visit in visits {
        assert_eq!(visit.unwrap(), b"seen");
    }
    assert_eq!((place.jump.count("Accepted"), place.inner.count("Accepted")), (1, 20));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_way_that_went_silent_is_left_after_one_visit() {
    let place = Place::new("-o AllowTcpForwarding=yes");
    let between = Between::passing(place.jump.port).await;
    let ssh = ssh_within(Timeouts { connect: Duration::from_secs(3), ..patient() });
    let target = place.target(Target { port: between.port, ..place.jump.target() });
    assert!(is_report(&ssh.visit(&target, "once", || input().into()).await.unwrap()));
    between.stop_all(Then::Silent);
    let error = ssh.visit(&target, "once", || input().into()).await.unwrap_err();
    assert!(matches!(error, VisitError::TimedOut { .. }), "{error}");
    assert!(is_report(&ssh.visit(&target, "once", || input().into()).await.unwrap()));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_on_the_way_is_said_of_the_way() {
    let place = Place::new("-o AllowTcpForwarding=no");
    let error = ssh().visit(&place.target(place.jump.target()), "once", || input().into()).await.unwrap_err();
    assert!(matches!(error, VisitError::NotForwarded { .. }), "{error}");
    let other = key_pair("ed25519", "").1.parse().unwrap();
    let error = ssh()
        .visit(&place.target(pinned(place.jump.target(), other)), "once", || input().into())
        .await
        .unwrap_err();
    assert!(!error.is_host_key(), "it is not the machine's");
    let VisitError::AtJump { error, .. } = error else { panic!("{error}") };
    assert!(error.is_host_key(), "{error}");
}
