//! Which machines an ask gets.

use crate::machine::Machine;
use crate::phase::{MachineState, machine_state};
use crate::pool::AfterUse;
use crate::{Labels, MachineName, PoolName};
use jiff::Timestamp;
use std::borrow::Cow;
use std::collections::BTreeMap;
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
    #[error(
        "after `sudo` a machine is made anew, which only machines of a pool can be: {free} of {wanted} are free; \
         {registered} more were registered by hand; ask without `sudo`, or for a larger pool"
    )]
    NotRenewable { wanted: u32, free: u32, registered: u32 },
}

/// All or nothing. Candidates come in the order they were registered in; the first that fit are taken. Where a machine
/// has to be recycled after use, only one of a pool fits: its provider can destroy it and make another.
pub fn allocate<'a>(
    want: &Want,
    after: AfterUse,
    candidates: &'a [Machine],
    now: Timestamp,
    ttl: Duration,
) -> Result<Vec<&'a Machine>, Shortage> {
    match want {
        Want::Count { count, labels } => {
            let fits = |machine: &&Machine| is_free(machine, now, ttl) && machine.labels.covers(labels);
            let renewable = |machine: &&Machine| can_be_left(machine, after);
            let found: Vec<_> =
                candidates.iter().filter(fits).filter(renewable).take(*count as usize).collect();
            let (wanted, free) = (*count, found.len() as u32);
            if free == wanted {
                return Ok(found);
            }
            let registered = candidates.iter().filter(fits).count() as u32 - free;
            Err(match registered {
                0 => Shortage::TooFew { wanted, free },
                1.. => Shortage::NotRenewable { wanted, free, registered },
            })
        }
        Want::Named(names) => {
            let find = |name: &MachineName| candidates.iter().find(|machine| &machine.name == name);
            let refusals: Vec<_> =
                names.iter().filter_map(|name| refusal(name, find(name), after, now, ttl)).collect();
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

/// Leaves out what pools keep back: the last of the free machines of each. Of a pool that is not listed as a whole it
/// leaves too few, never too many.
pub fn without_spares<'a>(
    candidates: &'a [Machine],
    spares: &BTreeMap<PoolName, u32>,
    now: Timestamp,
    ttl: Duration,
) -> Cow<'a, [Machine]> {
    if spares.is_empty() {
        return Cow::Borrowed(candidates);
    }
    let mut missing = spares.clone();
    let mut is_spare = |machine: &Machine| {
        let missing =
            machine.pool.as_ref().and_then(|pool| missing.get_mut(pool)).filter(|missing| **missing > 0);
        match missing {
            Some(missing) if is_free(machine, now, ttl) => {
                *missing -= 1;
                true
            }
            Some(_) | None => false,
        }
    };
    let mut offered: Vec<Machine> =
        candidates.iter().rev().filter(|machine| !is_spare(machine)).cloned().collect();
    offered.reverse();
    Cow::Owned(offered)
}

fn can_be_left(machine: &Machine, after: AfterUse) -> bool {
    match after {
        AfterUse::Clean => true,
        AfterUse::Recycle => machine.pool.is_some(),
    }
}

