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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::phase::tests::machine;
    use proptest::prelude::*;

    const TTL: Duration = Duration::from_secs(60);

    fn now() -> Timestamp {
        Timestamp::UNIX_EPOCH
    }

    fn names(found: Result<Vec<&Machine>, Shortage>) -> Result<Vec<String>, Shortage> {
        found.map(|found| found.iter().map(|machine| machine.name.to_string()).collect())
    }

    fn want(count: u32, labels: &str) -> Want {
        Want::Count { count, labels: labels.parse().unwrap() }
    }

    #[test]
    fn the_first_that_fit_are_taken() {
        let mut machines = [machine("a"), machine("b"), machine("c")];
        machines[0].cordoned_at = Some(now());
        machines[2].labels = "os=alpine".parse().unwrap();
        assert_eq!(names(allocate(&want(1, ""), &machines, now(), TTL)), Ok(vec!["b".to_owned()]));
        assert_eq!(names(allocate(&want(1, "os=alpine"), &machines, now(), TTL)), Ok(vec!["c".to_owned()]));
        let short = Shortage::TooFew { wanted: 3, free: 2 };
        assert_eq!(names(allocate(&want(3, ""), &machines, now(), TTL)), Err(short));
    }

    #[test]
    fn those_named_are_taken_or_each_says_why_not() {
        let mut machines = [machine("a"), machine("b")];
        let named = |names: &[&str]| Want::Named(names.iter().map(|name| name.parse().unwrap()).collect());
        assert_eq!(
            names(allocate(&named(&["b", "a"]), &machines, now(), TTL)),
            Ok(vec!["b".to_owned(), "a".to_owned()])
        );
        machines[1].retired_at = Some(now());
        let refused =
            Shortage::NotFree(vec!["`b` (retiring)".to_owned(), "`x` (no such machine)".to_owned()]);
        assert_eq!(names(allocate(&named(&["a", "b", "x"]), &machines, now(), TTL)), Err(refused));
    }

    proptest! {
        #[test]
        fn all_or_nothing_and_only_the_free(count in 1u32..6, cordoned in prop::collection::vec(any::<bool>(), 0..8)) {
            let mut machines: Vec<_> = (0..cordoned.len()).map(|number| machine(&format!("m{number}"))).collect();
            for (machine, cordoned) in machines.iter_mut().zip(&cordoned) {
                machine.cordoned_at = cordoned.then(now);
            }
            let free = cordoned.iter().filter(|cordoned| !**cordoned).count() as u32;
            match allocate(&want(count, ""), &machines, now(), TTL) {
                Ok(found) => {
                    prop_assert_eq!(found.len(), count as usize);
                    prop_assert!(found.iter().all(|machine| is_free(machine, now(), TTL)));
                }
                Err(short) => prop_assert_eq!(short, Shortage::TooFew { wanted: count, free }),
            }
        }
    }
}
