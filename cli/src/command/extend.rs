//! `berth extend`: another end.

use super::patience;
use super::reservation::headline;
use crate::lease::Lease;
use crate::session::Session;
use crate::table;
use anyhow::{Result, ensure};
use model::ReservationId;
use model::wire::ReservationPatch;

#[derive(clap::Args)]
#[command(group = clap::ArgGroup::new("end").args(["lasts", "until"]).required(true))]
pub(crate) struct Extend {
    id: ReservationId,
    #[command(flatten)]
    lease: Lease,
    /// Answer at once, before the machines know.
    #[arg(long)]
    no_wait: bool,
}

impl Extend {
    pub(crate) async fn run(self, session: &Session) -> Result<()> {
        let patch = ReservationPatch { duration: self.lease.duration(), until: self.lease.until() };
        let answer = session.client.reservation_extend(self.id, &patch, patience(self.no_wait)).await?;
        session.show(&answer, |got| table::clean(&headline(got, answer.served_at)))?;
        // A machine out of reach ends access at the old time, so the caller has to know.
        let behind: Vec<&str> =
            answer.machines.iter().filter(|seat| !seat.in_sync).map(|seat| seat.name.as_str()).collect();
        ensure!(self.no_wait || behind.is_empty(), "not yet confirmed by {}", behind.join(", "));
        Ok(())
    }
}
