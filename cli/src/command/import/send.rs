//! Machines on their way to the server: each is added, or, if it is there already, brought up to date.

use crate::inventory::{ACCEPT_NEW, Entry};
use crate::labels;
use cli::{Client, Error};
use futures_util::{StreamExt, stream};
use model::MachineName;
use model::wire::{MachineCreate, MachinePatch, MachineView};
use std::collections::HashMap;

/// Requests under way at the same time.
const AT_ONCE: usize = 8;

pub(super) enum Outcome {
    Added,
    Updated,
    Failed(String),
}

pub(super) struct Sender<'a> {
    client: &'a Client,
    registered: HashMap<&'a str, &'a MachineView>,
    dry_run: bool,
}

impl<'a> Sender<'a> {
    pub(super) fn new(client: &'a Client, registered: &[&'a MachineView], dry_run: bool) -> Self {
        let registered = registered.iter().map(|have| (have.name.as_str(), *have)).collect();
        Self { client, registered, dry_run }
    }

    /// Tells each outcome as it comes. What others are reached through goes before them.
    pub(super) async fn send(
        &self,
        entries: &[Entry],
        mut tell: impl FnMut(usize, Outcome) -> std::io::Result<()>,
    ) -> std::io::Result<()> {
        let deepest = entries.iter().map(|entry| entry.level).max().unwrap_or_default();
        for level in 0..=deepest {
            let now = entries.iter().enumerate().filter(|(_, entry)| entry.level == level);
            let calls = now.map(|(index, entry)| async move { (index, self.outcome(entry).await) });
            let mut done = stream::iter(calls).buffer_unordered(AT_ONCE);
            while let Some((index, outcome)) = done.next().await {
                tell(index, outcome)?;
            }
        }
        Ok(())
    }

    async fn outcome(&self, entry: &Entry) -> Outcome {
        match &entry.machine {
            Err(why) => Outcome::Failed(why.clone()),
            Ok(machine) => self.put(machine).await.unwrap_or_else(Outcome::Failed),
        }
    }

    async fn put(&self, machine: &MachineCreate) -> Result<Outcome, String> {
        if let Some(have) = self.registered.get(machine.name.as_str()) {
            return self.update(have, machine).await;
        }
        if self.dry_run {
            return Ok(Outcome::Added);
        }
        match self.client.machine_create(machine, None).await {
            Ok(_) => Ok(Outcome::Added),
            Err(refused) if refused.status() == Some(409) => self.meet(machine, refused).await,
            Err(error) => Err(error.to_string()),
        }
    }

    /// Somebody else has added it since the list was made; or it is not its name that is taken.
    async fn meet(&self, machine: &MachineCreate, refused: Error) -> Result<Outcome, String> {
        match self.client.machine_get(&name_of(machine)?).await {
            Ok(have) => self.update(&have, machine).await,
            Err(_) => Err(refused.to_string()),
        }
    }

    async fn update(&self, have: &MachineView, machine: &MachineCreate) -> Result<Outcome, String> {
        let patch = patch(have, machine)?;
        if !self.dry_run {
            let answer = self.client.machine_patch(&name_of(machine)?, &patch).await;
            answer.map_err(|error| error.to_string())?;
        }
        Ok(Outcome::Updated)
    }
}

fn name_of(machine: &MachineCreate) -> Result<MachineName, String> {
    machine.name.parse()
}

/// What makes the machine that is there the one that is listed; labels it has beyond that stay.
fn patch(have: &MachineView, new: &MachineCreate) -> Result<MachinePatch, String> {
    if let Some(pool) = &have.pool {
        return Err(format!("a machine of the pool `{pool}` has this name: choose another"));
    }
    if have.state == "retiring" {
        return Err(
            "the machine of this name is being retired: import it again when that one is gone".to_owned()
        );
    }
    let merged = labels::changed(&have.labels, std::slice::from_ref(&new.labels), &[])?;
    let mut ssh = new.ssh.clone();
    let pinned = have.ssh.as_ref().and_then(|ssh| ssh.host_key.as_ref());
    if let Some(ssh) = &mut ssh
        && pinned.is_some()
        && ssh.host_key.as_deref() == Some(ACCEPT_NEW)
    {
        // Whichever key was accepted is no longer new.
        ssh.host_key = None;
    }
    Ok(MachinePatch {
        labels: (merged != have.labels).then_some(merged),
        host: (new.host != have.host).then(|| new.host.clone()),
        port: (new.port != have.port).then_some(new.port),
        ssh,
        ..MachinePatch::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(more: &str) -> MachineView {
        let text = format!(
            r#"{{"id": "0198c0de-0000-7000-8000-000000000000", "name": "web1", "host": "10.0.0.1", "port": 22,
                "labels": {{"os": "debian"}}, "cordoned": false, "created_at": "2026-01-31T12:00:00Z",
                "generation": 1, "seen_generation": 1, "facts": {{}}, {more}}}"#
        );
        serde_json::from_str(&text).unwrap()
    }

    fn listed(text: &str) -> MachineCreate {
        serde_json::from_str(text).unwrap()
    }

    fn sent(have: &str, new: &str) -> String {
        serde_json::to_string(&patch(&view(have), &listed(new)).unwrap()).unwrap()
    }

    #[test]
    fn only_what_differs_is_sent_and_always_the_credentials() {
        let same =
            r#"{"name": "web1", "host": "10.0.0.1", "labels": {"os": "debian"}, "ssh": {"password": "pw"}}"#;
        assert_eq!(sent(r#""state": "free""#, same), r#"{"ssh":{"password":"pw"}}"#);
        let other = r#"{"name": "web1", "host": "10.0.0.2", "port": 2222, "labels": {"rack": "7"}}"#;
        assert_eq!(
            sent(r#""state": "free""#, other),
            r#"{"labels":{"os":"debian","rack":"7"},"host":"10.0.0.2","port":2222}"#
        );
    }

    #[test]
    fn a_pinned_key_is_not_given_up_for_any_new_one() {
        let new =
            r#"{"name": "web1", "host": "10.0.0.1", "ssh": {"key_file": "/k", "host_key": "accept-new"}}"#;
        let ssh = r#""state": "free", "ssh": {"user": "root", "auth": "key""#;
        assert!(!sent(&format!(r#"{ssh}, "host_key": "SHA256:a"}}"#), new).contains("host_key"));
        assert!(sent(&format!("{ssh}}}"), new).contains(r#""host_key":"accept-new""#));
        let known = new.replace("accept-new", "SHA256:b");
        assert!(sent(&format!(r#"{ssh}, "host_key": "SHA256:a"}}"#), &known).contains("SHA256:b"));
    }

    #[test]
    fn whose_machine_it_is_not_to_change() {
        let new = listed(r#"{"name": "web1", "host": "10.0.0.1"}"#);
        let pooled = patch(&view(r#""state": "free", "pool": "debian""#), &new).unwrap_err();
        assert!(pooled.contains("the pool `debian`"), "{pooled}");
        let retiring = patch(&view(r#""state": "retiring""#), &new).unwrap_err();
        assert!(retiring.contains("being retired"), "{retiring}");
    }
}
