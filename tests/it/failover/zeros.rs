//! Nothing lost is nine zeros, computed from the journal, the database and the machines once all is quiet.

use super::journal::{Answer, Journal, What};
use super::load::PASSWORD;
use super::pair::Pair;
use super::sight::{Machine, Seen};
use model::audit::Chain;
use model::wire::{EventView, Page};
use model::{ReservationId, Timestamp};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;
use std::time::Duration;
use tests::ours;

/// Nobody gets in so long after the end.
const T_LOCK: Duration = Duration::from_secs(5);
/// Clocks may differ by so much.
const EPSILON: Duration = Duration::from_secs(2);

/// What was found of each kind.
#[derive(Debug, Default)]
pub(super) struct Zeros {
    /// Acknowledged, and absent or different.
    lost: Vec<String>,
    /// Two rows for one key.
    dup: Vec<String>,
    /// A row that nobody asked for.
    ghost: Vec<String>,
    /// Two had a machine at once.
    double: Vec<String>,
    /// Something is left on a machine.
    leaked: Vec<String>,
    /// Access ended before its end, unasked.
    early: Vec<String>,
    late: Vec<String>,
    auditgap: Vec<String>,
    secrets: Vec<String>,
}

struct Row {
    id: String,
    username: String,
    expires_at: Timestamp,
    ended_at: Option<Timestamp>,
    ended_by: String,
}

struct Seat {
    reservation: String,
    machine: String,
    uid: u32,
    ready_at: Option<Timestamp>,
    given_up_at: Option<Timestamp>,
    cleaned_at: Option<Timestamp>,
}

impl Zeros {
    pub(super) async fn of(pair: &Pair, journal: &Journal, (machines, seen): (Vec<Machine>, Seen)) -> Self {
        let mut zeros = Self::default();
        let (rows, seats) = (rows(pair), seats(pair));
        zeros.compare(journal, &rows);
        zeros.double(&seats, &seen);
        zeros.leaked = machines
            .iter()
            .flat_map(|machine| {
                ours(&machine.host).into_iter().map(|left| format!("{}: {left}", machine.name))
            })
            .collect();
        zeros.times(journal, &rows, &seats, &seen);
        zeros.record(pair, &rows).await;
        zeros.secrets(pair).await;
        zeros
    }

    pub(super) fn are_zero(&self) -> bool {
        self.all().iter().all(|(_, found)| found.is_empty())
    }