fn refusal(
    name: &MachineName,
    machine: Option<&Machine>,
    after: AfterUse,
    now: Timestamp,
    ttl: Duration,
) -> Option<String> {
    let Some(machine) = machine else { return Some(format!("`{name}` (no such machine)")) };
    match machine_state(machine, now, ttl) {
        MachineState::Free if can_be_left(machine, after) => None,
        MachineState::Free => {
            Some(format!("`{name}` (registered by hand: it cannot be made anew, as is done after `sudo`)"))
        }
        state => Some(format!("`{name}` ({})", state.name())),
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
        assert_eq!(
            names(allocate(&want(1, ""), AfterUse::Clean, &machines, now(), TTL)),
            Ok(vec!["b".to_owned()])
        );
        assert_eq!(
            names(allocate(&want(1, "os=alpine"), AfterUse::Clean, &machines, now(), TTL)),
            Ok(vec!["c".to_owned()])
        );
        let short = Shortage::TooFew { wanted: 3, free: 2 };
        assert_eq!(names(allocate(&want(3, ""), AfterUse::Clean, &machines, now(), TTL)), Err(short));
    }

    #[test]
    fn those_named_are_taken_or_each_says_why_not() {
        let mut machines = [machine("a"), machine("b")];
        let named = |names: &[&str]| Want::Named(names.iter().map(|name| name.parse().unwrap()).collect());
        assert_eq!(
            names(allocate(&named(&["b", "a"]), AfterUse::Clean, &machines, now(), TTL)),
            Ok(vec!["b".to_owned(), "a".to_owned()])
        );
        machines[1].retired_at = Some(now());
        let refused =
            Shortage::NotFree(vec!["`b` (retiring)".to_owned(), "`x` (no such machine)".to_owned()]);
        assert_eq!(
            names(allocate(&named(&["a", "b", "x"]), AfterUse::Clean, &machines, now(), TTL)),
            Err(refused)
        );
    }

    #[test]
    fn after_sudo_a_machine_is_made_anew_so_only_a_pools_is_given() {
        let mut machines = [machine("a"), machine("b"), machine("c")];
        machines[1].pool = Some("p".parse().unwrap());
        let given = |want: &Want| names(allocate(want, AfterUse::Recycle, &machines, now(), TTL));
        assert_eq!(given(&want(1, "")), Ok(vec!["b".to_owned()]));
        assert_eq!(given(&want(2, "")), Err(Shortage::NotRenewable { wanted: 2, free: 1, registered: 2 }));
        let short = given(&Want::Named(vec!["a".parse().unwrap(), "b".parse().unwrap()])).unwrap_err();
        assert!(short.to_string().contains("`a` (registered by hand") && !short.to_string().contains("`b`"));
        machines[0].cordoned_at = Some(now());
        machines[2].cordoned_at = Some(now());
        let short = Shortage::TooFew { wanted: 2, free: 1 };
        assert_eq!(names(allocate(&want(2, ""), AfterUse::Recycle, &machines, now(), TTL)), Err(short));
    }

    #[test]
    fn the_last_free_ones_of_a_pool_are_its_spares() {
        let mut machines = [machine("a"), machine("b"), machine("c"), machine("d"), machine("e")];
        machines[1..].iter_mut().for_each(|machine| machine.pool = Some("p".parse().unwrap()));
        machines[4].cordoned_at = Some(now());
        let offered = |spare| {
            let spares = BTreeMap::from([("p".parse().unwrap(), spare)]);
            let offered = without_spares(&machines, &spares, now(), TTL);
            offered.iter().map(|machine| machine.name.to_string()).collect::<Vec<_>>().concat()
        };
        assert_eq!(offered(0), "abcde");
        assert_eq!(offered(2), "abe");
        assert_eq!(offered(9), "ae", "there are too few already");
        assert!(matches!(without_spares(&machines, &BTreeMap::new(), now(), TTL), Cow::Borrowed(_)));
    }

    proptest! {
        #[test]
        fn all_or_nothing_and_only_the_free(count in 1u32..6, cordoned in prop::collection::vec(any::<bool>(), 0..8)) {
            let mut machines: Vec<_> = (0..cordoned.len()).map(|number| machine(&format!("m{number}"))).collect();
            for (machine, cordoned) in machines.iter_mut().zip(&cordoned) {
                machine.cordoned_at = cordoned.then(now);
            }
            let free = cordoned.iter().filter(|cordoned| !**cordoned).count() as u32;
            match allocate(&want(count, ""), AfterUse::Clean, &machines, now(), TTL) {
                Ok(found) => {
                    prop_assert_eq!(found.len(), count as usize);
                    prop_assert!(found.iter().all(|machine| is_free(machine, now(), TTL)));
                }
                Err(short) => prop_assert_eq!(short, Shortage::TooFew { wanted: count, free }),
            }
        }
    }
}
