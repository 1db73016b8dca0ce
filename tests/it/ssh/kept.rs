//! Connections between visits.

use super::between::{Between, Then};
use super::{input, is_report, patient, ssh, ssh_with, ssh_within};
use futures_util::future::join_all;
use server::reach::ssh::{Target, Timeouts};
use std::time::Duration;
use tests::container::eventually;
use tests::sshd::Sshd;

/// Log-ins that stand.
fn standing(sshd: &Sshd) -> usize {
    sshd.container.run("ps ax | grep -c '[s]shd: root@notty' || true").parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn one_connection_serves_all_visits_until_it_is_cut() {
    let sshd = Sshd::debian("");
    let (ssh, target) = (ssh(), sshd.target());
    for _ in 0..3 {
        assert!(is_report(&ssh.visit(&target, "once", || input().into()).await.unwrap()));
    }
    assert_eq!((sshd.count("Accepted"), standing(&sshd)), (1, 1));
    sshd.container.run("pkill -KILL -f 'sshd: root@nott[y]'");
    assert!(is_report(&ssh.visit(&target, "once", || input().into()).await.unwrap()));
    assert_eq!((sshd.count("Accepted"), standing(&sshd)), (2, 1));
    ssh.forget(target.machine);
    eventually("a forgotten connection is gone", || standing(&sshd) == 0);
    assert!(is_report(&ssh.visit(&target, "once", || input().into()).await.unwrap()));
    drop(ssh);
    eventually("with the client all are gone", || standing(&sshd) == 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unused_connection_is_given_up() {
    let sshd = Sshd::debian("");
    let ssh = ssh_within(Timeouts { idle: Duration::from_millis(500), ..patient() });
    let target = sshd.target();
    assert!(is_report(&ssh.visit(&target, "once", || input().into()).await.unwrap()));
    eventually("the connection is given up", || standing(&sshd) == 0);
    assert!(is_report(&ssh.visit(&target, "once", || input().into()).await.unwrap()));
}

/// As after a firewall has forgotten it: nothing says that it is dead.
#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_went_silent_is_replaced_within_the_visit() {
    let sshd = Sshd::debian("");
    let between = Between::passing(sshd.port).await;
    let ssh = ssh_within(Timeouts { connect: Duration::from_secs(3), ..patient() });
    let target = Target { port: between.port, ..sshd.target() };
    assert!(is_report(&ssh.visit(&target, "once", || input().into()).await.unwrap()));
    between.stop_all(Then::Silent);
    assert!(is_report(&ssh.visit(&target, "once", || input().into()).await.unwrap()));
    assert_eq!(sshd.count("Accepted"), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn visits_to_one_machine_wait_for_each_other() {
    let sshd = Sshd::debian("");
    let script = "mkdir /run/visiting || exit 9; cat; sleep 0.1; rmdir /run/visiting";
    let ssh = ssh_with(&[&sshd.container], script, patient());
    let target = sshd.target();
    let visits = join_all((0..5).map(|_| ssh.visit(&target, "once", || b"in turn".into()))).await;
    for visit in visits {
        assert_eq!(visit.unwrap(), b"in turn");
    }
    assert_eq!(sshd.count("Accepted"), 1);
}

/// Nobody waits for it any more, so what it was doing is not known.
#[tokio::test(flavor = "multi_thread")]
async fn a_visit_that_is_given_up_takes_its_connection_along() {
    let sshd = Sshd::debian("");
    let ssh = ssh_with(&[&sshd.container], "cat; touch /run/begun; exec sleep 1000", patient());
    let target = sshd.target();
    let visit = tokio::spawn({
        let (ssh, target) = (ssh.clone(), target.clone());
        async move { ssh.visit(&target, "once", || input().into()).await }
    });
    eventually("the visit has begun", || sshd.container.path("/run/begun").exists());
    visit.abort();
    assert!(visit.await.unwrap_err().is_cancelled());
    sshd.container.run("sed -i 's/exec sleep 1000/true/' /var/lib/berth/bin/berth-agent-*");
    eventually("its connection is gone", || standing(&sshd) == 0);
    assert_eq!(ssh.visit(&target, "once", || b"again".into()).await.unwrap(), b"again");
    assert_eq!(sshd.count("Accepted"), 2);
}
