//! `berth release`: give machines back.

use super::patience;
use super::reservation::headline;
use crate::session::{Session, all_pages};
use crate::table;
use anyhow::{Result, ensure};
use cli::{Answer, Error, ReservationFilter, Slice};
use futures_util::{StreamExt, stream};
use model::ReservationId;
use model::phase::Phase;
use model::wire::ReservationView;

/// Releases that wait for their machines at the same time.
const AT_ONCE: usize = 16;

#[derive(clap::Args)]
pub(crate) struct Release {
    #[arg(value_name = "ID", required_unless_present = "all", conflicts_with = "all")]
    ids: Vec<ReservationId>,
    /// Every reservation there is, whosever it is.
    #[arg(long)]
    all: bool,
    /// Answer at once, before the machines are clean.
    #[arg(long)]
    no_wait: bool,
}

impl Release {
    pub(crate) async fn run(self, session: &Session) -> Result<()> {
        let ids = if self.all { open_reservations(session).await? } else { self.ids };
        if ids.is_empty() {
            eprintln!("nothing to release");
        }
        let wait = patience(self.no_wait);
        let calls =
            ids.iter().map(|&id| async move { (id, session.client.reservation_release(id, wait).await) });
        let mut done = stream::iter(calls).buffer_unordered(AT_ONCE);
        let mut unfinished = 0;
        while let Some((id, released)) = done.next().await {
            unfinished += usize::from(!told(session, id, released, self.no_wait)?);
        }
        ensure!(
            unfinished == 0,
            "not done with {unfinished} of {}; look at `berth reservation list`",
            ids.len()
        );
        Ok(())
    }
}

/// One refusal keeps nobody from releasing the others. Says whether this one is done.
fn told(
    session: &Session,
    id: ReservationId,
    released: Result<Answer<ReservationView>, Error>,
    no_wait: bool,
) -> Result<bool> {
    match released {
        Ok(answer) => {
            session.show(&answer, |got| table::clean(&headline(got, answer.served_at)))?;
            Ok(no_wait || answer.phase == Phase::Ended)
        }
        Err(error) => {
            eprintln!("berth: {id}: {}", table::clean(&error.to_string()));
            Ok(false)
        }
    }
}

async fn open_reservations(session: &Session) -> Result<Vec<ReservationId>, Error> {
    let mut ids = Vec::new();
    for phase in [Phase::Pending, Phase::Ready] {
        let filter = ReservationFilter { username: None, phase: Some(phase) };
        let fetch = async |slice| session.client.reservation_list(&filter, &slice).await;
        let pages = all_pages(Slice::default(), fetch).await?;
        ids.extend(pages.iter().flat_map(|page| page.items.iter().map(|got| got.id)));
    }
    // One may have become ready between the two lists.
    ids.sort();
    ids.dedup();
    Ok(ids)
}
