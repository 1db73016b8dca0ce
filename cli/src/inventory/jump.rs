//! Which machine is meant by whatever an inventory jumps through.

use super::Entry;
use model::MachineName;
use model::wire::MachineView;
use std::collections::HashMap;

/// Machines that can be jumped through, by all that they are called by.
#[derive(Default)]
pub(super) struct Known {
    names: HashMap<String, String>,
    /// `host` and `host:port`
    addresses: HashMap<String, String>,
}

impl Known {
    /// Those of the file go before those registered already.
    pub(super) fn new(entries: &[Entry], registered: &[&MachineView]) -> Self {
        let mut known = Self::default();
        for entry in entries {
            if let Ok(machine) = &entry.machine {
                known.add(&machine.name, &machine.host, machine.port);
            }
        }
        for machine in registered {
            known.add(machine.name.as_str(), &machine.host, machine.port);
        }
        known
    }

    fn add(&mut self, name: &str, host: &str, port: u16) {
        self.names.entry(name.to_owned()).or_insert_with(|| name.to_owned());
        for address in [host.to_ascii_lowercase(), format!("{}:{port}", host.to_ascii_lowercase())] {
            self.addresses.entry(address).or_insert_with(|| name.to_owned());
        }
    }

    /// Puts names in place of what the file calls them.
    pub(super) fn resolve(&self, entries: &mut [Entry]) {
        for entry in entries {
            let Ok(machine) = &mut entry.machine else { continue };
            let Some(jump) = machine.ssh.as_mut().and_then(|ssh| ssh.jump.as_mut()) else { continue };
            match self.name_of(jump).filter(|name| *name != entry.name) {
                Some(name) => *jump = name,
                None => {
                    let why = unknown(jump);
                    entry.refuse(&why);
                }
            }
        }
    }

    /// `jump` as in `bastion`, `10.0.0.1` or `user@bastion:2222`.
    fn name_of(&self, jump: &str) -> Option<String> {
        let jump = jump.strip_prefix("ssh://").unwrap_or(jump);
        let (_, address) = jump.rsplit_once('@').unwrap_or(("", jump));
        let address = address.to_ascii_lowercase();
        let (host, _) = address.rsplit_once(':').unwrap_or((&address, ""));
        let name = self.names.get(&address).or_else(|| self.addresses.get(&address));
        name.or_else(|| self.names.get(host)).cloned()
    }
}

fn unknown(jump: &str) -> String {
    if jump.contains(',') {
        return "jumps through several machines: name only the last, and let that one jump itself".to_owned();
    }
    "jumps through what is no other machine of this file, nor a registered one: add that first".to_owned()
}

/// How many machines of the file must be there before each: what jumps comes after what it jumps through. A circle of
/// jumps is refused.
pub(super) fn levels(entries: &mut [Entry]) -> Vec<usize> {
    let by_name: HashMap<String, usize> =
        (0..).zip(&*entries).map(|(index, entry)| (entry.name.clone(), index)).collect();
    let through: Vec<Option<usize>> =
        entries.iter().map(|entry| by_name.get(jump_of(entry)?.as_str()).copied()).collect();
    let mut levels = vec![0; entries.len()];
    for index in 0..entries.len() {
        let path = std::iter::successors(through[index], |&before| through[before]);
        // One step more than there are machines goes round in a circle.
        levels[index] = path.take(entries.len() + 1).count();
        if levels[index] > entries.len() {
            entries[index].refuse("jumps in a circle");
            levels[index] = 0;
        }
    }
    levels
}

fn jump_of(entry: &Entry) -> Option<MachineName> {
    entry.machine.as_ref().ok()?.ssh.as_ref()?.jump.as_ref()?.parse().ok()
}
