//! Becoming root: with a password, without one, and not at all.

use super::{input, is_report, ssh, ssh_with};
use server::reach::VisitError;
use server::reach::ssh::{Login, SudoRefusal};
use tests::sshd::{PASSWORD, SUDOER, Sshd, secret};

const NOPASSWD: &str = "op ALL=(ALL) NOPASSWD: ALL";
const PASSWD: &str = "op ALL=(ALL) ALL";

fn machine(image: &str, sudoers: &str) -> Sshd {
    let sshd = Sshd::openssh(image, &[], "");
    allow(&sshd, sudoers);
    sshd
}

fn allow(sshd: &Sshd, sudoers: &str) {
    sshd.container.run(&format!("echo '{sudoers}' >/etc/sudoers.d/test; chmod 440 /etc/sudoers.d/test"));
}

fn with_sudo(sshd: &Sshd, password: Option<&str>) -> Login {
    Login { sudo_password: password.map(secret), ..sshd.by_key(SUDOER) }
}

#[tokio::test(flavor = "multi_thread")]
async fn on_debian_whoever_may_becomes_root() {
    whoever_may_becomes_root("berth-debian").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn on_alpine_whoever_may_becomes_root() {
    whoever_may_becomes_root("berth-alpine").await;
}

async fn whoever_may_becomes_root(image: &str) {
    let sshd = machine(image, "");
    for (sudoers, password) in [(PASSWD, Some(PASSWORD)), (NOPASSWD, Some(PASSWORD)), (NOPASSWD, None)] {
        allow(&sshd, sudoers);
        let _ = sshd.container.run("rm -rf /var/lib/berth/bin");
        let target = sshd.target_by(with_sudo(&sshd, password));
        let ssh = ssh();
        for _ in 0..2 {
            assert!(
                is_report(&ssh.visit(&target, "once", || input().into()).await.unwrap()),
                "{sudoers} {}",
                password.is_some()
            );
        }
        assert_eq!(sshd.container.run("stat -c %u /var/lib/berth/bin/*"), "0");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn on_debian_refusals_say_what_to_do() {
    refusals_say_what_to_do("berth-debian").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn on_alpine_refusals_say_what_to_do() {
    refusals_say_what_to_do("berth-alpine").await;
}

async fn refusals_say_what_to_do(image: &str) {
    let sshd = machine(image, PASSWD);
    for (sudoers, password, expected) in [
        (PASSWD, None, SudoRefusal::NeedsPassword),
        (PASSWD, Some("wrong-one"), SudoRefusal::WrongPassword),
        ("Defaults passwd_tries=1\nop ALL=(ALL) ALL", Some("wrong-one"), SudoRefusal::WrongPassword),
        ("", Some(PASSWORD), SudoRefusal::NotAllowed),
        ("op ALL=(ALL) /bin/true", Some(PASSWORD), SudoRefusal::NotAllowed),
    ] {
        allow(&sshd, sudoers);
        assert_eq!(refusal(&sshd, password).await, expected, "{sudoers}");
    }
    sshd.container.run("rm $(command -v sudo)");
    assert_eq!(refusal(&sshd, None).await, SudoRefusal::Missing);
    assert_eq!(refusal(&sshd, Some(PASSWORD)).await, SudoRefusal::Missing);
    assert_eq!(sshd.agents(), "");
}

async fn refusal(sshd: &Sshd, password: Option<&str>) -> SudoRefusal {
    let error =
        ssh().visit(&sshd.target_by(with_sudo(sshd, password)), "once", || input().into()).await.unwrap_err();
    assert!(password.is_none_or(|password| !error.to_string().contains(password)), "{error}");
    let VisitError::Sudo { user, refusal } = error else { panic!("{error}") };
    assert_eq!(user, SUDOER);
    refusal
}

/// The password is for `sudo` alone: not among what the agent reads, on no command line and in no message.
#[tokio::test(flavor = "multi_thread")]
async fn the_password_goes_to_sudo_alone() {
    let sshd = machine("berth-debian", PASSWD);
    let script = "cat; for process in /proc/[0-9]*; do tr '\\0' ' ' <$process/cmdline; echo; done";
    let ssh = ssh_with(&[&sshd.container], script, super::patient());
    let target = sshd.target_by(with_sudo(&sshd, Some(PASSWORD)));
    let answer =
        String::from_utf8(ssh.visit(&target, "once", || b"the input\n".into()).await.unwrap()).unwrap();
    assert!(answer.starts_with("the input\n"), "{answer}");
    // But for the one that set it.
    let commands: Vec<&str> = answer.lines().filter(|line| !line.contains("chpasswd")).collect();
    assert!(commands.iter().any(|line| line.contains("sudo -k -S")), "{answer}");
    assert!(!commands.iter().any(|line| line.contains(PASSWORD)), "{answer}");
    let ssh = ssh_with(&[&sshd.container], &format!("echo it was {PASSWORD} >&2; exit 1"), super::patient());
    let error = ssh.visit(&target, "once", || input().into()).await.unwrap_err().to_string();
    assert!(error.contains("it was …") && !error.contains(PASSWORD), "{error}");
}
