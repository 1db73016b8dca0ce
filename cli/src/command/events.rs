//! `berth events`: what has happened.

use crate::moment::absolute;
use crate::session::{Session, all_pages};
use crate::table::Table;
use anyhow::Result;
use cli::{EventFilter, Slice};
use model::wire::EventView;
use model::{MachineName, ReservationId};

/// The most the server puts on one page.
const PAGE: u32 = 1000;

#[derive(clap::Args)]
pub(crate) struct Events {
    /// Only what comes after this: a page's `next`.
    #[arg(long)]
    cursor: Option<String>,
    /// One page of so many, instead of all.
    #[arg(long, value_name = "N")]
    limit: Option<u32>,
    /// Only what happened on this machine.
    #[arg(long, value_name = "NAME")]
    machine: Option<MachineName>,
    /// Only what became of this reservation.
    #[arg(long, value_name = "ID")]
    reservation: Option<ReservationId>,
    /// Only events of this kind, or kinds: `machine.cordoned`, `machine`.
    #[arg(long)]
    kind: Option<String>,
    /// Only the doing of `account:NAME`, `agent`, `server` or `open`.
    #[arg(long, value_name = "WHO")]
    actor: Option<String>,
}

impl Events {
    pub(crate) async fn run(self, session: &Session) -> Result<()> {
        let slice = Slice { cursor: self.cursor, limit: self.limit };
        let Self { machine, reservation, kind, actor, .. } = self;
        let of = EventFilter { machine, reservation, kind, actor };
        let pages = if slice.limit.is_some() {
            vec![session.client.event_list(&of, &slice).await?]
        } else {
            all_pages(Slice { limit: Some(PAGE), ..slice }, async |slice| {
                session.client.event_list(&of, &slice).await
            })
            .await?
        };
        Ok(session.show_pages(&pages, |items, _| listed(&items))?)
    }
}

fn listed(items: &[&EventView]) -> Table {
    let mut table = Table::new(
        &["nr", "when", "who", "what", "machine", "reservation", "detail"],
        "nothing has happened",
    );
    for event in items {
        table.row([
            event.seq.to_string(),
            absolute(event.at),
            event.actor.clone(),
            event.kind.clone(),
            event.machine.as_ref().map(ToString::to_string).unwrap_or_default(),
            event.reservation.map(|id| id.to_string()).unwrap_or_default(),
            event.detail.clone(),
        ]);
    }
    table
}
