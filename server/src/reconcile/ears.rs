//! Whether a machine is silent, or it is us who do not hear.

use crate::store::{Failure, Store};
use jiff::SignedDuration;
use model::{Timestamp, breaker};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Silent machines are counted again only after so long: when many are, everybody asks.
const COUNT_HOLDS: SignedDuration = SignedDuration::from_secs(5);

pub struct Ears {
    state: Mutex<State>,
    /// When it was counted, and whether too many were silent.
    counted: tokio::sync::Mutex<Option<(Timestamp, bool)>>,
}

struct State {
    hearing_since: Timestamp,
    heard_at: Timestamp,
}

impl Ears {
    /// Of a server that starts now: it can have heard nobody before.
    pub(super) fn new(now: Timestamp) -> Self {
        Self { state: Mutex::new(State { hearing_since: now, heard_at: now }), counted: Default::default() }
    }

    /// Some machine was heard. After a time to live in which none was, we begin anew: the server stood still, or was cut
    /// off.
    pub(super) fn heard(&self, store: &Store, now: Timestamp) {
        let mut state = self.lock();
        if now.duration_since(state.heard_at).unsigned_abs() > store.ttl() {
            state.hearing_since = now;
        }
        state.heard_at = now;
    }

    pub(super) fn hearing_since(&self) -> Timestamp {
        self.lock().hearing_since
    }

    /// Whether so many machines fell silent of late that the network is more likely to be at fault.
    pub(super) async fn are_in_doubt(&self, store: &Store, now: Timestamp) -> Result<bool, Failure> {
        let mut counted = self.counted.lock().await;
        if let Some((at, too_many)) = *counted
            && now.duration_since(at) < COUNT_HOLDS
        {
            return Ok(too_many);
        }
        let silence = store.silence(now).await?;
        let too_many = silence.silent > breaker::most(silence.of);
        if too_many {
            let (silent, of) = (silence.silent, silence.of);
            tracing::warn!(silent, of, "too many machines fell silent to be believed: look at the network");
        }
        *counted = Some((now, too_many));
        Ok(too_many)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
