//! The loop: make the machine so, tell the server, hear what is wanted. Whatever the server does or does not do, the
//! newest spec stays in force, and accounts end when it says.

use crate::clock::Clock;
use crate::converge::converge;
use crate::identity::Identity;
use crate::ledger::{Anchor, Ledger};
use crate::link::{Link, LinkError};
use crate::moment::Moment;
use crate::notice::Warnings;
use model::report::{AccountState, EndsBy, Report};
use model::spec::Spec;
use model::wire::{SyncAnswer, SyncRequest};
use model::{AssignmentId, Epoch, Incarnation, Timestamp};
use playbooks::Host;
use std::{future::Future, io, sync::Arc, time::Duration};

/// Until the server has said how long it holds an answer back.
const FIRST_HOLD: Duration = Duration::from_secs(60);
const SHORTEST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_SILENCE: Duration = Duration::from_secs(15);
const LONGEST_RETRY: Duration = Duration::from_secs(30);
const TIME_KEPT_EVERY: Duration = Duration::from_secs(60);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    Stopped,
    /// The server has removed this machine, and every account of ours is off it.
    Gone,
}

pub async fn run<H: Host>(
    host: H,
    mut link: Link,
    identity: Identity,
    clock: Arc<dyn Clock>,
    stop: impl Future<Output = ()> + Send,
) -> Outcome {
    let mut agent = Agent::new(host, clock);
    tokio::pin!(stop);
    tokio::select! {
        () = &mut stop => return Outcome::Stopped,
        () = agent.open_ledger() => {}
    }
    let outcome = tokio::select! {
        // Stopping in the middle of a call to the server loses nothing: work on the machine is never interrupted.
        () = &mut stop => return Outcome::Stopped,
        outcome = agent.obey(&mut link, &identity) => outcome,
    };
    tracing::info!(?outcome, "the agent ends");
    outcome
}

/// What the loop does, one step at a time: for the loop, for a visit and for a watcher, and for whoever drives an agent
/// through a world of its own.
pub struct Agent<H> {
    pub(crate) host: H,
    pub ledger: Ledger,
    pub(crate) clock: Arc<dyn Clock>,
    boot_id: String,
    /// How often in a row something was left to do.
    retries: u32,
    /// The last spec that the server offered, obeyed or not.
    offer: Option<(Epoch, u64)>,
    /// Tells this process from any other that has the same key.
    session: String,
    /// The newest one heard from the server.
    challenge: Option<u64>,
    warnings: Warnings,
    /// When the time was last written down.
    time_kept: Duration,
}

impl<H: Host> Agent<H> {
    /// One that has not read its ledger yet.
    pub fn new(host: H, clock: Arc<dyn Clock>) -> Self {
        let time_kept = clock.boottime();
        Self {
            host,
            ledger: Ledger::default(),
            clock,
            boot_id: String::new(),
            retries: 0,
            offer: None,
            session: session(),
            challenge: None,
            warnings: Warnings::default(),
            time_kept,
        }
    }

    /// Without its ledger the agent would not know whom to remove, so it waits for it rather than starting afresh.
    async fn open_ledger(&mut self) {
        let mut failures = 0;
        while let Err(error) = self.open() {
            tracing::error!(%error, "cannot read the ledger");
            failures += 1;
            self.clock.sleep_until(self.clock.boottime() + backoff(failures, LONGEST_SILENCE)).await;
        }
    }

    /// Reads the ledger; before that the agent must not do anything.
    pub(crate) fn load(&mut self) -> io::Result<()> {
        self.boot_id = self.host.facts()?.boot_id;
        self.ledger = Ledger::load(&mut self.host)?;
        Ok(())
    }

    pub fn open(&mut self) -> io::Result<()> {
        self.load()?;
        // An agent that was killed may have left its locks to others, who would wait for nobody.
        let _ = self.host.lock_accounts().and_then(|()| self.host.unlock_accounts());
        Ok(())
    }

