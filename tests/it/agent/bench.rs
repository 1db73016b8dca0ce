//! One machine in memory, with the agent's memory of it.

use super::given::at;
use agent::converge::converge;
use agent::ledger::Ledger;
use model::report::{AccountState, Report};
use model::spec::Spec;
use playbooks::fake::World;
use playbooks::{Db, FakeHost};

/// A machine, its agent's memory, and the minute it is.
pub(crate) struct Bench {
    pub(crate) host: FakeHost,
    pub(crate) ledger: Ledger,
    pub(crate) minute: i64,
}

impl Bench {
    pub(crate) fn new() -> Self {
        Self { host: FakeHost::new(), ledger: Ledger::default(), minute: 0 }
    }

    pub(crate) fn converge(&mut self, spec: Option<Spec>) -> Report {
        converge(&mut self.host, &mut self.ledger, spec, at(self.minute))
    }

    /// As after a crash: all the agent knows is on disk.
    pub(crate) fn restart(&mut self) {
        self.ledger = Ledger::load(&mut self.host).unwrap();
    }

    pub(crate) fn has_alice(&self) -> bool {
        self.host.text(Db::Passwd).contains("alice")
    }
}

/// The machine without the agent's memory.
pub(crate) fn body(host: &FakeHost) -> World {
    World { ledger: None, ..host.world() }
}

pub(crate) fn states(report: &Report) -> Vec<&AccountState> {
    report.accounts.iter().map(|account| &account.state).collect()
}
