//! Which machines an ask gets: the pure rule decides, the queries only leave out what could never fit.

use super::machine::with_holdings;
use super::row::{MachineRow, readable};
use super::schema::{assignment, machine, pool};
use super::{Conn, Failure, ssh};
use diesel::prelude::*;
use model::allocate::{Shortage, Want, allocate, is_free, without_spares};
use model::machine::Machine;
use model::pool::AfterUse;
use model::{MachineName, PoolName, Timestamp};
use std::collections::BTreeMap;
use std::time::Duration;

/// Beside those asked for, so many free machines are looked at first; each further page is twice as long.
const MORE_CANDIDATES: i64 = 3;

/// Who gets the free machines that pools keep back.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Spares {
    KeptBack,
    /// To a reservation that lost a machine.
    Given,
}

/// Finds machines for an ask among those nobody holds, page by page, so that a large fleet costs no more than a small
/// one.
pub(crate) fn choose(
    conn: &mut Conn,
    want: &Want,
    after: AfterUse,
    spares: Spares,
    ttl: Duration,
    now: Timestamp,
) -> Result<Vec<Machine>, Failure> {
    if let Want::Named(names) = want {
        let found = chosen(allocate(want, after, &named(conn, names)?, now, ttl))?;
        if spares == Spares::KeptBack {
            refuse_spares(conn, &found, ttl, now)?;
        }
        return Ok(found);
    }
    let (mut candidates, mut kept_back) = (Vec::new(), BTreeMap::new());
    let mut cursor = String::new();
    let mut limit = i64::from(want.count()) + MORE_CANDIDATES;
    loop {
        let (rows, spares_of): (Vec<_>, Vec<_>) = unheld(conn, &cursor, limit)?.into_iter().unzip();
        let last = rows.last().map(|row| row.id.clone());
        let whole = (rows.len() as i64) < limit;
        let mut visited = ssh::of_machines(conn, &rows)?;
        let machines = rows.into_iter().zip(spares_of).map(|(row, spare)| {
            let ssh = visited.remove(&row.id).transpose()?;
            Ok((row.into_machine(None, ssh)?, spare))
        });
        for (machine, spare) in readable(machines) {
            if let (Spares::KeptBack, Some(pool), Some(1..)) = (spares, &machine.pool, spare) {
                kept_back.insert(pool.clone(), spare.unwrap_or_default() as u32);
            }
            candidates.push(machine);
        }
        let offered = without_spares(&candidates, &kept_back, now, ttl);
        match (allocate(want, after, &offered, now, ttl), last) {
            (Err(_), Some(last)) if !whole => cursor = last,
            (outcome, _) => return chosen(outcome),
        }
        limit *= 2;
    }
}

fn chosen(outcome: Result<Vec<&Machine>, Shortage>) -> Result<Vec<Machine>, Failure> {
    Ok(outcome?.into_iter().cloned().collect())
}

fn named(conn: &mut Conn, names: &[MachineName]) -> Result<Vec<Machine>, Failure> {
    let names: Vec<&str> = names.iter().map(MachineName::as_str).collect();
    let rows = machine::table
        .filter(machine::name.eq_any(names).and(machine::gone_at.is_null()))
        .select(MachineRow::as_select())
        .load(conn)?;
    with_holdings(conn, rows)
}

/// Whoever names a machine does not get what whoever leaves the choice to us does not get.
fn refuse_spares(conn: &mut Conn, found: &[Machine], ttl: Duration, now: Timestamp) -> Result<(), Failure> {
    let mut of_pools: BTreeMap<&PoolName, Vec<&Machine>> = BTreeMap::new();
    for machine in found {
        if let Some(pool) = &machine.pool {
            of_pools.entry(pool).or_default().push(machine);
        }
    }
    for (name, taken) in of_pools {
        let spare: Option<i64> =
            pool::table.find(name.as_str()).select(pool::spare).first(conn).optional()?;
        let spare = spare.unwrap_or_default() as usize;
        if spare > 0 && free_of(conn, name, ttl, now)? < taken.len() + spare {
            let refusal = |machine: &&Machine| {
                format!(
                    "`{}` (pool `{name}` keeps {spare} back for reservations that lose one)",
                    machine.name
                )
            };
            return Err(Shortage::NotFree(taken.iter().map(refusal).collect()).into());
        }
    }
    Ok(())
}

fn free_of(conn: &mut Conn, pool: &PoolName, ttl: Duration, now: Timestamp) -> Result<usize, Failure> {
    let rows = machine::table
        .filter(machine::pool.eq(pool.as_str()).and(machine::gone_at.is_null()))
        .select(MachineRow::as_select())
        .load(conn)?;
    Ok(with_holdings(conn, rows)?.iter().filter(|machine| is_free(machine, now, ttl)).count())
}

/// Machines with what their pool keeps back. Both further tables are a value per row, which a planner cannot turn into a
/// join: without statistics of young tables PostgreSQL compared every machine with every assignment.
fn unheld(conn: &mut Conn, after: &str, limit: i64) -> QueryResult<Vec<(MachineRow, Option<i64>)>> {
    let open = assignment::table
        .filter(assignment::machine_id.eq(machine::id).and(assignment::cleaned_at.is_null()))
        .count()
        .single_value();
    let spare =
        pool::table.filter(pool::name.nullable().eq(machine::pool)).select(pool::spare).single_value();
    machine::table
        .filter(machine::id.gt(after))
        .filter(
            machine::gone_at.is_null().and(machine::retired_at.is_null()).and(machine::cordoned_at.is_null()),
        )
        .filter(machine::listing.is_null())
        .filter(open.eq(0))
        .order(machine::id)
        .limit(limit)
        .select((MachineRow::as_select(), spare))
        .load(conn)
}
