//! `berth machine`: what there is to reserve.

use super::reservation::address;
use super::{Usage, cleaning, confirm, import, register};
use crate::labels;
use crate::moment::brief;
use crate::session::{Session, all_pages};
use crate::table::{self, Table};
use anyhow::{Context, Result};
use cli::{MachineFilter, Slice};
use jiff::Timestamp;
use model::adoption::{AdoptionView, Stage};
use model::phase::MachineState;
use model::wire::{MachinePatch, MachineView};
use model::{Labels, MachineName};
use std::path::{Path, PathBuf};

#[derive(clap::Subcommand)]
pub(crate) enum Command {
    /// List machines.
    List(List),
    /// Show one.
    Get { name: MachineName },
    /// Add a machine: one the server logs in to over SSH, or one whose agent enrols with the token this prints.
    Register(register::Register),
    /// Add every machine of a file, or bring it up to date: `name host port user password` a line, YAML, or an
    /// Ansible inventory.
    Import(import::Import),
    /// Give a machine that is visited over SSH an agent of its own.
    Adopt {
        name: MachineName,
        /// What the agent dials, as seen from the machine: `https://HOST:PORT`, `unix:/path/of/socket`, or
        /// `http://127.0.0.1:PORT` (plain HTTP is for loopback only, so it takes a tunnel or a socket that both share). Of
        /// several servers all, with commas between.
        #[arg(long, value_name = "ADDRESS")]
        dial: String,
        /// The CA by which the agent knows an `https` server, in PEM; without it, those that its machine trusts.
        #[arg(long, value_name = "FILE")]
        dial_ca_file: Option<PathBuf>,
    },
    /// Take that agent away again; the machine is visited over SSH as before. Nobody may be on it.
    ReleaseAgent { name: MachineName },
    /// Say that the host key a machine shows is its own.
    Confirm(confirm::Confirm),
    /// Keep a machine from new reservations; whoever is on it stays.
    Cordon { name: MachineName },
    /// Allow reservations again.
    Uncordon { name: MachineName },
    /// Set labels, or remove some.
    Label(Label),
    /// Take a machine out of service; it goes once nothing is left on it.
    Retire { name: MachineName },
    /// Show what was taken away from a machine after each account, and how long it took.
    Cleanings { name: MachineName },
    /// Have a machine that could not be cleaned try again at once.
    Clean { name: MachineName },
}

#[derive(clap::Args)]
pub(crate) struct List {
    /// Only with this label, `key=value`; may be repeated.
    #[arg(long = "label", value_name = "K=V")]
    labels: Vec<Labels>,
    /// Only those in this state.
    #[arg(long, value_parser = MachineState::NAMES)]
    state: Option<String>,
}

#[derive(clap::Args)]
pub(crate) struct Label {
    name: MachineName,
    /// `key=value`
    #[arg(value_name = "K=V", required_unless_present = "remove")]
    set: Vec<Labels>,
    /// A key to take away; may be repeated.
    #[arg(long, value_name = "KEY")]
    remove: Vec<String>,
}

impl Command {
    pub(crate) async fn run(self, session: &Session) -> Result<()> {
        match self {
            Self::List(list) => list.run(session).await,
            Self::Get { name } => {
                let answer = session.client.machine_get(&name).await?;
                Ok(session.show(&answer, |got| details(got, answer.served_at))?)
            }
            Self::Register(register) => register.run(session).await,
            Self::Import(import) => import.run(session).await,
            Self::Adopt { name, dial, dial_ca_file } => {
                let ca = dial_ca_file.as_deref().map(read_ca).transpose()?;
                let answer = session.client.machine_adopt(&name, &dial, ca.as_deref()).await?;
                Ok(session.show(&answer, |got| details(got, answer.served_at))?)
            }
            Self::ReleaseAgent { name } => {
                let answer = session.client.machine_release_agent(&name).await?;
                Ok(session.show(&answer, |got| details(got, answer.served_at))?)
            }
            Self::Confirm(confirm) => confirm.run(session).await,
            Self::Cordon { name } => cordon(session, &name, true).await,
            Self::Uncordon { name } => cordon(session, &name, false).await,
            Self::Label(label) => label.run(session).await,
            Self::Retire { name } => retire(session, &name).await,
            Self::Cleanings { name } => cleaning::list(session, &name).await,
            Self::Clean { name } => {
                let answer = session.client.machine_clean(&name).await?;
                Ok(session.show(&answer, |got| details(got, answer.served_at))?)
            }
        }
    }
}

impl List {
    async fn run(self, session: &Session) -> Result<()> {
        let filter =
            MachineFilter { labels: labels::merged(&self.labels).map_err(Usage)?, state: self.state };
        let fetch = async |slice| session.client.machine_list(&filter, &slice).await;
        let pages = all_pages(Slice::default(), fetch).await?;
        Ok(session.show_pages(&pages, |items, now| listed(&items, now))?)
    }
}

impl Label {
    async fn run(self, session: &Session) -> Result<()> {
        let have = session.client.machine_get(&self.name).await?;
        let labels = labels::changed(&have.labels, &self.set, &self.remove).map_err(Usage)?;
        patch(session, &self.name, MachinePatch { labels: Some(labels), ..MachinePatch::default() }).await
    }
}

fn read_ca(file: &Path) -> Result<String> {
    std::fs::read_to_string(file).with_context(|| format!("cannot read the CA `{}`", file.display()))
}

async fn cordon(session: &Session, name: &MachineName, cordoned: bool) -> Result<()> {
    patch(session, name, MachinePatch { cordoned: Some(cordoned), ..MachinePatch::default() }).await
}