    async fn obey(&mut self, link: &mut Link, identity: &Identity) -> Outcome {
        let Some(incarnation) = identity.incarnation else { return Outcome::Stopped };
        let (mut spec, mut hold, mut failures) = (None, FIRST_HOLD, 0);
        loop {
            let began = self.moment();
            let report = self.converge(spec.take(), began);
            let wake = self.wake(is_settled(&report), began);
            let asked_at = self.clock.boottime();
            let request = self.request(incarnation, report);
            let answer = tokio::select! {
                // Something is to be done here first; the server hears of it in the next report.
                () = sleep_until(&self.clock, wake) => continue,
                answer = link.sync(identity.credential(), &request, hold) => answer,
            };
            match answer {
                Ok(answer) => {
                    hold = Duration::from_secs(answer.hold.into());
                    let news = self.is_news(&answer);
                    spec = self.hear(answer);
                    if news || self.clock.boottime().saturating_sub(asked_at) >= SHORTEST_PAUSE {
                        failures = 0;
                        continue;
                    }
                    failures += 1;
                }
                Err(LinkError::Gone) => return self.leave().await,
                Err(error) => {
                    failures += 1;
                    tracing::warn!(%error, failures, "no answer; going by the newest spec");
                }
            }
            let next = self.clock.boottime() + jittered(backoff(failures, LONGEST_SILENCE));
            self.clock.sleep_until(wake.map_or(next, |wake| wake.min(next))).await;
        }
    }

    /// A server that answers at once without news, or offers again and again what we refuse, must not make us spin.
    fn is_news(&mut self, answer: &SyncAnswer) -> bool {
        let offer = answer.spec.as_ref().map(|spec| (spec.epoch, spec.generation));
        let news = offer.is_some() && offer != self.offer;
        if news {
            (self.offer, self.retries) = (offer, 0);
        }
        news
    }

    /// The report as it is sent.
    pub fn request(&self, incarnation: Incarnation, report: Report) -> SyncRequest {
        SyncRequest { incarnation, session: self.session.clone(), challenge: self.challenge, report }
    }

    pub fn converge(&mut self, spec: Option<Spec>, began: Moment) -> Report {
        let mut report = self.act(spec, began);
        self.warn(began);
        self.keep_time(began);
        report.facts.ends_by = Some(EndsBy::Agent);
        report
    }

    /// The convergence alone.
    pub(crate) fn act(&mut self, spec: Option<Spec>, began: Moment) -> Report {
        let report = converge(&mut self.host, &mut self.ledger, spec, began);
        for account in &report.accounts {
            tracing::debug!(name = %account.name, uid = account.uid, state = ?account.state, "account");
        }
        for problem in &report.problems {
            tracing::warn!(problem, "converged with a problem");
        }
        report
    }

    pub(crate) fn warn(&mut self, began: Moment) {
        self.warnings.give(&mut self.host, &self.ledger, began.now);
    }

    pub fn moment(&self) -> Moment {
        self.ledger.moment(self.clock.wall(), self.clock.boottime(), &self.boot_id)
    }

    /// The anchor reaches the disk together with the spec, when that is obeyed.
    pub fn hear(&mut self, answer: SyncAnswer) -> Option<Spec> {
        self.told(answer.now, self.clock.boottime(), &answer.kept);
        self.challenge = answer.challenge.or(self.challenge);
        answer.spec
    }

    /// What comes beside a spec: what the server's clock said when it was so long since boot, and whose cleanings it has.
    pub(crate) fn told(&mut self, server_now: Timestamp, boottime: Duration, kept: &[AssignmentId]) {
        self.ledger.anchor = Some(Anchor { server_now, boottime, boot_id: self.boot_id.clone() });
        self.ledger.cleanings.kept(kept);
    }

