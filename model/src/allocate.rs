//! Which machines an ask gets.

use crate::machine::Machine;
use crate::phase::{MachineState, machine_state};
use crate::{Labels, MachineName};
use jiff::Timestamp;
use std::time::Duration;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Want {
    /// So many of those that carry these labels.
    Count { count: u32, labels: Labels },
    /// Exactly these.
    Named(Vec<MachineName>),
}

impl Want {
    pub fn count(&self) -> u32 {
        match self {
            Self::Count { count, .. } => *count,
            Self::Named(names) => names.len() as u32,
        }
    }
}

/// Why an ask could not be met.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Shortage {
    #[error("only {free} of {wanted} machines are free; ask for fewer, or try again when some are returned")]
    TooFew { wanted: u32, free: u32 },
    #[error("{} cannot be given now; choose others, or leave the choice to `count`", .0.join(", "))]
    NotFree(Vec<String>),
}

/// All or nothing. Candidates come in the order they were registered in; the first that fit are taken.
pub fn allocate<'a>(
    want: &Want,
    candidates: &'a [Machine],
    now: Timestamp,
    ttl: Duration,
) -> Result<Vec<&'a Machine>, Shortage> {
    match want {
        Want::Count { count, labels } => {
            let fits = |machine: &&Machine| is_free(machine, now, ttl) && machine.labels.covers(labels);
            let found: Vec<_> = candidates.iter().filter(fits).take(*count as usize).collect();
            let free = found.len() as u32;
            if free < *count { Err(Shortage::TooFew { wanted: *count, free }) } else { Ok(found) }
        }
        Want::Named(names) => {
            let find = |name: &MachineName| candidates.iter().find(|machine| &machine.name == name);
            let refusals: Vec<_> =
                names.iter().filter_map(|name| refusal(name, find(name), now, ttl)).collect();
            if !refusals.is_empty() {
                return Err(Shortage::NotFree(refusals));
            }
            Ok(names.iter().filter_map(find).collect())
        }
    }
}

pub fn is_free(machine: &Machine, now: Timestamp, ttl: Duration) -> bool {
    machine_state(machine, now, ttl) == MachineState::Free
}

fn refusal(name: &MachineName, machine: Option<&Machine>, now: Timestamp, ttl: Duration) -> Option<String> {
    match machine.map(|machine| machine_state(machine, now, ttl)) {
        None => Some(format!("`{name}` (no such machine)")),
        Some(MachineState::Free) => None,
        Some(state) => Some(format!("`{name}` ({})", state.name())),
    }
}
