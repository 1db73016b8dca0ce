//! `berth machine register`: one machine, with an agent of its own or over SSH.

use super::{Usage, confirm};
use crate::access::AccessArgs;
use crate::inventory::ACCEPT_NEW;
use crate::session::Session;
use crate::{labels, table};
use anyhow::Result;
use model::account::SshKey;
use model::ssh::SshAccess;
use model::wire::{MachineCreate, MachineCreated};
use model::{Labels, MachineName};

#[derive(clap::Args)]
pub(crate) struct Register {
    name: MachineName,
    /// The address people log in at.
    host: String,
    #[arg(long, default_value_t = model::wire::ssh_port())]
    port: u16,
    /// `key=value`; may be repeated.
    #[arg(long = "label", value_name = "K=V")]
    labels: Vec<Labels>,
    /// Where its accounts get their UIDs from: a range such as `20000-60000`, or `fleet`.
    #[arg(long, value_name = "RANGE")]
    uids: Option<String>,
    #[command(flatten)]
    access: AccessArgs,
    /// Its host key: the fingerprint `SHA256:…`, or the line `ssh-ed25519 AAAA…`. Left out: it is shown for you to
    /// confirm.
    #[arg(long, value_name = "KEY", value_parser = host_key, conflicts_with = "accept_new_host_key")]
    host_key: Option<String>,
    /// Take whichever host key is seen first.
    #[arg(long)]
    accept_new_host_key: bool,
    /// Reach it through this machine.
    #[arg(long, value_name = "MACHINE")]
    jump: Option<MachineName>,
}

impl Register {
    pub(crate) async fn run(self, session: &Session) -> Result<()> {
        let body = self.body()?;
        let answer = session.client.machine_create(&body, None).await?;
        session.show(&answer, registered)?;
        match &body.ssh {
            Some(ssh) if ssh.host_key.is_none() => confirm::after_registration(session, &self.name).await,
            _ => Ok(()),
        }
    }

    fn body(&self) -> Result<MachineCreate> {
        Ok(MachineCreate {
            name: self.name.to_string(),
            host: self.host.clone(),
            port: self.port,
            labels: labels::merged(&self.labels).map_err(Usage)?,
            uids: self.uids.clone(),
            ssh: self.ssh()?,
        })
    }

    /// Any flag about SSH makes it a machine that the server logs in to.
    fn ssh(&self) -> Result<Option<SshAccess>> {
        let is_asked_for = self.access.is_given()
            || self.host_key.is_some()
            || self.accept_new_host_key
            || self.jump.is_some();
        if !is_asked_for {
            return Ok(None);
        }
        if !self.access.logs_in() {
            let flags = "--password-file, --password-stdin, --private-key-file or --key-file";
            return Err(Usage(format!("how does the server log in to it? give {flags}")).into());
        }
        let accepted = self.accept_new_host_key.then(|| ACCEPT_NEW.to_owned());
        Ok(Some(SshAccess {
            host_key: self.host_key.clone().or(accepted),
            jump: self.jump.as_ref().map(MachineName::to_string),
            ..self.access.read()?
        }))
    }
}

/// `SHA256:…`, or a public key.
fn host_key(text: &str) -> Result<String, String> {
    if text.starts_with("SHA256:") {
        return confirm::fingerprint(text);
    }
    text.parse::<SshKey>().map(|key| key.as_str().to_owned()).map_err(|why| format!("{why}; or `SHA256:…`"))
}

fn registered(made: &MachineCreated) -> String {
    let rest = match (&made.machine.ssh, &made.join_token) {
        (Some(ssh), _) => format!("the server logs in to it as {}", ssh.user),
        (None, Some(token)) => format!("join token for its agent (shown this once): {token}"),
        (None, None) => "its join token was shown before".to_owned(),
    };
    table::clean(&format!("{} is registered\n{rest}", made.machine.name))
}
