//! How much of a pool may change without anybody having wished it: a provider that suddenly knows nothing of its
//! machines is more likely to be wrong than right.

use crate::MachineId;
use crate::pool::Step;
use jiff::{SignedDuration, Timestamp};
use std::collections::HashSet;

/// So many surprises a minute are believed in any pool.
const FEW: usize = 5;
/// In a large one this part of it.
const PART: usize = 5;
const WINDOW: SignedDuration = SignedDuration::from_secs(60);

/// What one pool has surprised us with of late.
#[derive(Debug, Clone, Default)]
pub struct Breaker {
    recent: Vec<Timestamp>,
}

/// How many surprises are believed at once, of so many machines.
pub fn most(of: usize) -> usize {
    FEW.max(of / PART)
}

/// What was not done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{lost} of its {of} machines would be given up as lost, and {unknown} destroyed that nobody knows; that is too many \
     at once to be believed, and nothing of it was done: look at the provider"
)]
pub struct Tripped {
    pub lost: usize,
    pub unknown: usize,
    pub of: usize,
}

impl Breaker {
    /// Takes the surprises out of a round's steps when there are too many. `known` are the machines that the database
    /// has for this pool; until `accepted_until` somebody has said that it is all right.
    pub fn check(
        &mut self,
        steps: &mut Vec<Step>,
        known: &HashSet<MachineId>,
        accepted_until: Option<Timestamp>,
        now: Timestamp,
    ) -> Result<(), Tripped> {
        let lost = steps.iter().filter(|step| matches!(step, Step::Lost(_))).count();
        let unknown = steps.iter().filter(|step| is_of_a_stranger(step, known)).count();
        self.recent.retain(|at| now.duration_since(*at) < WINDOW);
        let most = most(known.len());
        let is_accepted = accepted_until.is_some_and(|until| now < until);
        if lost + unknown == 0 || is_accepted || self.recent.len() + lost + unknown <= most {
            self.recent.extend(std::iter::repeat_n(now, lost + unknown));
            return Ok(());
        }
        steps.retain(|step| !matches!(step, Step::Lost(_)) && !is_of_a_stranger(step, known));
        // Nobody is to take the place of those that are not given up.
        for step in steps.iter_mut() {
            if let Step::Add(by) = step {
                *by = by.saturating_sub(lost as u32);
            }
        }
        steps.retain(|step| *step != Step::Add(0));
        Err(Tripped { lost, unknown, of: known.len() })
    }
}

fn is_of_a_stranger(step: &Step, known: &HashSet<MachineId>) -> bool {
    matches!(step, Step::Destroy(id) if !known.contains(id))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pool::{Listed, Member, plan};

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn members(count: usize) -> Vec<Member> {
        let id = |_| MachineId::new(at(0));
        (0..count)
            .map(id)
            .map(|id| Member { id, retired: false, held: true, enrolled: true, cordoned: false, up: None })
            .collect()
    }

    /// What is left of a round in which the provider lists these only.
    fn round(
        breaker: &mut Breaker,
        members: &[Member],
        listed: &[Listed],
        accepted_until: Option<Timestamp>,
        now: Timestamp,
    ) -> (Vec<Step>, Result<(), Tripped>) {
        let mut steps = plan(members.len() as u32, members, listed, now);
        let known = members.iter().map(|member| member.id).collect();
        let outcome = breaker.check(&mut steps, &known, accepted_until, now);
        (steps, outcome)
    }

    #[test]
    fn an_empty_list_loses_nobody_a_seat_until_somebody_says_so() {
        let (mut breaker, members) = (Breaker::default(), members(50));
        let (steps, outcome) = round(&mut breaker, &members, &[], None, at(1000));
        assert_eq!((steps, outcome), (vec![], Err(Tripped { lost: 50, unknown: 0, of: 50 })));
        let (steps, outcome) = round(&mut breaker, &members, &[], Some(at(1060)), at(1001));
        assert_eq!((steps.len(), outcome), (51, Ok(())), "all are lost, and as many are added");
        let (steps, outcome) = round(&mut breaker, &members, &[], Some(at(1060)), at(1060));
        assert!(steps.is_empty() && outcome.is_err());
    }

    #[test]
    fn a_few_are_believed_each_minute() {
        let (mut breaker, members) = (Breaker::default(), members(50));
        let all: Vec<_> =
            members.iter().map(|m| Listed { id: m.id, created_at: at(0), running: true }).collect();
        for (missing, second, is_done) in
            [(10, 1000, true), (1, 1059, false), (10, 1060, true), (11, 2000, false)]
        {
            let (steps, outcome) = round(&mut breaker, &members, &all[missing..], None, at(second));
            assert_eq!(
                (steps.len(), outcome.is_ok()),
                (if is_done { missing + 1 } else { 0 }, is_done),
                "{second}"
            );
        }
    }

    #[test]
    fn a_database_that_knows_none_of_them_destroys_none() {
        let strangers: Vec<_> =
            (0..6).map(|_| Listed { id: MachineId::new(at(0)), created_at: at(0), running: true }).collect();
        let mut breaker = Breaker::default();
        let (steps, outcome) = round(&mut breaker, &[], &strangers, None, at(1000));
        assert_eq!((steps, outcome), (vec![], Err(Tripped { lost: 0, unknown: 6, of: 0 })));
        let (steps, outcome) = round(&mut breaker, &[], &strangers[..5], None, at(1000));
        assert_eq!((steps.len(), outcome), (5, Ok(())));
    }
}
