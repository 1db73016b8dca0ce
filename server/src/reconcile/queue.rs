//! Machines that want a look: each at most once, the most urgent first, some only later.

use model::{MachineId, Timestamp};
use std::collections::{BTreeSet, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

#[derive(Default)]
pub struct Queue {
    state: Mutex<State>,
    added: Notify,
}

#[derive(Default)]
struct State {
    order: BTreeSet<(Timestamp, MachineId)>,
    when: HashMap<MachineId, Timestamp>,
}

impl Queue {
    /// As soon as possible.
    pub fn add(&self, machine: MachineId) {
        self.add_at(machine, Timestamp::MIN);
    }

    /// Not before `at`; an earlier time that stands already wins.
    pub fn add_at(&self, machine: MachineId, at: Timestamp) {
        let mut state = self.lock();
        match state.when.get(&machine).copied() {
            Some(earlier) if earlier <= at => return,
            Some(later) => state.order.remove(&(later, machine)),
            None => false,
        };
        state.order.insert((at, machine));
        state.when.insert(machine, at);
        drop(state);
        self.added.notify_one();
    }

    /// Completes when something was added.
    pub async fn added(&self) {
        self.added.notified().await;
    }

    /// Takes out everything due, and says when the next is.
    pub fn take_due(&self, now: Timestamp) -> (Vec<MachineId>, Option<Timestamp>) {
        let mut state = self.lock();
        let mut due = Vec::new();
        while let Some(&(at, machine)) = state.order.first().filter(|(at, _)| *at <= now) {
            state.order.remove(&(at, machine));
            state.when.remove(&machine);
            due.push(machine);
        }
        (due, state.order.first().map(|(at, _)| *at))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_machine_once_at_its_earliest_time() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let (a, b) = (MachineId::new(at(1)), MachineId::new(at(2)));
        let queue = Queue::default();
        queue.add_at(a, at(50));
        queue.add_at(b, at(20));
        queue.add_at(a, at(10));
        queue.add_at(a, at(90));
        assert_eq!(queue.take_due(at(5)), (vec![], Some(at(10))));
        queue.add(b);
        assert_eq!(queue.take_due(at(10)), (vec![b, a], None));
        assert_eq!(queue.take_due(at(100)), (vec![], None));
    }
}