async fn patch(session: &Session, name: &MachineName, patch: MachinePatch) -> Result<()> {
    let answer = session.client.machine_patch(name, &patch).await?;
    Ok(session.show(&answer, |got| details(got, answer.served_at))?)
}

async fn retire(session: &Session, name: &MachineName) -> Result<()> {
    match session.client.machine_retire(name).await? {
        Some(answer) => Ok(session.show(&answer, |got| details(got, answer.served_at))?),
        None if session.json => Ok(()),
        None => Ok(session.print(&format!("{name} is gone"))?),
    }
}

pub(crate) fn listed(items: &[&MachineView], now: Option<Timestamp>) -> Table {
    let header = &["machine", "state", "address", "labels", "pool", "reservation", "seen"];
    let mut table =
        Table::new(header, "no machines: add some with `just provision` or `berth machine register`");
    for got in items {
        table.row([
            got.name.to_string(),
            state(got),
            address(&got.host, got.port),
            got.labels.to_string(),
            got.pool.as_ref().map(ToString::to_string).unwrap_or_default(),
            got.reservation.map(|id| id.to_string()).unwrap_or_default(),
            seen(got, now),
        ]);
    }
    table
}

pub(crate) fn details(got: &MachineView, now: Option<Timestamp>) -> String {
    let system = [&got.facts.os, &got.facts.arch].map(String::as_str).join(" ");
    let lines = [
        ("machine", got.name.to_string()),
        ("state", state(got)),
        ("address", address(&got.host, got.port)),
        ("reach", reach(got)),
        (
            "own agent",
            got.ssh.as_ref().and_then(|ssh| ssh.adoption.as_ref()).map(own_agent).unwrap_or_default(),
        ),
        ("host key", host_key(got)),
        ("labels", got.labels.to_string()),
        ("pool", got.pool.as_ref().map(ToString::to_string).unwrap_or_default()),
        ("reservation", got.reservation.map(|id| id.to_string()).unwrap_or_default()),
        ("system", system.trim().to_owned()),
        ("agent", got.facts.agent_version.clone()),
        ("uids", got.uids.clone()),
        ("seen", seen(got, now)),
    ];
    let given = lines.iter().filter(|(_, value)| !value.is_empty());
    let lines: Vec<String> =
        given.map(|(name, value)| table::clean(&format!("{name:<12} {value}"))).collect();
    lines.join("\n")
}

fn reach(got: &MachineView) -> String {
    let Some(ssh) = &got.ssh else {
        let is_lent = got.state != MachineState::Listed.name();
        return if is_lent { "agent".to_owned() } else { String::new() };
    };
    let through = ssh.jump.as_ref().map(|jump| format!(" through {jump}")).unwrap_or_default();
    format!("ssh as {} by {}{through}", ssh.user, ssh.auth)
}

fn own_agent(adoption: &AdoptionView) -> String {
    let AdoptionView { stage, server, error } = adoption;
    let stage = match stage {
        Stage::Adopted => return format!("dials {server}"),
        Stage::Adopting => format!("is to come, and to dial {server}"),
        Stage::Releasing => "is to go".to_owned(),
    };
    error.as_ref().map_or(stage.clone(), |error| format!("{stage}: {error}"))
}

fn host_key(got: &MachineView) -> String {
    let Some(ssh) = &got.ssh else { return String::new() };
    match (&ssh.host_key, &ssh.offered_host_key) {
        (Some(pinned), None) => pinned.clone(),
        (None, None) => "none shown yet".to_owned(),
        (None, Some(shown)) => format!("{shown} waits: berth machine confirm {}", got.name),
        (Some(pinned), Some(shown)) => {
            format!("{pinned}, but it shows {shown}: if that is right, berth machine confirm {}", got.name)
        }
    }
}

fn state(got: &MachineView) -> String {
    let cordoned = if got.cordoned && got.reason.is_none() { ", cordoned" } else { "" };
    let reason = got.reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
    let seen = got.probe.map(|probe| if probe.up { ", up" } else { ", down" }).unwrap_or_default();
    format!("{}{seen}{cordoned}{reason}", got.state)
}

fn seen(got: &MachineView, now: Option<Timestamp>) -> String {
    match (got.seen_at, got.probe) {
        (Some(at), _) => brief(at, now),
        (None, Some(probe)) => format!("since {}", brief(probe.since, now)),
        (None, None) => "never".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listed_machine_says_whether_it_is_up_and_since_when() {
        let view = |probe: &str| -> MachineView {
            let text = format!(
                r#"{{"id": "01900000-0000-7000-8000-000000000002", "name": "m", "host": "h", "port": 443, "labels": {{}},
                "state": "listed", "cordoned": false, "created_at": "2026-01-02T03:04:05Z", "generation": 1,
                "seen_generation": 0, "facts": {{}}, "probe": {probe}}}"#
            );
            serde_json::from_str(&text).unwrap()
        };
        let now = "2026-01-02T03:14:05Z".parse().ok();
        for (probe, is, since) in [
            (r#"{"up": true, "since": "2026-01-02T03:04:05Z"}"#, "listed, up", "since 10 min ago"),
            (r#"{"up": false, "since": "2026-01-02T03:13:05Z"}"#, "listed, down", "since 60 s ago"),
            ("null", "listed", "never"),
        ] {
            let got = view(probe);
            assert_eq!((state(&got).as_str(), seen(&got, now).as_str()), (is, since));
            assert_eq!(reach(&got), "", "nobody reaches into it");
        }
    }
}
