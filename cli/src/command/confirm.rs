//! `berth machine confirm`: somebody says whether the host key that a machine shows is its own.

use super::machine::details;
use super::reservation::address;
use crate::session::Session;
use crate::table;
use anyhow::{Result, bail};
use cli::{Answer, Error};
use model::MachineName;
use model::wire::{MachinePatch, MachineView};
use std::io::{BufRead, IsTerminal, Write};
use std::time::Duration;

/// Between two looks, and how long they go on: the server's own time-outs of a first contact are shorter.
const PAUSE: Duration = Duration::from_millis(500);
const PATIENCE: Duration = Duration::from_secs(30);

#[derive(clap::Args)]
pub(crate) struct Confirm {
    name: MachineName,
    /// The right one, `SHA256:…`; without it, the one that the machine shows is shown and asked for.
    #[arg(value_parser = fingerprint)]
    fingerprint: Option<String>,
}

impl Confirm {
    pub(crate) async fn run(self, session: &Session) -> Result<()> {
        if let Some(right) = self.fingerprint {
            return pin(session, &self.name, right).await;
        }
        let got = session.client.machine_get(&self.name).await?;
        match offered(&got) {
            Some(shown) if is_attended(session) => ask(session, &got, shown).await,
            Some(shown) => bail!("{}", told(&got, shown)),
            None => bail!("{}", nothing_shown(&got)),
        }
    }
}

/// SHA-256 in base64 without padding, as `ssh-keygen -l` prints it.
pub(crate) fn fingerprint(text: &str) -> Result<String, String> {
    let allowed = |c: u8| c.is_ascii_alphanumeric() || c == b'+' || c == b'/';
    match text.strip_prefix("SHA256:") {
        Some(digest) if digest.len() == 43 && digest.bytes().all(allowed) => Ok(text.to_owned()),
        _ => Err("give the fingerprint that `ssh-keygen -l` prints, `SHA256:` and 43 letters".to_owned()),
    }
}

/// Waits for the host key of a machine just registered, and asks whether it is the right one, if anybody is there to
/// say so.
pub(crate) async fn after_registration(session: &Session, name: &MachineName) -> Result<()> {
    if !is_attended(session) {
        eprintln!("confirm its host key when it has shown it: berth machine confirm {name}");
        return Ok(());
    }
    eprintln!("looking at its host key …");
    let Ok(looked) = tokio::time::timeout(PATIENCE, until_shown(session, name)).await else {
        eprintln!("it has shown no host key yet; confirm it later: berth machine confirm {name}");
        return Ok(());
    };
    let got = looked?;
    match offered(&got) {
        Some(shown) => ask(session, &got, shown).await,
        None => Ok(()),
    }
}

async fn until_shown(session: &Session, name: &MachineName) -> Result<Answer<MachineView>, Error> {
    loop {
        let got = session.client.machine_get(name).await?;
        if offered(&got).is_some() || got.ssh.as_ref().is_none_or(|ssh| ssh.host_key.is_some()) {
            return Ok(got);
        }
        tokio::time::sleep(PAUSE).await;
    }
}

fn offered(got: &MachineView) -> Option<&str> {
    got.ssh.as_ref()?.offered_host_key.as_deref()
}

/// Whether somebody reads this and can answer.
fn is_attended(session: &Session) -> bool {
    session.terminal && !session.json && std::io::stdin().is_terminal()
}

async fn ask(session: &Session, got: &MachineView, shown: &str) -> Result<()> {
    let mut output = std::io::stdout().lock();
    write!(output, "{}\nIs it the right one? [y/N] ", table::clean(&headline(got, shown)))?;
    output.flush()?;
    drop(output);
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line)?;
    if is_yes(&line) {
        return pin(session, &got.name, shown.to_owned()).await;
    }
    let name = &got.name;
    Ok(session.print(&format!(
        "not confirmed: no password goes there\nlater: berth machine confirm {name}\nor not at all: berth machine \
         retire {name}"
    ))?)
}

fn is_yes(line: &str) -> bool {
    matches!(line.trim().to_ascii_lowercase().as_str(), "y" | "yes")
}

fn headline(got: &MachineView, shown: &str) -> String {
    let place = address(&got.host, got.port);
    let before = match got.ssh.as_ref().and_then(|ssh| ssh.host_key.as_ref()) {
        Some(pinned) => format!("\nAnother one is pinned: {pinned}"),
        None => String::new(),
    };
    format!("{} at {place} shows the host key {shown}{before}", got.name)
}

fn told(got: &MachineView, shown: &str) -> String {
    format!("{}; if it is the right one: berth machine confirm {} {shown}", headline(got, shown), got.name)
}

fn nothing_shown(got: &MachineView) -> String {
    let name = &got.name;
    match &got.ssh {
        None => format!("{name} has an agent of its own and no host key to confirm"),
        Some(ssh) if ssh.host_key.is_some() => {
            format!("the host key of {name} is confirmed, and it shows no other")
        }
        Some(_) => format!("{name} has shown no host key yet: look why with `berth machine get {name}`"),
    }
}

async fn pin(session: &Session, name: &MachineName, fingerprint: String) -> Result<()> {
    let patch = MachinePatch { host_key: Some(fingerprint), ..MachinePatch::default() };
    let answer = session.client.machine_patch(name, &patch).await?;
    Ok(session.show(&answer, |got| details(got, answer.served_at))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine(ssh: &str) -> MachineView {
        let text = format!(
            r#"{{"id": "0198c0de-0000-7000-8000-000000000000", "name": "web1", "host": "10.0.0.1", "port": 22,
                "labels": {{}}, "state": "maintenance", "cordoned": false, "created_at": "2026-01-31T12:00:00Z",
                "generation": 1, "seen_generation": 1, "facts": {{}}, "ssh": {ssh}}}"#
        );
        serde_json::from_str(&text).unwrap()
    }

    #[test]
    fn what_is_said_of_a_host_key() {
        let new = machine(r#"{"user": "root", "auth": "key", "offered_host_key": "SHA256:new"}"#);
        let said = told(&new, offered(&new).unwrap());
        assert!(said.contains("web1 at 10.0.0.1:22 shows the host key SHA256:new; if"), "{said}");
        assert!(said.ends_with("berth machine confirm web1 SHA256:new"), "{said}");
        let changed =
            r#"{"user": "root", "auth": "key", "host_key": "SHA256:old", "offered_host_key": "SHA256:new"}"#;
        let changed = machine(changed);
        assert!(told(&changed, "SHA256:new").contains("Another one is pinned: SHA256:old"));
        for (ssh, said) in [
            ("null", "no host key to confirm"),
            (r#"{"user": "root", "auth": "key"}"#, "berth machine get web1"),
            (r#"{"user": "root", "auth": "key", "host_key": "SHA256:old"}"#, "shows no other"),
        ] {
            let got = machine(ssh);
            assert!(offered(&got).is_none());
            assert!(nothing_shown(&got).contains(said), "{ssh}");
        }
    }

    #[test]
    fn only_a_yes_is_a_yes() {
        for (line, yes) in [("y\n", true), ("YES\r\n", true), ("", false), ("\n", false), ("yep\n", false)] {
            assert_eq!(is_yes(line), yes, "{line:?}");
        }
    }

    #[test]
    fn fingerprints() {
        let good = format!("SHA256:{}", "a+/9".repeat(10) + "abc");
        assert_eq!(fingerprint(&good), Ok(good.clone()));
        for bad in ["", "SHA256:", "MD5:00", &good[..20], &format!("{good}="), &good.replace('+', "-")] {
            assert!(fingerprint(bad).is_err(), "{bad}");
        }
    }
}