    /// A machine somebody has writes down now and then how late it is: after a reboot it then knows by how much its
    /// clock has run backwards, if it has.
    fn keep_time(&mut self, moment: Moment) {
        let idle = self.ledger.accounts.is_empty() && self.ledger.cleanings.all().is_empty();
        if idle || moment.boottime.saturating_sub(self.time_kept) < TIME_KEPT_EVERY {
            return;
        }
        self.time_kept = moment.boottime;
        self.ledger.keep_time(moment, &self.boot_id);
        if let Err(error) = self.ledger.save(&mut self.host) {
            tracing::warn!(%error, "the time could not be written down");
        }
    }

    /// When, since boot, there is something to do without the server: an account ends, or one was left unfinished.
    /// Counted from the moment of the convergence, so that an end that has come meanwhile is seen at once.
    pub(crate) fn wake(&mut self, is_settled: bool, began: Moment) -> Option<Duration> {
        self.retries = if is_settled { 0 } else { self.retries + 1 };
        let until = |end: Timestamp| Duration::try_from(end.duration_since(began.now)).unwrap_or_default();
        let end = self.ledger.next_end(began.now).map(|end| until(end) + Duration::from_millis(1));
        let warning = self.warnings.next(&self.ledger, began.now).map(until);
        let retry = (!is_settled).then(|| backoff(self.retries, LONGEST_RETRY));
        end.into_iter().chain(warning).chain(retry).min().map(|lasts| began.boottime + lasts)
    }

    /// Takes every account of ours off the machine.
    async fn leave(&mut self) -> Outcome {
        tracing::warn!("the server has removed this machine: removing its accounts");
        if let Some(spec) = &mut self.ledger.spec {
            spec.accounts.clear();
        }
        loop {
            let began = self.moment();
            let report = self.converge(None, began);
            if self.ledger.accounts.is_empty() {
                return Outcome::Gone;
            }
            let wake = self.wake(is_settled(&report), began);
            self.clock.sleep_until(wake.unwrap_or(began.boottime + SHORTEST_PAUSE)).await;
        }
    }
}

/// Refused is settled: another try gives the same.
fn is_settled(report: &Report) -> bool {
    let done = |state: &AccountState| match state {
        AccountState::Ready | AccountState::Refused { .. } => true,
        AccountState::Failed { .. } | AccountState::Leaving { .. } => false,
    };
    report.problems.is_empty() && report.accounts.iter().all(|account| done(&account.state))
}

fn session() -> String {
    let mut bits = [0; 16];
    // Without randomness there is no session, and no clone is noticed.
    getrandom::fill(&mut bits).map_or(String::new(), |()| data_encoding::HEXLOWER.encode(&bits))
}

async fn sleep_until(clock: &Arc<dyn Clock>, wake: Option<Duration>) {
    match wake {
        Some(wake) => clock.sleep_until(wake).await,
        None => std::future::pending().await,
    }
}

/// Doubles from `SHORTEST_PAUSE` up to `longest`.
pub fn backoff(failures: u32, longest: Duration) -> Duration {
    SHORTEST_PAUSE.saturating_mul(1 << failures.saturating_sub(1).min(16)).min(longest)
}

/// Between half and all of it, so that a fleet does not come back in one wave.
pub fn jittered(pause: Duration) -> Duration {
    let random = getrandom::u32().unwrap_or(u32::MAX);
    pause.mul_f64(0.5 + f64::from(random) / f64::from(u32::MAX) / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_a_limit() {
        let pauses: Vec<u128> = (0..10).map(|n| backoff(n, LONGEST_SILENCE).as_millis()).collect();
        assert_eq!(pauses, [200, 200, 400, 800, 1600, 3200, 6400, 12800, 15000, 15000]);
        assert_eq!(backoff(u32::MAX, LONGEST_RETRY), LONGEST_RETRY);
        for _ in 0..100 {
            let pause = jittered(Duration::from_secs(1));
            assert!((500..=1000).contains(&pause.as_millis()));
        }
    }
}
