//! The expiry loop: ends what is over. It sleeps until the next end in the database; an earlier one and the sweep wake
//! it. Machines take access away by themselves at the same time, whether or not we are alive.

use super::Hub;
use jiff::SignedDuration;
use model::Timestamp;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::Notify;

const RETRY: SignedDuration = SignedDuration::from_secs(1);

/// Wakes the expiry loop when there may be something to do.
#[derive(Default)]
pub struct Expiry {
    changed: Notify,
    /// Until when the loop sleeps; absent while it looks, and when there is nothing to wait for.
    asleep_until: Mutex<Option<Timestamp>>,
}

impl Expiry {
    /// Some reservation ends at `at`.
    pub fn may_be(&self, at: Timestamp) {
        let asleep_until = *self.asleep_until.lock().unwrap_or_else(PoisonError::into_inner);
        if asleep_until.is_none_or(|until| at < until) {
            self.look();
        }
    }

    pub fn look(&self) {
        self.changed.notify_one();
    }

    fn sleep_until(&self, at: Option<Timestamp>) {
        *self.asleep_until.lock().unwrap_or_else(PoisonError::into_inner) = at;
    }
}

pub(super) async fn run(hub: Arc<Hub>) {
    loop {
        let woken = hub.expiry.changed.notified();
        hub.expiry.sleep_until(None);
        let next = hub.store.next_expiry().await;
        hub.expiry.sleep_until(next.as_ref().ok().copied().flatten());
        match next {
            Ok(Some(at)) if at <= hub.clock.now() => expire(&hub).await,
            Ok(Some(at)) => tokio::select! {
                () = woken => {}
                () = hub.clock.sleep_until(at) => {}
            },
            Ok(None) => woken.await,
            Err(failure) => {
                tracing::warn!(%failure, "cannot read the next expiry");
                hub.clock.sleep_until(hub.clock.now() + RETRY).await;
            }
        }
    }
}

async fn expire(hub: &Hub) {
    match hub.store.reservations_expire(hub.clock.now()).await {
        Ok(ended) => {
            for reservation in ended {
                reservation.seats.iter().for_each(|seat| hub.queue.add(seat.machine));
                hub.watchers.changed(reservation.id);
            }
        }
        Err(failure) => {
            tracing::warn!(%failure, "cannot end what is over");
            hub.clock.sleep_until(hub.clock.now() + RETRY).await;
        }
    }
}
