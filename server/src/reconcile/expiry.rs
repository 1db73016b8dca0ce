//! The expiry loop: ends what is over. It sleeps until the next end in the database; a new or changed reservation and
//! the sweep wake it early. Machines take access away by themselves at the same time, whether or not we are alive.

use super::Hub;
use jiff::SignedDuration;
use std::sync::Arc;

const RETRY: SignedDuration = SignedDuration::from_secs(1);

pub(super) async fn run(hub: Arc<Hub>) {
    loop {
        let woken = hub.expiry.notified();
        match hub.store.next_expiry().await {
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
