//! Lists without pages, which is how older clients know them.

use crate::app::{Desk, MachineFilter, Refusal, ReservationFilter};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use model::Labels;
use model::phase::{MachineState, Phase};
use model::wire::{AccountView, MachineView, Page, ReservationView};
use std::collections::BTreeMap;

/// The largest page.
const PAGE: u32 = 1000;

/// Those to lend: older clients know no others.
pub(super) async fn machines(desk: &Desk) -> Result<Vec<MachineView>, Refusal> {
    let filter = |cursor| MachineFilter { labels: Labels::default(), state: None, cursor, limit: PAGE };
    let mut all = every(|cursor| desk.machine_list(filter(cursor)).boxed()).await?;
    all.retain(|machine| machine.state != MachineState::Listed.name());
    Ok(all)
}

/// In the order they were made in.
pub(super) async fn accounts(desk: &Desk) -> Result<Vec<AccountView>, Refusal> {
    let mut all = every(|cursor| desk.account_list(cursor, PAGE).boxed()).await?;
    all.sort_by_key(|account| account.number);
    Ok(all)
}

/// Reservations that are not over. Those that become ready between the two lists are in both, and counted once.
pub(super) async fn live(desk: &Desk) -> Result<Vec<ReservationView>, Refusal> {
    let mut live = BTreeMap::new();
    for phase in [Phase::Pending, Phase::Ready] {
        let filter = |cursor| ReservationFilter { username: None, phase: Some(phase), cursor, limit: PAGE };
        let found = every(|cursor| desk.reservation_list(filter(cursor)).boxed()).await?;
        live.extend(found.into_iter().map(|reservation| (reservation.id, reservation)));
    }
    Ok(live.into_values().collect())
}

type Answer<'a, T> = BoxFuture<'a, Result<Page<T>, Refusal>>;

async fn every<'a, T>(page: impl Fn(Option<String>) -> Answer<'a, T>) -> Result<Vec<T>, Refusal> {
    let (mut all, mut cursor) = (Vec::new(), None);
    loop {
        let next = page(cursor).await?;
        all.extend(next.items);
        cursor = next.next;
        if cursor.is_none() {
            return Ok(all);
        }
    }
}
