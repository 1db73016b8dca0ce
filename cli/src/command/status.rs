//! `berth status`: every machine, and how many are free.

use super::machine::listed;
use super::pool::states;
use crate::session::{Session, all_pages};
use anyhow::Result;
use cli::{MachineFilter, Slice};
use model::Labels;
use model::wire::Availability;

#[derive(clap::Args)]
pub(crate) struct Status {}

impl Status {
    pub(crate) async fn run(self, session: &Session) -> Result<()> {
        let filter = MachineFilter::default();
        let fetch = async |slice| session.client.machine_list(&filter, &slice).await;
        let pages = all_pages(Slice::default(), fetch).await?;
        let availability = session.client.availability(&Labels::default()).await?;
        session.show_pages(&pages, |items, now| listed(&items, now))?;
        Ok(session.show(&availability, words)?)
    }
}

/// `3 of 4 machines are free (3 free, 1 held)`
pub(crate) fn words(seen: &Availability) -> String {
    let states = states(&seen.states);
    let rest = if states.is_empty() { String::new() } else { format!(" ({states})") };
    crate::table::clean(&format!(
        "{} of {} free{rest}",
        seen.free,
        super::counted(seen.total as usize, "machine")
    ))
}
