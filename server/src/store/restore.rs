//! A database that was put back to what it was: from now on it is another one, which knows what it was before.
//!
//! Machines that were told no more than the backup knows go over to it by themselves: their agents compare
//! ([`model::spec::Former`]). Those that were told more obey nothing, so that whoever is on them stays; when nobody is on one
//! any longer, and nobody is to be, it is taken over.

use super::backup::{self, Source};
use super::connection::{Connector, begin, claim, commit};
use super::event::{About, record, recorded};
use super::machine::spec_of;
use super::reservation::FLEET_UID;
use super::row::{MachineRow, json, micros, to_json};
use super::schema::{machine, meta};
use super::{Conn, EPOCH, Failure, OWNER, RESTORED_AT};
use anyhow::Context;
use diesel::prelude::*;
use model::audit::Actor;
use model::report::Report;
use model::session::Quarantine;
use model::spec::{Former, remembered};
use model::{Epoch, Timestamp};
use std::path::{Path, PathBuf};

/// So many UIDs of the fleet's sequence may have been given since the backup was made: the homes they own are shared.
const FLEET_UIDS_SKIPPED: u32 = 10_000;

/// What a restore came to.
#[derive(Debug)]
pub struct Restored {
    /// The number and time of the last thing that the database knows.
    pub last_event: Option<(i64, Timestamp)>,
    /// Machines that it knows.
    pub machines: usize,
    /// Where the file is that was there before.
    pub kept: Option<PathBuf>,
}

/// Puts a backup in the place of a database that no server uses, or, without a file, takes the database that is there for
/// one that was put back by other means. `lenient`: although its record is broken. Blocks.
pub fn restore(url: &str, file: Option<&Path>, lenient: bool, now: Timestamp) -> anyhow::Result<Restored> {
    let _claim = claim(url)?;
    let connector = Connector::new(url);
    match file {
        Some(file) => {
            backup::put_back(&connector, file, now, |conn, source| begin_anew(conn, lenient, source, now))
        }
        None => {
            let source = Source { name: "what is there".to_owned(), replaced: None };
            backup::in_place(&connector, |conn| begin_anew(conn, lenient, &source, now))
        }
    }
}

fn begin_anew(conn: &mut Conn, lenient: bool, source: &Source, now: Timestamp) -> anyhow::Result<Restored> {
    let last_event = backup::read_record(conn).or_else(|error| if lenient { Ok(None) } else { Err(error) }).context(
        "its record of events is not as it was written; to restore it all the same, add `--despite-broken-record`",
    )?;
    begin(conn)?;
    let machines = recorded(conn, &Actor::default(), |conn| new_life(conn, source, now))?;
    commit(conn)?;
    Ok(Restored { last_event, machines, kept: None })
}

/// Under a new epoch nothing that was told under the former one can be taken for something that is told now.
fn new_life(conn: &mut Conn, source: &Source, now: Timestamp) -> Result<usize, Failure> {
    let former: Epoch = super::meta(conn, EPOCH)?
        .ok_or_else(|| Failure::Conflict("this database was never used by a server".to_owned()))?;
    if super::meta::<Epoch>(conn, OWNER)?.is_none() {
        put(conn, OWNER, &former.to_string())?;
    }
    put(conn, EPOCH, &Epoch::new(now).to_string())?;
    put(conn, RESTORED_AT, &now.to_string())?;
    if let Some(next) = super::meta::<u32>(conn, FLEET_UID)? {
        put(conn, FLEET_UID, &(next + FLEET_UIDS_SKIPPED).to_string())?;
    }
    let here: Vec<(String, i64, String)> = machine::table
        .filter(machine::gone_at.is_null())
        .select((machine::id, machine::generation, machine::follows))
        .load(conn)?;
    for (id, generation, follows) in &here {
        let mut follows: Vec<Former> = json("machine.follows", follows)?;
        follows.push(Former { epoch: former, generation: *generation as u64 });
        // Of what was told under the epoch of the file it replaces, nothing is known.
        let replaced = source.replaced.filter(|replaced| remembered(&follows, *replaced).is_none());
        follows.extend(replaced.map(|epoch| Former { epoch, generation: 0 }));
        diesel::update(machine::table.find(id))
            .set((machine::generation.eq(generation + 1), machine::follows.eq(to_json(&follows)?)))
            .execute(conn)?;
    }
    record(now, "database.restored", About { detail: &format!("from {}", source.name), ..About::default() });
    Ok(here.len())
}

fn put(conn: &mut Conn, key: &str, value: &str) -> QueryResult<()> {
    let is_new = diesel::update(meta::table.find(key)).set(meta::value.eq(value)).execute(conn)? == 0;
    if is_new {
        diesel::insert_into(meta::table).values((meta::key.eq(key), meta::value.eq(value))).execute(conn)?;
    }
    Ok(())
}

/// How much this database knows of what a machine was told before a restore; absent if the machine obeys it as it is.
pub(crate) fn known(epoch: Epoch, row: &MachineRow, report: &Report) -> Result<Option<u64>, Failure> {
    match report.epoch.filter(|told| *told != epoch) {
        Some(former) => Ok(remembered(&row.formers()?, former)),
        None => Ok(None),
    }
}

/// A machine that was told more than the backup knows is ours again when nobody is on it, and nobody is to be: a released
/// reservation that has come back with the backup opens no door. Says whether it is.
pub(crate) fn take_over(
    conn: &mut Conn,
    epoch: Epoch,
    row: &mut MachineRow,
    report: &Report,
    now: Timestamp,
) -> Result<bool, Failure> {
    let (Some(told_by), Ok(told)) = (report.epoch, i64::try_from(report.generation)) else {
        return Ok(false);
    };
    let is_restored = row.quarantine()? == Some(Quarantine::Restored) && known(epoch, row, report)?.is_some();
    if !is_restored || !report.accounts.is_empty() || !spec_of(conn, epoch, row)?.accounts.is_empty() {
        return Ok(false);
    }
    let mut formers = row.formers()?;
    formers.push(Former { epoch: told_by, generation: report.generation });
    row.follows = to_json(&formers)?;
    row.generation = row.generation.max(told).saturating_add(1);
    row.next_uid = row.next_uid.max(i64::from(report.uid_floor));
    row.quarantined = None;
    diesel::update(machine::table.find(&row.id))
        .set((
            machine::follows.eq(&row.follows),
            machine::generation.eq(row.generation),
            machine::next_uid.eq(row.next_uid),
            machine::quarantined.eq(None::<String>),
            machine::seen_at.eq(micros(now)),
        ))
        .execute(conn)?;
    record(now, "machine.taken_over", About { machine: Some(&row.name), ..About::default() });
    Ok(true)
}
