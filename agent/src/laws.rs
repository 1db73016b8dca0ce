//! What holds of whatever the agent is told, and of whatever it finds written: laws for the fuzzer, and for the tests over
//! its seeds.

use crate::converge::converge;
use crate::ledger::{Ledger, Managed};
use crate::moment::Moment;
use crate::notice::Status;
use crate::{Identity, Trust};
use model::report::Report;
use model::spec::Spec;
use model::wire::{SyncAnswer, Visit};
use model::{Timestamp, UidRange};
use playbooks::unix::{group, passwd};
use playbooks::{Db, FakeHost};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::time::Duration;

/// Bytes that came from the server, or lay on the disk.
pub fn heard(bytes: &[u8]) {
    let _ = (same_again::<Identity>(bytes), same_again::<Status>(bytes), Trust::pinned(bytes).is_ok());
    if let Some(Visit { now, spec, .. }) = same_again(bytes) {
        obeyed(Ledger::default(), Some(spec), now);
    }
    if let Some(SyncAnswer { now, spec, .. }) = same_again(bytes) {
        obeyed(Ledger::default(), spec, now);
    }
    if let Some(ledger) = same_again::<Ledger>(bytes) {
        clocks_agree(&ledger);
        obeyed(ledger, None, Timestamp::UNIX_EPOCH);
    }
}

fn same_again<T: Serialize + DeserializeOwned>(bytes: &[u8]) -> Option<T> {
    let read: T = serde_json::from_slice(bytes).ok()?;
    let printed = serde_json::to_vec(&read).expect("what was read is written");
    let again: T = serde_json::from_slice(&printed).expect("what was written is read");
    assert_eq!(serde_json::to_vec(&again).ok(), Some(printed));
    Some(read)
}

/// On a machine that has other people, too.
fn obeyed(mut ledger: Ledger, spec: Option<Spec>, now: Timestamp) {
    let mut host = FakeHost::new();
    let others = host.world();
    // A name that somebody has is refused, so that no ledger of ours has it.
    let names_a_group = |managed: &Managed| group::has(&others.files[&Db::Group], managed.who.name.as_str());
    if ledger.accounts.iter().any(names_a_group) {
        return;
    }
    let begun = ledger.accounts.clone();
    let report = converge(&mut host, &mut ledger, spec, now);
    is_read_by_the_server(&report);
    keeps(&host, &others.files[&Db::Passwd]);
    only_ours(&host, &others.files[&Db::Passwd], &ledger, &begun);
    let (once, known) = (host.world(), ledger.clone());
    converge(&mut host, &mut ledger, None, now);
    assert_eq!((once.files, once.homes, once.sudoers), {
        let twice = host.world();
        (twice.files, twice.homes, twice.sudoers)
    });
    assert_eq!((&known.accounts, &known.spec), (&ledger.accounts, &ledger.spec));
    converge(&mut host, &mut ledger, None, Timestamp::MAX);
    let after = host.world();
    assert_eq!((after.files, after.homes, after.sudoers), (others.files, others.homes, others.sudoers));
}

fn is_read_by_the_server(report: &Report) {
    let bytes = serde_json::to_vec(report).expect("a report is written");
    assert_eq!(serde_json::from_slice(&bytes).ok().as_ref(), Some(report));
}

/// Every line that was there is there.
fn keeps(host: &FakeHost, before: &[u8]) {
    let after = host.text(Db::Passwd);
    let before = String::from_utf8_lossy(before);
    assert!(before.lines().all(|line| after.lines().any(|kept| kept == line)), "{after}");
}

fn only_ours(host: &FakeHost, before: &[u8], ledger: &Ledger, begun: &[Managed]) {
    let after = host.text(Db::Passwd);
    let others: Vec<_> = passwd::entries(before).collect();
    for entry in passwd::entries(after.as_bytes()).filter(|entry| !others.contains(entry)) {
        assert!(UidRange::may_hold(entry.uid) && ledger.uids().contains(entry.uid), "{entry:?}");
        let known = ledger.accounts.iter().chain(begun).map(|managed| &managed.who);
        assert!(known.into_iter().any(|who| who.uid == entry.uid && who.name.as_str() == entry.name));
    }
}

/// Whatever the clocks say, nothing is sure that is not so, and nobody is locked out later than the end.
fn clocks_agree(ledger: &Ledger) {
    let boot = ledger.anchor.as_ref().map_or("", |anchor| anchor.boot_id.as_str());
    for wall in [Timestamp::MIN, Timestamp::UNIX_EPOCH, Timestamp::MAX] {
        for boottime in [Duration::ZERO, Duration::from_secs(u64::MAX / 4)] {
            for boot_id in [boot, "another"] {
                let moment: Moment = ledger.moment(wall, boottime, boot_id);
                assert!(moment.sure <= moment.now, "{moment:?}");
                assert!(moment.locks(Timestamp::MIN));
                let _ = (moment.on_the_wall(Timestamp::MAX), moment.on_the_wall(Timestamp::MIN));
                ledger.clone().keep_time(moment, boot_id);
            }
        }
    }
}

#[cfg(test)]
#[test]
fn what_the_fuzzer_tells_agents() {
    crate::replay::replay("agent", heard);
}
