//! Fifty machines behind one address, whose sshd is as wary as it comes.

use super::{patient, ssh_with};
use futures_util::future::join_all;
use server::reach::ssh::Target;
use tests::sshd::Sshd;

const MACHINES: usize = 50;

#[tokio::test(flavor = "multi_thread")]
async fn fifty_at_once_are_visited_where_ten_may_wait() {
    all_are_visited(&Sshd::openssh("berth-debian", &[], "-o MaxStartups=10")).await;
}

/// Which counts what looks like an attack, and shuts the address out. Before OpenSSH 9.8 it does not.
#[tokio::test(flavor = "multi_thread")]
async fn fifty_at_once_are_visited_where_an_address_is_punished() {
    let penalties = "-o PerSourcePenalties=yes";
    let options = format!(
        "-o MaxStartups=10 \
         $(/usr/sbin/sshd -t {penalties} 2>/dev/null && echo {penalties})"
    );
    let sshd = Sshd::openssh("berth-alpine", &[], &options);
    let ssh = ssh_with(&[], "", patient());
    // Seen before, as at a registration.
    ssh.scan("127.0.0.1", sshd.port, None).await.unwrap();
    all_are_visited(&sshd).await;
}

async fn all_are_visited(sshd: &Sshd) {
    let ssh = ssh_with(&[&sshd.container], "cat", patient());
    let targets: Vec<Target> = (0..MACHINES).map(|_| sshd.target()).collect();
    for round in [1, 2] {
        let visits =
            join_all(targets.iter().map(|target| ssh.visit(target, "once", || b"seen".into()))).await;
        for visit in visits {
            assert_eq!(visit.unwrap(), b"seen", "round {round}");
        }
        assert_eq!(sshd.count("Accepted"), MACHINES, "each logs in once");
    }
    assert_eq!(sshd.count("drop connection"), 0, "{}", sshd.log());
}
