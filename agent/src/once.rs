//! One visit: what the server wants and what time it is, in; a report, out.

use crate::clock::Clock;
use crate::launch::Launch;
use crate::ledger::Ledger;
use crate::sync::Agent;
use model::report::Report;
use model::wire::Visit;
use playbooks::Host;
use std::{io, sync::Arc, time::Duration};

/// What was read, and when: there may be a while before it is obeyed.
#[derive(Debug)]
pub struct Heard {
    visit: Visit,
    boottime: Duration,
}

impl Heard {
    /// Without any input there is nothing to hear, and the machine goes by the newest it knows.
    pub fn read(input: &[u8], clock: &dyn Clock) -> io::Result<Option<Self>> {
        let boottime = clock.boottime();
        if input.trim_ascii().is_empty() {
            return Ok(None);
        }
        let visit = serde_json::from_slice(input).map_err(|error| {
            let why =
                format!("this is no visit: {error}; send {{\"now\": …, \"spec\": …}}, or nothing at all");
            io::Error::new(io::ErrorKind::InvalidData, why)
        })?;
        Ok(Some(Self { visit, boottime }))
    }
}

/// The caller has the turn ([`crate::turn::take`]).
pub fn once<H: Host>(
    host: H,
    heard: Option<Heard>,
    clock: Arc<dyn Clock>,
    launch: &Launch,
) -> io::Result<Report> {
    let mut agent = Agent::new(host, clock);
    agent.load()?;
    let spec = heard.map(|Heard { visit, boottime }| {
        agent.told(visit.now, boottime, &visit.kept);
        visit.spec
    });
    let gives = spec.as_ref().is_some_and(|spec| !spec.accounts.is_empty());
    // Before anything is made: should this visit be cut off, the watcher finds what there is.
    let watcher = (gives || !agent.ledger.accounts.is_empty()).then(|| launch.begin());
    let began = agent.moment();
    let mut report = agent.act(spec, began);
    remember(&mut agent);
    report.facts.ends_by = watcher.and_then(|watcher| {
        if agent.ledger.accounts.is_empty() {
            watcher.release();
            return None;
        }
        watcher.settle()
    });
    Ok(report)
}

/// What the server said beside its spec. To converge wrote it down, if there was anything else to write; and a machine
/// that nobody has need not know the time.
fn remember<H: Host>(agent: &mut Agent<H>) {
    let (host, ledger) = (&mut agent.host, &agent.ledger);
    let is_known = Ledger::load(host).is_ok_and(|known| {
        known == *ledger || ledger.accounts.is_empty() && known.cleanings == ledger.cleanings
    });
    if !is_known && let Err(error) = ledger.save(host) {
        tracing::warn!(%error, "what the server said could not be written down");
    }
}