    fn all(&self) -> [(&'static str, &Vec<String>); 9] {
        [
            ("lost", &self.lost),
            ("dup", &self.dup),
            ("ghost", &self.ghost),
            ("double", &self.double),
            ("leaked", &self.leaked),
            ("early", &self.early),
            ("late", &self.late),
            ("auditgap", &self.auditgap),
            ("secrets", &self.secrets),
        ]
    }

    /// The journal against the database, both ways.
    fn compare(&mut self, journal: &Journal, rows: &[Row]) {
        let by_id: BTreeMap<&str, &Row> = rows.iter().map(|row| (row.id.as_str(), row)).collect();
        for (entry, answer) in journal.answers() {
            let Answer::Done(view) = answer else { continue };
            let about = format!("{:?} of {} at {}", entry.what, entry.username, entry.at);
            match by_id.get(view.id.to_string().as_str()) {
                None => self.lost.push(format!("{about} is not there")),
                Some(row) if row.username != entry.username => self.lost.push(format!("{about}: another's")),
                Some(row) if entry.what == What::Release && row.ended_at.is_none() => {
                    self.lost.push(format!("{about} goes on"));
                }
                // What was acknowledged last stands; nobody extends twice.
                Some(row) if entry.what == What::Extend && row.expires_at != view.expires_at => {
                    self.lost.push(format!("{about} ends at {}, not {}", row.expires_at, view.expires_at));
                }
                Some(_) => {}
            }
        }
        let asked: BTreeSet<&str> = journal.entries.iter().map(|entry| entry.username.as_str()).collect();
        let mut seen = BTreeSet::new();
        for row in rows {
            if !asked.contains(row.username.as_str()) {
                self.ghost.push(format!("{} of {}", row.id, row.username));
            }
            if !seen.insert(&row.username) {
                self.dup.push(format!("{} of {}", row.id, row.username));
            }
        }
    }

    /// By the database's word somebody has a machine from being ready until it is clean: what is written down of the
    /// beginning is when it was asked for. And by what was seen.
    fn double(&mut self, seats: &[Seat], seen: &Seen) {
        let mut had: BTreeMap<&str, Vec<(Timestamp, Timestamp, &str)>> = BTreeMap::new();
        for seat in seats {
            let Some(ready_at) = seat.ready_at else { continue };
            let until = seat.cleaned_at.unwrap_or(Timestamp::MAX);
            had.entry(&seat.machine).or_default().push((ready_at, until, &seat.reservation));
        }
        for ((machine, _), stay) in &seen.stays {
            had.entry(machine).or_default().push((stay.first, stay.last, ""));
        }
        for (machine, mut had) in had {
            // What was seen is compared with what was seen.
            had.sort_by_key(|(from, _, of)| (of.is_empty(), *from));
            for pair in had.windows(2).filter(|pair| pair[0].2.is_empty() == pair[1].2.is_empty()) {
                if pair[1].0 < pair[0].1 {
                    self.double.push(format!("{machine}: {:?} and {:?}", pair[0], pair[1]));
                }
            }
        }
    }

    /// When accounts were there, against when they had to be.
    fn times(&mut self, journal: &Journal, rows: &[Row], seats: &[Seat], seen: &Seen) {
        let released: BTreeSet<&str> = journal
            .entries
            .iter()
            .filter(|entry| entry.what == What::Release)
            .map(|entry| entry.username.as_str())
            .collect();
        for row in rows.iter().filter(|row| row.ended_by == "released") {
            // At the end the story releases all that is left.
            if !released.contains(row.username.as_str())
                && row.ended_at < journal.entries.last().map(|last| last.at)
            {
                self.early.push(format!("{} was released, and nobody asked for that", row.username));
            }
        }
        let by_id: BTreeMap<&str, &Row> = rows.iter().map(|row| (row.id.as_str(), row)).collect();
        for seat in seats {
            let row = by_id[seat.reservation.as_str()];
            let end =
                [row.ended_at, seat.given_up_at].into_iter().flatten().fold(row.expires_at, Timestamp::min);
            let about = format!("{} on {}", row.username, seat.machine);
            let stay = seen.stays.get(&(seat.machine.clone(), seat.uid));
            if let Some(stay) = stay.filter(|stay| stay.last > end + T_LOCK + seen.blur) {
                self.late.push(format!("{about}: until {}, its end was {end}", stay.last));
            }
            let Some(ready_at) = seat.ready_at else { continue };
            let is_short = end.duration_since(ready_at).unsigned_abs() <= EPSILON + seen.blur;
            match stay {
                None if is_short => {}
                None => self.early.push(format!("{about}: was never there")),
                Some(stay) if stay.first > ready_at + EPSILON + seen.blur => {
                    self.early.push(format!("{about}: came at {}, called ready at {ready_at}", stay.first));
                }
                Some(stay) if stay.last + EPSILON + seen.blur < end => {
                    self.early.push(format!("{about}: gone at {}, its end was {end}", stay.last));
                }
                Some(_) => {}
            }
        }
    }

    /// One chain, and in it every reservation's beginning and end.
    async fn record(&mut self, pair: &Pair, rows: &[Row]) {
        let (mut chain, mut after) = (Chain::default(), 0);
        let mut told: BTreeMap<(String, ReservationId), u32> = BTreeMap::new();
        loop {
            let page = pair.get(0, &format!("/v1/events?limit=1000&after={after}")).await;
            let page: Page<EventView> = serde_json::from_value(page).unwrap();
            for event in &page.items {
                if let Err(broken) = chain.add(event) {
                    self.auditgap.push(broken.to_string());
                }
                after = event.seq;
                if let Some(reservation) = event.reservation {
                    *told.entry((event.kind.clone(), reservation)).or_default() += 1;
                }
            }
            if page.items.is_empty() {
                break;
            }
        }
        for row in rows {
            let id: ReservationId = row.id.parse().unwrap();
            for kind in ["created".to_owned(), row.ended_by.clone()] {
                if told.get(&(format!("reservation.{kind}"), id)) != Some(&1) {
                    self.auditgap.push(format!("reservation.{kind} of {}", row.username));
                }
            }
        }
    }

    async fn secrets(&mut self, pair: &Pair) {
        let answers = std::fs::read_to_string(pair.folder.path().join("journal")).unwrap();
        let metrics = pair.text(0, "/metrics").await;
        assert!(metrics.contains("# TYPE"), "{metrics}");
        let canaries = || pair.canaries.iter().map(String::as_str).chain([PASSWORD]);
        for text in [answers, metrics, pair.log(0), pair.log(1), pair.command_lines()] {
            self.secrets.extend(canaries().filter(|canary| text.contains(canary)).map(str::to_owned));
        }
        self.secrets.extend(found_below(&pair.cluster.folder.join("data"), &canaries().collect::<Vec<_>>()));
    }
}

/// Files of the database, its log of writes included, that hold one of these.
fn found_below(folder: &Path, canaries: &[&str]) -> Vec<String> {
    let mut grep = std::process::Command::new("grep");
    grep.args(["-rlaF"]);
    canaries.iter().for_each(|canary| {
        grep.args(["-e", canary]);
    });
    let output = grep.arg(folder).output().unwrap();
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

fn rows(pair: &Pair) -> Vec<Row> {
    let sql = "SELECT id, username, expires_at, ended_at, ended_by FROM reservation ORDER BY id";
    let rows = pair.cluster.rows(&pair.database, sql);
    let row = |line: &String| {
        let [id, username, expires_at, ended_at, ended_by] = fields(line);
        let expires_at = time(expires_at).unwrap();
        let (id, username, ended_by) = (id.to_owned(), username.to_owned(), ended_by.to_owned());
        Row { id, username, expires_at, ended_at: time(ended_at), ended_by }
    };
    rows.iter().map(row).collect()
}

fn seats(pair: &Pair) -> Vec<Seat> {
    let sql = "SELECT reservation_id, m.name, uid, ready_at, given_up_at, cleaned_at \
               FROM assignment a JOIN machine m ON m.id = machine_id ORDER BY a.created_at, a.id";
    let rows = pair.cluster.rows(&pair.database, sql);
    let seat = |line: &String| {
        let [reservation, machine, uid, ready_at, given_up_at, cleaned_at] = fields(line);
        Seat {
            reservation: reservation.to_owned(),
            machine: machine.to_owned(),
            uid: uid.parse().unwrap(),
            ready_at: time(ready_at),
            given_up_at: time(given_up_at),
            cleaned_at: time(cleaned_at),
        }
    };
    rows.iter().map(seat).collect()
}

fn fields<const N: usize>(line: &str) -> [&str; N] {
    line.split('|').collect::<Vec<_>>().try_into().unwrap_or_else(|_| panic!("{line}"))
}

fn time(micros: &str) -> Option<Timestamp> {
    micros.parse().ok().map(|micros| Timestamp::from_microsecond(micros).unwrap())
}

impl fmt::Display for Zeros {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the nine zeros:")?;
        self.all().iter().try_for_each(|(name, found)| write!(f, " {name} {}", found.len()))
    }
}

mod forged {
    use super::*;
    use crate::failover::journal::Entry;
    use crate::failover::sight::Stay;
    use serde_json::json;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    const ID: &str = "01900000-0000-7000-8000-000000000001";

