//! Ways in: each server, each kind of proof.

use super::{input, is_report, ssh};
use server::reach::VisitError;
use server::reach::ssh::{Auth, HostKey, Login, read_key};
use std::fs;
use tests::port::free_port;
use tests::sshd::{PASSWORD, Sshd, key_pair, secret};

#[tokio::test(flavor = "multi_thread")]
async fn openssh_is_visited_by_password_and_by_key() {
    let (rsa, public) = key_pair("rsa", "");
    let sshd = Sshd::debian("");
    let keys = sshd.container.path("/root/.ssh/authorized_keys");
    let known = fs::read_to_string(&keys).unwrap();
    fs::write(&keys, format!("{known}{public}\n")).unwrap();
    let by_rsa = Login { auth: Auth::Key(read_key(&rsa, None).unwrap()), ..sshd.by_key("root") };
    let ssh = ssh();
    for login in [sshd.by_password("root"), sshd.by_key("root"), by_rsa] {
        assert!(is_report(&ssh.visit(&sshd.target_by(login), "once", || input().into()).await.unwrap()));
    }
    assert_eq!((sshd.count("Accepted password"), sshd.count("Accepted publickey")), (1, 2));
    assert_eq!(sshd.count("Failed"), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_asks_by_prompt_alone_is_answered_once() {
    let sshd = Sshd::debian("-o PasswordAuthentication=no -o KbdInteractiveAuthentication=yes -o UsePAM=yes");
    let target = sshd.target_by(sshd.by_password("root"));
    assert!(is_report(&ssh().visit(&target, "once", || input().into()).await.unwrap()));
    assert_eq!(sshd.count("Accepted keyboard-interactive"), 1);
    let wrong = Login { auth: Auth::Password(secret("wrong")), ..sshd.by_password("root") };
    let error = ssh().visit(&sshd.target_by(wrong), "once", || input().into()).await.unwrap_err();
    assert!(matches!(error, VisitError::LogInRefused { .. }), "{error}");
    assert_eq!(sshd.count("PAM: Authentication failure"), 1, "{}", sshd.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn dropbear_on_debian_is_visited() {
    dropbear_is_visited("berth-debian").await;
}

/// And BusyBox for all else.
#[tokio::test(flavor = "multi_thread")]
async fn dropbear_on_alpine_is_visited() {
    dropbear_is_visited("berth-alpine").await;
}

async fn dropbear_is_visited(image: &str) {
    let sshd = Sshd::dropbear(image);
    let ssh = ssh();
    assert_eq!(ssh.scan("127.0.0.1", sshd.port, None).await.unwrap(), sshd.host_key());
    for login in [sshd.by_password("root"), sshd.by_key("root")] {
        let target = sshd.target_by(login);
        for _ in 0..2 {
            assert!(is_report(&ssh.visit(&target, "once", || input().into()).await.unwrap()));
        }
    }
    assert_eq!((sshd.count("Password auth succeeded"), sshd.count("Pubkey auth succeeded")), (1, 1));
    assert_eq!(sshd.agents().lines().count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_log_in_is_tried_once_and_says_what_is_offered() {
    let sshd = Sshd::debian("");
    let (stranger, _) = key_pair("ed25519", "");
    for (auth, words) in [
        (Auth::Password(secret("not-the-password")), "Failed password for root"),
        (Auth::Key(read_key(&stranger, None).unwrap()), "Failed publickey for root"),
    ] {
        let target = sshd.target_by(Login { auth, ..sshd.by_key("root") });
        let error = ssh().visit(&target, "once", || input().into()).await.unwrap_err();
        let VisitError::LogInRefused { user, offered } = &error else { panic!("{error}") };
        assert_eq!((user.as_str(), offered.join(",").as_str()), ("root", "publickey,password"));
        assert!(!error.to_string().contains("not-the-password"));
        assert!(sshd.count(words) <= 1, "{}", sshd.log());
    }
    assert_eq!(sshd.count("Failed password for root"), 1, "{}", sshd.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_pinned_key_is_asked_for_where_there_are_several() {
    let sshd = Sshd::debian("-h /etc/ssh/ssh_host_ecdsa_key -h /etc/ssh/ssh_host_rsa_key");
    let ssh = ssh();
    for kind in ["ed25519", "ecdsa", "rsa"] {
        let line = fs::read_to_string(sshd.container.path(&format!("/etc/ssh/ssh_host_{kind}_key.pub")));
        let host_key: HostKey = line.unwrap().parse().unwrap();
        let target = tests::sshd::pinned(sshd.target(), host_key);
        assert!(is_report(&ssh.visit(&target, "once", || input().into()).await.unwrap()), "{kind}");
    }
    assert_eq!(ssh.scan("127.0.0.1", sshd.port, None).await.unwrap(), sshd.host_key());
    assert_eq!(sshd.count("Accepted"), 3, "a scan logs nobody in");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_reached_is_said() {
    let sshd = Sshd::debian("");
    let target = sshd.target();
    let ssh = ssh();
    let free = free_port();
    for (host, port, expected) in [
        ("no-such-host.invalid", 22, "does not resolve"),
        ("169.254.169.254", 22, "a cloud's metadata"),
        ("127.0.0.1", free, "Connection refused"),
    ] {
        let elsewhere = server::reach::ssh::Target { host: host.to_owned(), port, ..target.clone() };
        for error in [
            ssh.visit(&elsewhere, "once", || input().into()).await.unwrap_err(),
            ssh.scan(host, port, None).await.unwrap_err(),
        ] {
            assert!(error.to_string().contains(expected), "{error}");
            assert!(!error.to_string().contains(PASSWORD));
        }
    }
}
