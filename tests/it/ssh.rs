//! Machines that have only SSH, visited by the server's client: real ones, and such as mean harm.

mod between;
mod crowd;
mod first;
mod hostile;
mod jump;
mod kept;
mod keys;
mod log_in;
mod sudo;

use model::report::Report;
use server::reach::Ssh;
use server::reach::ssh::{SshSettings, Timeouts};
use std::time::Duration;
use tests::container::{Container, said};
use tests::real::agent_binary;

fn ssh() -> Ssh {
    ssh_within(patient())
}

fn ssh_within(timeouts: Timeouts) -> Ssh {
    Ssh::new(SshSettings { agents: vec![agent_binary()], timeouts, ..SshSettings::default() }).unwrap()
}

/// The machines share two cores with other tests.
fn patient() -> Timeouts {
    let long = Duration::from_secs(60);
    Timeouts { connect: long, handshake: long, log_in: long, ..Timeouts::default() }
}

/// What a visit is given: nothing, so that the agent goes by what it knows.
fn input() -> &'static [u8] {
    b""
}

fn is_report(answer: &[u8]) -> bool {
    serde_json::from_slice::<Report>(answer).is_ok()
}

/// A client whose agent is a script that lies there already.
fn ssh_with(containers: &[&Container], script: &str, timeouts: Timeouts) -> Ssh {
    let mut agent = tempfile::NamedTempFile::new().unwrap();
    let header = [b"\x7fELF\x02\x01".as_slice(), &[0; 12], &[62, 0]].concat();
    std::io::Write::write_all(&mut agent, &header).unwrap();
    let sum = said(std::process::Command::new("sha256sum").arg(agent.path()));
    for container in containers {
        let file = format!("/var/lib/berth/bin/berth-agent-{}", &sum[..16]);
        container.run("umask 022; mkdir -p /var/lib/berth/bin");
        std::fs::write(container.path(&file), format!("#!/bin/sh\n{script}\n")).unwrap();
        container.run(&format!("chmod 755 {file}"));
    }
    let agents = vec![agent.path().to_owned()];
    Ssh::new(SshSettings { agents, timeouts, ..SshSettings::default() }).unwrap()
}
