//! One visit: a spec in, a report out.

use crate::clock::Clock;
use crate::converge::converge;
use crate::ledger::Ledger;
use playbooks::Host;
use std::io;

/// Without a spec (no input) the machine goes by the newest it knows. The caller holds [`crate::identity::exclusive`].
pub fn once(host: &mut dyn Host, input: &[u8], clock: &dyn Clock) -> io::Result<Vec<u8>> {
    let spec = if input.trim_ascii().is_empty() { None } else { Some(serde_json::from_slice(input)?) };
    let mut ledger = Ledger::load(host)?;
    let boot_id = host.facts()?.boot_id;
    let moment = ledger.moment(clock.wall(), clock.boottime(), &boot_id);
    let report = converge(host, &mut ledger, spec, moment);
    Ok(serde_json::to_vec(&report)?)
}
