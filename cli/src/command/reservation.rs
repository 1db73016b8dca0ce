//! `berth reservation`: who has what until when.

use crate::moment::{absolute, brief, with_distance};
use crate::session::{Session, all_pages};
use crate::table::{self, Table};
use anyhow::Result;
use cli::{ReservationFilter, Slice, phase_word};
use jiff::Timestamp;
use model::phase::Phase;
use model::wire::{ReservationView, SeatView};
use model::{ReservationId, UserName};

#[derive(clap::Subcommand)]
pub(crate) enum Command {
    /// List reservations.
    List(List),
    /// Show one, with its machines and how to log in.
    Get { id: ReservationId },
}

#[derive(clap::Args)]
pub(crate) struct List {
    /// Only this user's.
    #[arg(long, value_name = "NAME")]
    username: Option<UserName>,
    /// Only those that are `pending`, `ready`, `ending` or `ended`.
    #[arg(long, value_parser = phase)]
    phase: Option<Phase>,
}

impl Command {
    pub(crate) async fn run(self, session: &Session) -> Result<()> {
        match self {
            Self::List(list) => list.run(session).await,
            Self::Get { id } => {
                let answer = session.client.reservation_get(id).await?;
                Ok(session.show(&answer, |got| details(got, answer.served_at, session.terminal))?)
            }
        }
    }
}

impl List {
    async fn run(self, session: &Session) -> Result<()> {
        let filter = ReservationFilter { username: self.username, phase: self.phase };
        let fetch = async |slice| session.client.reservation_list(&filter, &slice).await;
        let pages = all_pages(Slice::default(), fetch).await?;
        Ok(session.show_pages(&pages, |items, now| listed(&items, now))?)
    }
}

fn listed(items: &[&ReservationView], now: Option<Timestamp>) -> Table {
    let mut table = Table::new(&["id", "user", "phase", "machines", "ends"], "no reservations");
    for got in items {
        let names: Vec<&str> = got.machines.iter().map(|seat| seat.name.as_str()).collect();
        let ends = match got.ended_at {
            Some(ended) => format!("ended {}", brief(ended, now)),
            None => brief(got.expires_at, now),
        };
        table.row([
            got.id.to_string(),
            got.username.to_string(),
            phase_word(got.phase).to_owned(),
            names.join(" "),
            ends,
        ]);
    }
    table
}

fn details(got: &ReservationView, now: Option<Timestamp>, terminal: bool) -> String {
    let mut table = Table::new(&["machine", "address", "uid", "phase", "note"], "no machines");
    for seat in &got.machines {
        table.row([
            seat.name.to_string(),
            address(&seat.host, seat.port),
            seat.uid.to_string(),
            phase_word(seat.phase).to_owned(),
            note(seat),
        ]);
    }
    let mut lines = vec![table::clean(&headline(got, now)), table.render(terminal)];
    lines.extend(ssh_lines(got).iter().map(|line| table::clean(line)));
    lines.join("\n")
}

fn note(seat: &SeatView) -> String {
    match &seat.error {
        Some(error) => error.clone(),
        None if !seat.in_sync => "a change is on its way".to_owned(),
        None => String::new(),
    }
}

/// `0198… ready: alice until 2026-01-31 18:00:00 UTC (in 58 min)`
pub(crate) fn headline(got: &ReservationView, now: Option<Timestamp>) -> String {
    let start = format!("{} {}: {}", got.id, phase_word(got.phase), got.username);
    let Some(ended_at) = got.ended_at else {
        return format!("{start} until {}", with_distance(got.expires_at, now));
    };
    let how = got.ended_by.as_deref().unwrap_or("ended");
    let why = got.reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
    format!("{start}, {how} {}{why}", absolute(ended_at))
}

/// One per machine whose account is there or on its way, to be pasted.
pub(crate) fn ssh_lines(got: &ReservationView) -> Vec<String> {
    // Pretend machines have no port.
    let open = |seat: &&SeatView| matches!(seat.phase, Phase::Pending | Phase::Ready) && seat.port != 0;
    let open = got.machines.iter().filter(open);
    open.map(|seat| format!("ssh -p {} {}@{}", seat.port, got.username, seat.host)).collect()
}

pub(crate) fn address(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

fn phase(text: &str) -> Result<Phase, String> {
    let all = [Phase::Pending, Phase::Ready, Phase::Ending, Phase::Ended];
    let found = all.into_iter().find(|phase| phase_word(*phase) == text);
    found.ok_or_else(|| "is one of `pending`, `ready`, `ending` and `ended`".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reservation() -> ReservationView {
        let body = r#"{
            "id": "0198c0de-0000-7000-8000-000000000000", "username": "alice", "phase": "ready", "count": 1,
            "created_at": "2026-01-31T12:00:00Z", "expires_at": "2026-01-31T13:30:00Z",
            "machines": [{"name": "debian-1", "host": "127.0.0.1", "port": 2221, "uid": 66000, "phase": "ready",
                          "in_sync": false}]
        }"#;
        serde_json::from_str(body).unwrap()
    }

    #[test]
    fn the_whole_story_of_one() {
        let now = "2026-01-31T12:00:00Z".parse().ok();
        let told = "\
0198c0de-0000-7000-8000-000000000000 ready: alice until 2026-01-31 13:30:00 UTC (in 1 h 30 min)
machine\taddress\tuid\tphase\tnote
debian-1\t127.0.0.1:2221\t66000\tready\ta change is on its way
ssh -p 2221 alice@127.0.0.1";
        assert_eq!(details(&reservation(), now, false), told);
    }

    #[test]
    fn nobody_is_told_to_log_in_where_the_account_goes() {
        let mut ended = reservation();
        ended.phase = Phase::Ending;
        ended.machines[0].phase = Phase::Ending;
        ended.ended_at = "2026-01-31T12:10:00Z".parse().ok();
        ended.ended_by = Some("released".to_owned());
        assert!(ssh_lines(&ended).is_empty());
        assert!(headline(&ended, None).ends_with("ending: alice, released 2026-01-31 12:10:00 UTC"));
    }
}
