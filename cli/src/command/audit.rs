//! `berth audit`: whether the record is whole, and what it tells.

use crate::moment::absolute;
use crate::session::Session;
use crate::table::Table;
use anyhow::{Context, Result};
use cli::{EventFilter, Slice};
use jiff::Timestamp;
use model::MachineName;
use model::audit::Chain;
use model::wire::CouldLogIn;
use serde_json::json;

/// The most the server puts on one page.
const PAGE: u32 = 1000;

#[derive(clap::Subcommand)]
pub(crate) enum Command {
    /// Recompute the hashes of all events. Note the last one elsewhere: then it also shows whether the end was cut off.
    Verify,
    /// Whose accounts were on a machine, or may have been.
    WhoCouldLogin {
        machine: MachineName,
        /// At this time, such as `2026-01-31T18:00:00Z`; now when left out.
        #[arg(long, value_name = "TIME")]
        at: Option<Timestamp>,
    },
}

impl Command {
    pub(crate) async fn run(self, session: &Session) -> Result<()> {
        match self {
            Self::Verify => verify(session).await,
            Self::WhoCouldLogin { machine, at } => {
                let page = session.client.could_log_in(&machine, at).await?;
                Ok(session.show_pages(&[page], |items, _| listed(&items))?)
            }
        }
    }
}

async fn verify(session: &Session) -> Result<()> {
    let (mut chain, mut count) = (Chain::default(), 0);
    let mut slice = Slice { limit: Some(PAGE), cursor: None };
    loop {
        let page = session.client.event_list(&EventFilter::default(), &slice).await?;
        for event in &page.items {
            chain.add(event).context("the record was changed after it was written")?;
            count += 1;
        }
        slice.cursor.clone_from(&page.next);
        if slice.cursor.is_none() {
            break;
        }
    }
    let (last, hash) = chain.head().unwrap_or_default();
    if session.json {
        return Ok(session.print(&json!({ "events": count, "last": last, "hash": hash }).to_string())?);
    }
    Ok(session
        .print(&format!("{count} events, all as they were written; the last is {last}, with hash\n{hash}"))?)
}

fn listed(items: &[&CouldLogIn]) -> Table {
    let header = &["username", "uid", "account", "reservation", "since", "until"];
    let mut table = Table::new(header, "nobody");
    for one in items {
        table.row([
            one.username.to_string(),
            one.uid.to_string(),
            one.account.as_ref().map(ToString::to_string).unwrap_or_default(),
            one.reservation.to_string(),
            absolute(one.since),
            one.until.map(absolute).unwrap_or_default(),
        ]);
    }
    table
}
