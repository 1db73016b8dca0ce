//! `berth events`: what has happened.

use super::Usage;
use crate::moment::absolute;
use crate::session::{Session, all_pages};
use crate::table::Table;
use anyhow::Result;
use cli::{Error, EventFilter, EventStream, Slice};
use model::wire::EventView;
use model::{MachineName, ReservationId};
use std::time::Duration;

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
    /// What happens from now on, or after the event of `--cursor`, until this is interrupted.
    #[arg(long, conflicts_with = "limit")]
    follow: bool,
}

/// Before another try to reach the server.
const PAUSE: Duration = Duration::from_secs(2);

impl Events {
    pub(crate) async fn run(self, session: &Session) -> Result<()> {
        let slice = Slice { cursor: self.cursor, limit: self.limit };
        let Self { machine, reservation, kind, actor, follow: is_endless, .. } = self;
        let of = EventFilter { machine, reservation, kind, actor };
        if is_endless {
            let after = slice.cursor.map(|cursor| cursor.parse()).transpose();
            return follow(
                session,
                &of,
                after.map_err(|_| Usage("`--cursor` is the number of an event".into()))?,
            )
            .await;
        }
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

/// A server that stops is waited for: nothing is missed meanwhile.
async fn follow(session: &Session, of: &EventFilter, mut after: Option<i64>) -> Result<()> {
    let mut stream = session.client.event_stream(of, after).await?;
    loop {
        let why = match stream.next().await {
            Ok(Some(event)) => {
                session.show(&event, |event| listed(&[event]).lines())?;
                continue;
            }
            Ok(None) => "the server has ended the stream".to_owned(),
            Err(lost @ Error::Unreachable { .. }) => lost.to_string(),
            Err(error) => return Err(error.into()),
        };
        after = stream.seen().or(after);
        eprintln!("{why}; going on when it answers");
        stream = again(session, of, after).await?;
    }
}

async fn again(session: &Session, of: &EventFilter, after: Option<i64>) -> Result<EventStream> {
    loop {
        tokio::time::sleep(PAUSE).await;
        match session.client.event_stream(of, after).await {
            Err(Error::Unreachable { .. }) => {}
            answered => return Ok(answered?),
        }
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
