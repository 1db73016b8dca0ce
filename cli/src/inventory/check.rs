//! From what a file says to what is sent: filled up, checked, and no two machines in one place.

use super::jump::{Known, levels};
use super::{Entry, Found, KeyFiles, KnownHosts, Said};
use crate::labels;
use model::ssh::SshAccess;
use model::wire::{MachineCreate, MachineView, ssh_port};
use model::{Labels, MachineName};
use std::collections::HashMap;

/// `accept-new`: whichever key is seen first.
pub(crate) const ACCEPT_NEW: &str = "accept-new";

/// What machines get that the file does not say of them.
#[derive(Default)]
pub(crate) struct Completion {
    /// Its password or key is for those that have neither.
    pub(crate) access: SshAccess,
    pub(crate) labels: Vec<Labels>,
    pub(crate) known_hosts: Option<KnownHosts>,
    pub(crate) accept_new: bool,
    pub(crate) keys: KeyFiles,
}

impl Completion {
    /// In the order of the file. `registered` may be jumped through as well.
    pub(crate) fn entries(&mut self, found: Vec<Found>, registered: &[&MachineView]) -> Vec<Entry> {
        let mut entries: Vec<Entry> = found.into_iter().map(|found| self.entry(found)).collect();
        refuse_twins(&mut entries, "name", |entry| Some(entry.name.clone()));
        Known::new(&entries, registered).resolve(&mut entries);
        refuse_twins(&mut entries, "host and port", place);
        let levels = levels(&mut entries);
        entries.iter_mut().zip(levels).for_each(|(entry, level)| entry.level = level);
        entries
    }

    fn entry(&mut self, found: Found) -> Entry {
        let Found { line, name, said } = found;
        let machine = said.and_then(|said| self.machine(&name, said));
        Entry { line, name, machine: machine.map_err(|why| format!("line {line}: {why}")), level: 0 }
    }

    fn machine(&mut self, name: &str, said: Said) -> Result<MachineCreate, String> {
        let name = name.parse::<MachineName>().map_err(|why| format!("name: {why}"))?;
        let port = said.port.as_deref().map_or(Ok(ssh_port()), port)?;
        let given = Labels::try_from(said.labels.clone()).map_err(|why| format!("labels: {why}"))?;
        let labels = labels::changed(&given, &self.labels, &[]).map_err(|why| format!("labels: {why}"))?;
        let host = said.host.clone();
        let mut ssh = self.access(said)?;
        if ssh.host_key.is_none() {
            ssh.host_key = self.host_key(&host, port)?;
        }
        Ok(MachineCreate { name: name.to_string(), host, port, labels, uids: None, ssh: Some(ssh) })
    }

    fn access(&mut self, said: Said) -> Result<SshAccess, String> {
        let mut access = said.access;
        if let Some(file) = &said.private_key_file {
            if access.key_file.is_some() {
                return Err("has `key_file` and `private_key_file`: leave one out".to_owned());
            }
            access.private_key = Some(self.keys.read(file)?);
        }
        let usual = &self.access;
        if access.password.is_none() && access.private_key.is_none() && access.key_file.is_none() {
            access.password.clone_from(&usual.password);
            access.private_key.clone_from(&usual.private_key);
            access.key_file.clone_from(&usual.key_file);
        }
        access.user = access.user.or_else(|| usual.user.clone());
        access.sudo_password = access.sudo_password.or_else(|| usual.sudo_password.clone());
        if access.private_key.is_some() || access.key_file.is_some() {
            access.passphrase = access.passphrase.or_else(|| usual.passphrase.clone());
            // The key logs in; the password is still good for sudo.
            access.sudo_password = access.sudo_password.or(access.password.take());
        }
        if access.password.is_none() && access.private_key.is_none() && access.key_file.is_none() {
            return Err(
                "has neither password nor key; `--private-key-file` gives one to all of these".to_owned()
            );
        }
        Ok(access)
    }

    fn host_key(&self, host: &str, port: u16) -> Result<Option<String>, String> {
        if self.accept_new {
            return Ok(Some(ACCEPT_NEW.to_owned()));
        }
        match &self.known_hosts {
            Some(known) => Ok(known.key_of(host, port)?.map(str::to_owned)),
            None => Ok(None),
        }
    }
}

fn port(text: &str) -> Result<u16, String> {
    match text.parse() {
        Ok(0) | Err(_) => Err("port: must be 1 to 65535".to_owned()),
        Ok(port) => Ok(port),
    }
}

/// The same address behind two jump hosts is two places.
fn place(entry: &Entry) -> Option<String> {
    let machine = entry.machine.as_ref().ok()?;
    let jump = machine.ssh.as_ref().and_then(|ssh| ssh.jump.as_deref()).unwrap_or_default();
    Some(format!("{} {} {jump}", machine.host.to_ascii_lowercase(), machine.port))
}

/// Which of them was meant nobody can tell, so none is sent.
fn refuse_twins(entries: &mut [Entry], what: &str, key: impl Fn(&Entry) -> Option<String>) {
    let mut lines: HashMap<String, Vec<u64>> = HashMap::new();
    let keys: Vec<Option<String>> = entries.iter().map(key).collect();
    for (entry, key) in entries.iter().zip(&keys) {
        if let Some(key) = key {
            lines.entry(key.clone()).or_default().push(entry.line);
        }
    }
    for (entry, key) in entries.iter_mut().zip(keys) {
        let Some(twins) = key.and_then(|key| lines.get(&key)).filter(|lines| lines.len() > 1) else {
            continue;
        };
        let where_else = match twins.iter().find(|line| **line != entry.line) {
            Some(line) => format!("line {line} has the same {what}"),
            None => format!("several machines of this line have the same {what}"),
        };
        entry.refuse(&format!("{where_else}: leave one out"));
    }
}
