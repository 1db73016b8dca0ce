//! `berth events`: what has happened.

use crate::moment::absolute;
use crate::session::{Session, all_pages};
use crate::table::Table;
use anyhow::Result;
use cli::Slice;
use model::wire::EventView;

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
}

impl Events {
    pub(crate) async fn run(self, session: &Session) -> Result<()> {
        let slice = Slice { cursor: self.cursor, limit: self.limit };
        let pages = if slice.limit.is_some() {
            vec![session.client.event_list(&slice).await?]
        } else {
            all_pages(Slice { limit: Some(PAGE), ..slice }, async |slice| {
                session.client.event_list(&slice).await
            })
            .await?
        };
        Ok(session.show_pages(&pages, |items, _| listed(&items))?)
    }
}

fn listed(items: &[&EventView]) -> Table {
    let mut table =
        Table::new(&["nr", "when", "what", "machine", "reservation", "detail"], "nothing has happened");
    for event in items {
        table.row([
            event.seq.to_string(),
            absolute(event.at),
            event.kind.clone(),
            event.machine.as_ref().map(ToString::to_string).unwrap_or_default(),
            event.reservation.map(|id| id.to_string()).unwrap_or_default(),
            event.detail.clone(),
        ]);
    }
    table
}