    /// Of u, who asked for a machine and released it.
    fn journal() -> Journal {
        let view = json!({
            "id": ID, "username": "u", "phase": "ready", "count": 1, "created_at": at(0), "expires_at": at(90),
            "machines": [],
        });
        let done = || Some(Answer::Done(Box::new(serde_json::from_value(view.clone()).unwrap())));
        let entry = |second, what| Entry { at: at(second), username: "u".to_owned(), what, answer: done() };
        Journal { entries: vec![entry(1, What::Create), entry(50, What::Release)] }
    }

    fn row(username: &str, ended_at: Option<i64>) -> Row {
        Row {
            id: ID.to_owned(),
            username: username.to_owned(),
            expires_at: at(90),
            ended_at: ended_at.map(at),
            ended_by: "released".to_owned(),
        }
    }

    fn seat(uid: u32, ready_at: i64, cleaned_at: i64) -> Seat {
        Seat {
            reservation: ID.to_owned(),
            machine: "m".to_owned(),
            uid,
            ready_at: Some(at(ready_at)),
            given_up_at: None,
            cleaned_at: Some(at(cleaned_at)),
        }
    }

    fn seen(first: i64, last: i64) -> Seen {
        let stay = Stay { first: at(first), last: at(last) };
        Seen { stays: [(("m".to_owned(), 66_000), stay)].into(), blur: Duration::ZERO }
    }

    /// The kinds of which something was found.
    fn found(rows: &[Row], seats: &[Seat], seen: &Seen) -> Vec<&'static str> {
        let mut zeros = Zeros::default();
        zeros.compare(&journal(), rows);
        zeros.double(seats, seen);
        zeros.times(&journal(), rows, seats, seen);
        zeros.all().into_iter().filter(|(_, found)| !found.is_empty()).map(|(name, _)| name).collect()
    }

    #[test]
    fn the_zeros_see_what_is_wrong() {
        let (good, had, saw) = (|| row("u", Some(50)), || seat(66_000, 2, 51), || seen(2, 50));
        let none: [&str; 0] = [];
        assert_eq!(found(&[good()], &[had()], &saw()), none);
        assert_eq!(found(&[], &[], &saw()), ["lost"]);
        assert_eq!(found(&[row("u", None)], &[], &saw()), ["lost"]);
        assert_eq!(found(&[good(), good()], &[had()], &saw()), ["dup"]);
        assert_eq!(found(&[row("v", Some(49))], &[had()], &saw()), ["lost", "ghost", "early"]);
        assert_eq!(found(&[good()], &[had(), seat(66_001, 50, 51)], &saw()), ["double"]);
        assert_eq!(found(&[good()], &[seat(66_001, 2, 51)], &saw()), ["early"], "it was never there");
        assert_eq!(found(&[good()], &[had()], &seen(2, 40)), ["early"]);
        assert_eq!(found(&[good()], &[had()], &seen(10, 50)), ["early"], "it was called ready");
        assert_eq!(found(&[good()], &[had()], &seen(2, 56)), ["late"]);
    }
}
