//! First contact: where the agent goes, and where it must not.

use super::{input, is_report, ssh, ssh_with};
use server::reach::VisitError;
use std::fs;
use std::os::unix::fs::MetadataExt;
use tests::sshd::Sshd;

#[tokio::test(flavor = "multi_thread")]
async fn the_agent_is_put_there_once_and_older_ones_go() {
    let sshd = Sshd::debian("");
    let folder = "/var/lib/berth/bin";
    sshd.container.run(&format!(
        "umask 022; mkdir -p {folder}; touch {folder}/berth-agent-0123456789abcdef {folder}/other"
    ));
    let target = sshd.target();
    assert!(is_report(&ssh().visit(&target, "once", || input().into()).await.unwrap()));
    let agents = sshd.agents();
    let mut files: Vec<&str> = agents.lines().collect();
    files.sort_unstable();
    let [agent, "/var/lib/berth/bin/other"] = files[..] else { panic!("{agents}") };
    let before = fs::metadata(sshd.container.path(agent)).unwrap();
    assert_eq!((before.mode() & 0o7777, before.uid()), (0o755, 0));
    // Another client knows nothing of the first one.
    assert!(is_report(&ssh().visit(&target, "once", || input().into()).await.unwrap()));
    let after = fs::metadata(sshd.container.path(agent)).unwrap();
    assert_eq!((before.ino(), before.mtime_nsec()), (after.ino(), after.mtime_nsec()));
}

#[tokio::test(flavor = "multi_thread")]
async fn folders_that_forbid_programs_are_passed_by() {
    let sshd = Sshd::openssh("berth-alpine", &["--tmpfs", "/var/lib/berth:noexec,mode=755"], "");
    let target = sshd.target();
    assert!(is_report(&ssh().visit(&target, "once", || input().into()).await.unwrap()));
    assert!(sshd.agents().starts_with("/usr/local/lib/berth/berth-agent-"), "{}", sshd.agents());
    assert_eq!(sshd.agents().lines().count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn folders_that_others_may_write_to_are_passed_by() {
    let sshd = Sshd::debian("");
    let target = sshd.target();
    // What lies in them is not even run.
    let ssh = ssh_with(&[&sshd.container], "echo planted", super::patient());
    sshd.container.run("chmod 777 /var/lib/berth/bin");
    let error = ssh.visit(&target, "once", || input().into()).await.unwrap_err();
    assert!(matches!(error, VisitError::Upload { .. }), "the stand-in does not run: {error}");
    sshd.container.run("rm -rf /usr/local/lib/berth; ln -s /tmp /usr/local/lib/berth");
    assert!(is_report(&super::ssh().visit(&target, "once", || input().into()).await.unwrap()));
    assert!(sshd.container.run("ls /opt/berth").starts_with("berth-agent-"));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_any_folder_it_is_said_which_would_do() {
    let flags =
        ["/var/lib/berth", "/usr/local/lib", "/opt"].map(|folder| format!("{folder}:noexec,mode=755"));
    let flags: Vec<&str> = flags.iter().flat_map(|folder| ["--tmpfs", folder]).collect();
    let sshd = Sshd::openssh("berth-debian", &flags, "");
    let error = ssh().visit(&sshd.target(), "once", || input().into()).await.unwrap_err();
    assert!(matches!(error, VisitError::NoFolder { .. }), "{error}");
    assert!(error.to_string().contains("/var/lib/berth/bin, /usr/local/lib/berth, /opt/berth"), "{error}");
    assert_eq!(sshd.agents(), "");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_leaves_no_half_of_an_agent() {
    let sshd = Sshd::openssh("berth-debian", &["--tmpfs", "/var/lib/berth:exec,mode=755,size=1m"], "");
    let error = ssh().visit(&sshd.target(), "once", || input().into()).await.unwrap_err();
    assert!(matches!(error, VisitError::Upload { .. }), "{error}");
    assert!(error.to_string().contains("No space left"), "{error}");
    assert_eq!(sshd.agents(), "");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_architecture_without_an_agent_is_named() {
    let sshd = Sshd::debian("");
    let uname = sshd.container.path("/usr/local/bin/uname");
    fs::write(&uname, "#!/bin/sh\necho riscv64\n").unwrap();
    sshd.container.run("chmod 755 /usr/local/bin/uname");
    let error = ssh().visit(&sshd.target(), "once", || input().into()).await.unwrap_err();
    assert!(matches!(&error, VisitError::Architecture { machine } if machine == "riscv64"), "{error}");
    assert_eq!(sshd.agents(), "");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_log_in_shell_says_is_no_answer() {
    let sshd = Sshd::debian("");
    fs::write(sshd.container.path("/root/.bashrc"), "echo welcome; echo be careful >&2\n").unwrap();
    let ssh = ssh_with(&[&sshd.container], "cat", super::patient());
    assert_eq!(
        ssh.visit(&sshd.target(), "once", || b"and nothing else".into()).await.unwrap(),
        b"and nothing else"
    );
    let ssh = ssh_with(&[&sshd.container], "echo broken >&2; exit 3", super::patient());
    let error = ssh.visit(&sshd.target(), "once", || input().into()).await.unwrap_err();
    let VisitError::AgentFailed { code: Some(3), said } = &error else { panic!("{error}") };
    assert!(said.ends_with("broken"), "{said}");
    let ssh = ssh_with(&[&sshd.container], "kill -9 $$", super::patient());
    let error = ssh.visit(&sshd.target(), "once", || input().into()).await.unwrap_err();
    assert!(matches!(error, VisitError::AgentFailed { code: None | Some(137), .. }), "{error}");
}

/// As long as a spec may ever be, both ways at once.
#[tokio::test(flavor = "multi_thread")]
async fn long_input_comes_back_whole() {
    let sshd = Sshd::debian("");
    let ssh = ssh_with(&[&sshd.container], "cat", super::patient());
    let input: Vec<u8> = (0..4_000_000_u32).map(|n| (n % 251) as u8).collect();
    assert!(ssh.visit(&sshd.target(), "once", || input.clone()).await.unwrap() == input);
}
