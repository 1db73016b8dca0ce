//! About the server itself: health, version, events, metrics.

use super::{App, Desk, Refusal};
use crate::store::{EventFilter, Rows};
use jiff::SignedDuration;
use model::Labels;
use model::machine::Machine;
use model::wire::{Availability, EventView, Health, Page, Version};
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// Whoever takes longer than this to converge is shown as stuck.
const STUCK_AFTER: SignedDuration = SignedDuration::from_mins(10);

impl App {
    pub fn version(&self) -> Version {
        let (epoch, owner) = (self.hub().store.epoch(), self.hub().store.owner());
        Version { version: env!("CARGO_PKG_VERSION").to_owned(), epoch, owner }
    }

    pub async fn health(&self) -> Result<Health, Refusal> {
        let now = self.hub().clock.now();
        let stuck =
            self.every_machine().await?.iter().filter(|machine| is_stuck(machine, now)).count() as u32;
        Ok(Health { status: "ok".to_owned(), now, stuck })
    }

    /// Counts a request.
    pub fn request_seen(&self, route: &str, status: u16) {
        self.hub().metrics.request_seen(route, status);
    }

    /// In the OpenMetrics text format.
    async fn metrics(&self) -> Result<String, Refusal> {
        let machines: Family<Vec<(String, String)>, Gauge> = Family::default();
        for (state, count) in self.availability(Labels::default()).await?.states {
            machines.get_or_create(&vec![("state".to_owned(), state)]).set(i64::from(count));
        }
        let stuck: Gauge = Gauge::default();
        stuck.set(i64::from(self.health().await?.stuck));
        let mut registry = Registry::with_prefix("berth");
        self.hub().metrics.register(&mut registry);
        registry.register("machines", "Machines by state", machines);
        registry.register("machines_stuck", "Machines not converged for ten minutes", stuck);
        let mut text = String::new();
        encode(&mut text, &registry).map_err(|error| Refusal::Internal(error.to_string()))?;
        Ok(text)
    }
}

impl Desk {
    pub async fn events(
        &self,
        after: Option<i64>,
        filter: EventFilter,
        limit: u32,
    ) -> Result<Page<EventView>, Refusal> {
        let Rows { items, is_last } = self.store.event_list(after.unwrap_or(0), filter, limit).await?;
        let next = items.last().filter(|_| !is_last).map(|event| event.seq.to_string());
        Ok(Page { items, next })
    }

    pub async fn availability(&self, labels: Labels) -> Result<Availability, Refusal> {
        self.app.availability(labels).await
    }

    pub fn version(&self) -> Version {
        self.app.version()
    }

    pub async fn health(&self) -> Result<Health, Refusal> {
        self.app.health().await
    }

    pub async fn metrics(&self) -> Result<String, Refusal> {
        self.app.metrics().await
    }
}

/// An account that should be there, or be gone, for long and is not.
fn is_stuck(machine: &Machine, now: model::Timestamp) -> bool {
    let Some(holding) = &machine.holding else { return false };
    let since = match holding.ended_at {
        Some(ended_at) => ended_at,
        None if holding.expires_at <= now => holding.expires_at,
        None if holding.ready => return false,
        None => holding.since,
    };
    now.duration_since(since) > STUCK_AFTER
}
