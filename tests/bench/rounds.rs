//! Ways to have an account made on machines and removed, and the time that each takes: they take turns, and every step
//! is checked.

use crate::hosts::{Host, each};
use crate::{PASSWORD, USER};
use futures_util::future::BoxFuture;
use std::fmt::Write;
use std::time::{Duration, Instant};
use tests::real::{By, inside};

/// One way to have an account made on machines, and removed.
pub(crate) trait Way {
    fn name(&self) -> &'static str;
    /// What has to be so before the account is made on so many machines. Takes none of the time.
    fn prepare(&mut self, _count: usize) -> BoxFuture<'_, ()> {
        Box::pin(async {})
    }
    /// Returns the machines on which the account is now.
    fn create(&mut self, count: usize) -> BoxFuture<'_, Vec<Host>>;
    /// That it came there by this way.
    fn assert_so(&self, _hosts: &[Host]) {}
    fn delete(&mut self) -> BoxFuture<'_, ()>;
}

#[derive(Clone, Copy)]
pub(crate) struct Times {
    pub(crate) create: Duration,
    /// From the same beginning until `ssh` has logged in to the first machine.
    pub(crate) login: Duration,
    pub(crate) delete: Duration,
}

/// Of one way: for each number of machines.
pub(crate) struct Row {
    pub(crate) name: &'static str,
    pub(crate) times: Vec<Times>,
}

/// So many machines, and how often it is done.
#[derive(Clone, Copy)]
pub(crate) struct Size {
    pub(crate) machines: usize,
    pub(crate) rounds: usize,
}

/// Of each way, in their order.
pub(crate) async fn rows(ways: &mut [Box<dyn Way + '_>], sizes: &[Size]) -> Vec<Row> {
    let mut rows: Vec<_> = ways.iter().map(|way| Row { name: way.name(), times: Vec::new() }).collect();
    for size in sizes {
        for (row, times) in rows.iter_mut().zip(medians(ways, *size).await) {
            row.times.push(times);
        }
    }
    rows
}

/// The ways take turns, so that whatever else the machine does slows all of them.
async fn medians(ways: &mut [Box<dyn Way + '_>], size: Size) -> Vec<Times> {
    let Size { machines, rounds: all } = size;
    let mut rounds = vec![Vec::new(); ways.len()];
    for number in 0..=all {
        for (way, rounds) in ways.iter_mut().zip(&mut rounds) {
            let times = round(way.as_mut(), machines).await;
            let shown = [times.create, times.login, times.delete].map(milliseconds);
            eprintln!("round {number} of {all}, machines: {machines}, {}: {shown:.0?}", way.name());
            // The first is there to warm up.
            if number > 0 {
                rounds.push(times);
            }
        }
    }
    rounds.iter().map(|rounds| median(rounds)).collect()
}

fn median(rounds: &[Times]) -> Times {
    let median = |of: Measure| {
        let mut times: Vec<_> = rounds.iter().map(of).collect();
        times.sort();
        times[times.len() / 2]
    };
    Times { create: median(|t| t.create), login: median(|t| t.login), delete: median(|t| t.delete) }
}

async fn round(way: &mut dyn Way, count: usize) -> Times {
    way.prepare(count).await;
    let began = Instant::now();
    let hosts = way.create(count).await;
    let create = began.elapsed();
    let seen = hosts[0].ssh(USER, &By::Password(PASSWORD), "id -un");
    let login = began.elapsed();
    assert_eq!(String::from_utf8_lossy(&seen.stdout).trim(), USER, "{seen:?}");
    assert_eq!(hosts.len(), count);
    each(&hosts, assert_made);
    way.assert_so(&hosts);
    let began = Instant::now();
    way.delete().await;
    let delete = began.elapsed();
    each(&hosts, assert_gone);
    Times { create, login, delete }
}

/// Waits until the log-in's last process has ended too, because `userdel` refuses while there is one.
fn assert_made(host: &Host) {
    let seen = inside(
        &host.name,
        &format!(
            r#"getent shadow {USER} | grep -q '^{USER}:\$6\$' && test "$(stat -c %U /home/{USER})" = {USER} &&
            timeout 10 sh -c 'while pgrep -u {USER} >/dev/null; do sleep 0.02; done' && echo made"#
        ),
    );
    assert_eq!(seen.trim(), "made", "on {}", host.name);
}

fn assert_gone(host: &Host) {
    let seen = inside(&host.name, &format!("getent passwd {USER} || test -e /home/{USER} || echo gone"));
    assert_eq!(seen.trim(), "gone", "on {}", host.name);
}

pub(crate) fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

pub(crate) type Measure = fn(&Times) -> Duration;

pub(crate) const MADE: (&str, Measure) = ("Account made", |times| times.create);
pub(crate) const LOGGED_IN: (&str, Measure) =
    ("Account made, and logged in to on the first machine with `ssh`", |times| times.login);
pub(crate) const REMOVED: (&str, Measure) = ("Account removed", |times| times.delete);

/// Beside the times it says how many times as long as the first row's they are.
pub(crate) fn table(text: &mut String, (title, of): (&str, Measure), sizes: &[Size], rows: &[Row]) {
    let first = &rows[0];
    write!(text, "\n### {title}\n\n|").unwrap();
    for Size { machines, .. } in sizes {
        let plural = if *machines == 1 { "" } else { "s" };
        write!(text, " | {machines} machine{plural}, ms | times as long as {}", first.name).unwrap();
    }
    writeln!(text, " |\n|---{}|", "|--:|--:".repeat(sizes.len())).unwrap();
    for Row { name, times } in rows {
        write!(text, "| {name}").unwrap();
        for (times, first) in times.iter().zip(&first.times) {
            let (took, slower) = (milliseconds(of(times)), milliseconds(of(times)) / milliseconds(of(first)));
            write!(text, " | {took:.0} | {slower:.1}").unwrap();
        }
        writeln!(text, " |").unwrap();
    }
}
