//! A pretend machine with a clock of its own, and the real agent on it while that runs.

use super::server::Time;
use super::world::Sabotage;
use agent::ledger::Ledger;
use agent::sync::Agent;
use jiff::{SignedDuration, Timestamp};
use model::Incarnation;
use model::cleaning::Residue;
use model::machine::FIRST_UID;
use model::report::{AccountState, Report};
use model::spec::Spec;
use model::wire::{SyncAnswer, SyncRequest};
use playbooks::fake::World as Inside;
use playbooks::{FakeHost, Litter, When};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;
use tests::look::{Trace, login_of, theirs, traces};

/// More calls than one convergence makes.
const MANY_CALLS: u64 = 400;

pub(super) struct Machine {
    pub(super) name: String,
    pub(super) credential: String,
    pub(super) incarnation: Incarnation,
    pub(super) host: FakeHost,
    clock: Clock,
    agent: Option<Agent<FakeHost>>,
    /// Heard, and not obeyed yet.
    spec: Option<Spec>,
    /// What is not ours, as it has to stay.
    theirs: Inside,
    /// As of the last look.
    pub(super) seen: Inside,
    pub(super) traces: Vec<Trace>,
    /// Since it was booted the agent has not heard what time it is.
    in_the_dark: bool,
    sabotage: Option<Sabotage>,
}

/// Off by `skew`, and counting from the last boot.
#[derive(Clone)]
struct Clock {
    time: Time,
    skew: SignedDuration,
    booted_at: Arc<AtomicI64>,
}

impl agent::Clock for Clock {
    fn wall(&self) -> Timestamp {
        self.time.now() + self.skew
    }

    fn boottime(&self) -> Duration {
        let booted_at = self.booted_at.load(Ordering::Relaxed);
        Duration::from_millis((self.time.now().as_millisecond() - booted_at) as u64)
    }

    /// The world decides whose turn it is.
    fn sleep_until(&self, _: Duration) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(std::future::pending())
    }
}

impl Machine {
    pub(super) fn new(
        name: String,
        credential: String,
        incarnation: Incarnation,
        time: &Time,
        skew: SignedDuration,
        sabotage: Option<Sabotage>,
    ) -> Self {
        let host = FakeHost::new();
        let booted_at = Arc::new(AtomicI64::new(time.now().as_millisecond()));
        let clock = Clock { time: time.clone(), skew, booted_at };
        let seen = host.world();
        let mut machine = Self {
            name,
            credential,
            incarnation,
            host,
            clock,
            agent: None,
            spec: None,
            theirs: theirs(&seen),
            traces: traces(&seen),
            seen,
            in_the_dark: true,
            sabotage,
        };
        machine.start();
        machine
    }

    pub(super) fn is_up(&self) -> bool {
        self.agent.is_some()
    }

    /// What time it is at most, as far as the agent can tell. A machine that was booted goes by its wall clock until it
    /// hears from the server; if that is ahead, leases end early there.
    pub(super) fn latest_belief(&self) -> Timestamp {
        let ahead =
            if self.in_the_dark { self.clock.skew.max(SignedDuration::ZERO) } else { SignedDuration::ZERO };
        self.clock.time.now() + ahead
    }

    /// Sees what there is, and that nothing of others has changed.
    pub(super) fn look(&mut self) -> Result<(), String> {
        let world = self.host.world();
        if world == self.seen {
            return Ok(());
        }
        let theirs = theirs(&world);
        if theirs != self.theirs {
            return Err(format!(
                "{} had {:?}, which is not ours, and now {theirs:?}",
                self.name, self.theirs
            ));
        }
        self.traces = traces(&world);
        self.seen = world;
        Ok(())
    }

    /// What is not ours has changed by another's hand.
    pub(super) fn others_did(&mut self, act: impl FnOnce(&mut Inside)) {
        self.host.with(act);
        self.theirs = theirs(&self.host.world());
    }

    // --- the agent

