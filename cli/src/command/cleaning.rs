//! `berth machine cleanings`: what was taken away.

use crate::moment::absolute;
use crate::session::{Session, all_pages};
use crate::table::Table;
use anyhow::Result;
use cli::Slice;
use model::MachineName;
use model::wire::CleaningView;

pub(super) async fn list(session: &Session, name: &MachineName) -> Result<()> {
    let fetch = async |slice| session.client.cleaning_list(name, &slice).await;
    let pages = all_pages(Slice::default(), fetch).await?;
    Ok(session.show_pages(&pages, |items, _| listed(&items))?)
}

fn listed(items: &[&CleaningView]) -> Table {
    let header = &["began", "username", "uid", "tries", "took", "removed", "still there"];
    let mut table = Table::new(header, "nothing was taken away from it yet");
    for got in items {
        table.row([
            absolute(got.began_at),
            got.username.to_string(),
            got.uid.to_string(),
            got.attempts.to_string(),
            format!("{:.0} ms", got.took_ms.ceil()),
            removed(got),
            left(got),
        ]);
    }
    table
}

/// `3 process, 1 cron`
fn removed(got: &CleaningView) -> String {
    let counts = got.removed.iter().filter(|(_, count)| **count > 0);
    counts.map(|(kind, count)| format!("{count} {}", kind.name())).collect::<Vec<_>>().join(", ")
}

fn left(got: &CleaningView) -> String {
    let refused = got.refused.iter().map(|refused| format!("{}: {}", refused.what, refused.why));
    let left: Vec<String> = refused.chain(got.unswept.iter().cloned()).collect();
    match (left.is_empty(), got.ended_at) {
        (false, _) => left.join("; "),
        (true, Some(_)) => "nothing".to_owned(),
        (true, None) => "perhaps: it has not ended".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cleaning_is_a_line() {
        let mut got: CleaningView = serde_json::from_str(
            r#"{"machine":"m1","assignment":"0198c0de-0000-7000-8000-000000000000",
                "reservation":"0198c0de-0000-7000-8000-000000000000","username":"alice","uid":66000,
                "began_at":"2026-01-31T12:00:00Z","attempts":1,"took_ms":40.2,"steps_ms":{"kill":40.2},
                "removed":{"process":3,"cron":1,"mail":0},"examples":[],"refused":[],"unswept":[]}"#,
        )
        .unwrap();
        assert_eq!(left(&got), "perhaps: it has not ended");
        got.ended_at = Some(got.began_at);
        let line = listed(&[&got]).render(false).lines().last().unwrap().to_owned();
        assert_eq!(line, "2026-01-31 12:00:00 UTC\talice\t66000\t1\t41 ms\t3 process, 1 cron\tnothing");
        got.unswept = vec!["/srv: too many files".to_owned()];
        assert_eq!(left(&got), "/srv: too many files");
    }
}
