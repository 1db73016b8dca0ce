//! `berth reserve`: ask, wait, and say how to log in.

use super::reservation::{headline, ssh_lines};
use super::{Usage, counted, patience};
use crate::lease::Lease;
use crate::login::{Login, LoginArgs};
use crate::session::Session;
use crate::{labels, table};
use anyhow::{Result, bail};
use jiff::Timestamp;
use model::phase::Phase;
use model::reservation::OnFailure;
use model::wire::{DurationText, ReservationCreate, ReservationView};
use model::{GroupName, Labels, MachineName, UserName};

/// For a lease nobody gave a length.
const USUAL: &str = "1h";

#[derive(clap::Args)]
pub(crate) struct Reserve {
    /// The account's name on the machines.
    username: UserName,
    /// How many machines; 1 when left out.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i64).range(1..=i64::from(model::reservation::MOST_MACHINES)))]
    count: Option<i64>,
    /// This machine and no other; may be repeated.
    #[arg(long = "machine", value_name = "NAME", conflicts_with_all = ["count", "labels"])]
    machines: Vec<MachineName>,
    #[command(flatten)]
    lease: Lease,
    #[command(flatten)]
    login: LoginArgs,
    /// Only machines with this label, `key=value`; may be repeated.
    #[arg(long = "label", value_name = "K=V")]
    labels: Vec<Labels>,
    /// The log-in shell, such as `/bin/bash`.
    #[arg(long, value_name = "PATH")]
    shell: Option<String>,
    /// A group of the machines to be in; may be repeated.
    #[arg(long = "group", value_name = "NAME")]
    groups: Vec<GroupName>,
    /// Allow the account to become root, on machines of a pool only: afterwards they are made anew.
    #[arg(long)]
    sudo: bool,
    /// When a machine that worked is no longer heard of: `keep` it, or `replace` it by another.
    #[arg(long, value_name = "keep|replace", default_value = "keep", conflicts_with = "machines")]
    on_failure: OnFailure,
    /// Answer at once, before the accounts are there.
    #[arg(long)]
    no_wait: bool,
}

impl Reserve {
    pub(crate) async fn run(self, session: &Session) -> Result<()> {
        let login = self.login.read(std::env::home_dir().as_deref())?;
        let answer = session.client.reservation_create(&self.body(&login)?, None).await?;
        session.show(&answer, |got| words(got, answer.served_at))?;
        if let Some(password) = login.password.filter(|_| login.generated) {
            tell(session, &password)?;
        }
        self.judge(&answer)
    }

    fn body(&self, login: &Login) -> Result<ReservationCreate> {
        let usual = (!self.lease.is_given()).then(|| DurationText::Text(USUAL.to_owned()));
        Ok(ReservationCreate {
            username: self.username.to_string(),
            password: login.password.clone(),
            password_hash: None,
            ssh_keys: login.ssh_keys.clone(),
            count: self.count,
            machines: self.machines.iter().map(MachineName::to_string).collect(),
            labels: labels::merged(&self.labels).map_err(Usage)?,
            duration: self.lease.duration().or(usual),
            until: self.lease.until(),
            shell: self.shell.clone(),
            groups: self.groups.iter().map(GroupName::to_string).collect(),
            sudo: self.sudo,
            on_failure: self.on_failure,
            wait: Some(patience(self.no_wait)),
        })
    }

    /// A script that goes on to log in must not take "not yet" for a yes.
    fn judge(&self, got: &ReservationView) -> Result<()> {
        match got.phase {
            Phase::Ready => Ok(()),
            Phase::Pending if self.no_wait => Ok(()),
            Phase::Pending => bail!("not ready yet; look again with `berth reservation get {}`", got.id),
            Phase::Ending | Phase::Ended => {
                bail!("it has ended: {}", got.reason.as_deref().unwrap_or("released meanwhile"))
            }
        }
    }
}

fn words(got: &ReservationView, now: Option<Timestamp>) -> String {
    let machines = counted(got.machines.len(), "machine");
    let mut lines = vec![format!("{} on {machines}", headline(got, now))];
    lines.extend(ssh_lines(got));
    lines.push(format!("give back: berth release {}", got.id));
    table::clean(&lines.join("\n"))
}

/// With `--json`, standard output is the server's alone.
fn tell(session: &Session, password: &str) -> std::io::Result<()> {
    let line = format!("password (shown this once): {password}");
    if session.json {
        eprintln!("{line}");
        return Ok(());
    }
    session.print(&line)
}