    /// All it knows is in its ledger. Whether it came up.
    pub(super) fn start(&mut self) -> bool {
        let mut agent = Agent::new(self.host.clone(), Arc::new(self.clock.clone()));
        if agent.open().is_err() {
            return false;
        }
        let boot_id = self.host.with(|world| world.facts.boot_id.clone());
        self.in_the_dark = agent.ledger.anchor.as_ref().is_none_or(|anchor| anchor.boot_id != boot_id);
        self.agent = Some(agent);
        true
    }

    pub(super) fn crash(&mut self) {
        (self.agent, self.spec) = (None, None);
        if self.sabotage == Some(Sabotage::TheLedgerIsForgotten) {
            self.host.with(|world| world.ledger = None);
        }
    }

    pub(super) fn reboot(&mut self) {
        self.crash();
        self.host.reboot();
        self.clock.booted_at.store(self.clock.time.now().as_millisecond(), Ordering::Relaxed);
        self.others_did(|_| {});
    }

    /// One convergence, and what it came to. What is reported as ready has to be so at this very moment.
    pub(super) fn turn(&mut self) -> Result<Report, String> {
        let Some(agent) = &mut self.agent else { return Err(format!("{} has no agent", self.name)) };
        if self.sabotage == Some(Sabotage::TheWallClockIsBelieved) {
            agent.ledger.anchor = None;
        }
        let began = agent.moment();
        let report = agent.converge(self.spec.take(), began);
        let world = self.host.world();
        let ready = report.accounts.iter().filter(|account| account.state == AccountState::Ready);
        for account in ready {
            if login_of(&world, account.name.as_str()) != Some(account.uid) {
                return Err(format!("{} reports `{}` as ready, and it is not", self.name, account.name));
            }
        }
        Ok(report)
    }

    /// What the agent sends: of the process that runs, or of none.
    pub(super) fn request(&self, report: Report) -> SyncRequest {
        let nobody = || SyncRequest {
            incarnation: self.incarnation,
            session: String::new(),
            challenge: None,
            report: report.clone(),
        };
        self.agent.as_ref().map_or_else(nobody, |agent| agent.request(self.incarnation, report.clone()))
    }

    /// As [`Machine::turn`], but it dies at some call in the middle.
    pub(super) fn turn_and_die(&mut self, call: u64) -> Result<(), String> {
        (call..call + MANY_CALLS).for_each(|call| self.host.fail_at(call, When::Before));
        let turned = self.turn();
        self.host.clear_faults();
        self.crash();
        turned.map(drop)
    }

    pub(super) fn hear(&mut self, answer: SyncAnswer) {
        let Some(agent) = &mut self.agent else { return };
        if self.sabotage == Some(Sabotage::AnySpecIsObeyed) && answer.spec.is_some() {
            agent.ledger = Ledger { spec: None, uid_floor: FIRST_UID, ..agent.ledger.clone() };
        }
        self.spec = agent.hear(answer);
        self.in_the_dark = false;
    }

    // --- what else happens to a machine

    pub(super) fn heal(&mut self) {
        self.host.clear_faults();
        self.host.set_full(false);
        self.host.set_immortal(false);
    }

    /// The tenant leaves something of each kind about.
    pub(super) fn litter(&self, username: &str) -> bool {
        let Some(uid) = login_of(&self.host.world(), username) else { return false };
        for (litter, kind) in [
            (Litter::Jobs, Residue::Cron),
            (Litter::Mounts, Residue::Mount),
            (Litter::Ipc, Residue::Ipc),
            (Litter::Backups, Residue::Backup),
            (Litter::Files, Residue::File),
        ] {
            self.host.leave(litter, kind, &format!("{} of {username}", kind.name()), uid);
        }
        true
    }

    /// The tenant works.
    pub(super) fn run_program(&self, username: &str) -> bool {
        let uid = login_of(&self.host.world(), username);
        uid.map(|uid| self.host.spawn(uid)).is_some()
    }

    pub(super) fn leave_mail(&self, username: &str) -> bool {
        let there = login_of(&self.host.world(), username).is_some();
        there && self.host.with(|world| world.mail.insert(username.to_owned()))
    }
}
