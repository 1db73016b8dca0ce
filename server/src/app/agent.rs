//! The agents' side: enrol once, then sync for ever.

use super::{App, Refusal};
use crate::secret;
use crate::store::{Enrolled, Received, Store};
use jiff::SignedDuration;
use model::audit::{Actor, Who};
use model::session::is_session;
use model::spec::Spec;
use model::wire::{EnrolAnswer, EnrolRequest, SyncAnswer, SyncRequest};
use model::{Invalid, MachineId};

/// How long a sync without news is held, with a small fleet.
const HOLD: u32 = 20;
/// Syncs a second that a large fleet may cost: it is held longer instead.
const SYNCS_PER_SECOND: usize = 50;

impl App {
    pub async fn agent_enrol(&self, body: EnrolRequest) -> Result<EnrolAnswer, Refusal> {
        let credential = body.credential_sha256;
        if credential.len() != 64
            || !credential.bytes().all(|c| c.is_ascii_hexdigit() && !c.is_ascii_uppercase())
        {
            return Err(Invalid::new("credential_sha256", "must be a SHA-256 in lower-case hex").into());
        }
        let token = secret::digest(&body.join_token);
        self.hub().store.join_token_check(token.clone()).await?;
        let enrolled = self.told().machine_enrol(token, credential, self.hub().clock.now()).await?;
        tracing::info!(machine = %enrolled.machine, "enrolled");
        let Enrolled { machine, incarnation, goes_on, replaced, .. } = enrolled;
        self.hub().given_up(replaced);
        let epoch = self.hub().store.epoch();
        Ok(EnrolAnswer { machine, incarnation, epoch, goes_on })
    }

    /// Records the report, then answers when there is news for the machine, or after the hold.
    pub async fn agent_sync(&self, credential: &str, body: SyncRequest) -> Result<SyncAnswer, Refusal> {
        if !is_session(&body.session) {
            return Err(Invalid::new("session", "use at most 64 letters, digits and `-`").into());
        }
        let hub = self.hub();
        let generation = body.report.generation_of(hub.store.epoch());
        let (credential, fresh) = (secret::digest(credential), secret::challenge());
        // Strangers do not keep others from writing.
        if !hub.agents.knows(&credential) {
            hub.store.credential_check(credential.clone(), body.incarnation).await?;
            hub.agents.remember(credential.clone());
        }
        let received = self.told().machine_report(credential, body, fresh, hub.clock.now()).await?;
        hub.heard(&received);
        let hold = self.hold();
        let Received { machine, spec, challenge, kept, .. } = received;
        let spec = match spec {
            None if challenge.is_none() => self.await_news(machine, generation, hold).await?,
            known => known,
        };
        Ok(SyncAnswer { now: hub.clock.now(), spec, hold, challenge, kept })
    }

    /// What agents tell of their machines is their doing.
    fn told(&self) -> Store {
        self.hub().store.by(Actor { who: Who::Agent, source: None })
    }

    async fn await_news(
        &self,
        machine: MachineId,
        generation: u64,
        hold: u32,
    ) -> Result<Option<Spec>, Refusal> {
        let hub = self.hub();
        let until = hub.clock.now() + SignedDuration::from_secs(i64::from(hold));
        let bell = hub.agents.bell(machine);
        loop {
            // What was written since the report has rung already, and the bell keeps that.
            tokio::select! {
                () = bell.notified() => {}
                () = hub.clock.sleep_until(until) => return Ok(None),
            }
            if let Some(spec) = hub.store.spec_newer(machine, generation).await? {
                return Ok(Some(spec));
            }
        }
    }

    fn hold(&self) -> u32 {
        let fleet = (self.hub().agents.count() / SYNCS_PER_SECOND) as u32;
        let longest = (self.hub().store.ttl().as_secs() / 3) as u32;
        (HOLD + fleet).min(longest).max(1)
    }
}
