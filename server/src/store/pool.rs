//! Pools: what is wanted, and the machines each has.

use super::event::{About, record};
use super::machine::{NewMachine, by_id, insert, retire};
use super::reservation::{GiveUp, give_up, replace};
use super::row::{AssignmentRow, json, micros, readable, text, to_json};
use super::schema::{assignment, machine, pool};
use super::{Conn, Failure, Store};
use diesel::prelude::*;
use model::pool::{Member, Pool};
use model::{Labels, MachineId, PoolName, Timestamp};
use std::collections::HashSet;

type Row = (String, String, String, i64, String, Option<String>);

impl Store {
    /// Sets what is wanted of a pool, and makes it when there is none of that name.
    pub async fn pool_put(&self, wanted: Pool, now: Timestamp) -> Result<Pool, Failure> {
        self.write(move |conn| {
            let values = (
                pool::provider.eq(&wanted.provider),
                pool::image.eq(&wanted.image),
                pool::size.eq(i64::from(wanted.size)),
                pool::labels.eq(to_json(&wanted.labels)?),
            );
            let there =
                diesel::update(pool::table.find(wanted.name.as_str())).set(values.clone()).execute(conn)?;
            if there == 0 {
                diesel::insert_into(pool::table)
                    .values((pool::name.eq(wanted.name.as_str()), values))
                    .execute(conn)?;
            }
            let detail = format!("{}: {} of {}", wanted.name, wanted.size, wanted.provider);
            record(conn, now, "pool.set", About { detail: &detail, ..About::default() })?;
            find(conn, &wanted.name)
        })
        .await
    }

    pub async fn pool_list(&self) -> Result<Vec<Pool>, Failure> {
        self.read(|conn| {
            let rows: Vec<Row> = pool::table.order(pool::name).load(conn)?;
            Ok(readable(rows.into_iter().map(into_pool)))
        })
        .await
    }

    pub async fn pool_get(&self, name: PoolName) -> Result<Pool, Failure> {
        self.read(move |conn| find(conn, &name)).await
    }

    pub async fn pool_problem(&self, name: PoolName, problem: Option<String>) -> Result<(), Failure> {
        self.write(move |conn| {
            diesel::update(pool::table.find(name.as_str())).set(pool::problem.eq(problem)).execute(conn)?;
            Ok(())
        })
        .await
    }

    /// The pool's machines that are not gone, in the order they were made in: all of them, since one left out would
    /// pass for a stranger's and be destroyed.
    pub async fn pool_members(&self, name: PoolName) -> Result<Vec<Member>, Failure> {
        self.read(move |conn| members(conn, &name)).await
    }

    /// Writes rows for new machines, named after the pool with the lowest free numbers.
    pub async fn pool_grow(&self, wanted: Pool, by: u32, now: Timestamp) -> Result<(), Failure> {
        self.write(move |conn| {
            let taken: Vec<String> =
                machine::table.filter(machine::gone_at.is_null()).select(machine::name).load(conn)?;
            let free =
                (1..).map(|number| format!("{}-{number}", wanted.name)).filter(|name| !taken.contains(name));
            for name in free.take(by as usize) {
                insert(conn, new_member(&wanted, &name)?, now)?;
            }
            Ok(())
        })
        .await
    }

    pub async fn machine_placed(&self, id: MachineId, host: String, port: u16) -> Result<(), Failure> {
        self.write(move |conn| {
            diesel::update(machine::table.find(id.to_string()))
                .set((machine::host.eq(host), machine::port.eq(i64::from(port))))
                .execute(conn)?;
            Ok(())
        })
        .await
    }

    /// Retires a machine unless somebody was given it meanwhile.
    pub async fn machine_retire_idle(&self, id: MachineId, now: Timestamp) -> Result<(), Failure> {
        self.write(move |conn| {
            let found = by_id(conn, &id.to_string())?;
            if found.holding.is_some() {
                return Ok(());
            }
            retire(conn, &found, now)
        })
        .await
    }

    /// A machine is no longer there: whoever held it has lost it, and gets another if there is one.
    pub async fn machine_lost(&self, id: MachineId, now: Timestamp) -> Result<GiveUp, Failure> {
        let ttl = self.ttl;
        self.write(move |conn| {
            let found = by_id(conn, &id.to_string())?;
            retire_lost(conn, id, now)?;
            let why = format!("machine `{}` has vanished", found.name);
            record(
                conn,
                now,
                "machine.lost",
                About { machine: Some(found.name.as_str()), ..About::default() },
            )?;
            let Some(holding) = found.holding else { return Ok(GiveUp::default()) };
            let seat: AssignmentRow = assignment::table
                .find(holding.assignment.to_string())
                .select(AssignmentRow::as_select())
                .first(conn)?;
            let was_given_up = seat.given_up_at.is_some();
            give_up(conn, holding.assignment, &why, now)?;
            // The account went with the machine.
            diesel::update(assignment::table.find(&seat.id))
                .set(assignment::cleaned_at.eq(micros(now)))
                .execute(conn)?;
            if was_given_up { Ok(GiveUp::default()) } else { replace(conn, &seat, &why, ttl, now) }
        })
        .await
    }
}

fn retire_lost(conn: &mut Conn, id: MachineId, now: Timestamp) -> Result<(), Failure> {
    diesel::update(machine::table.find(id.to_string()))
        .set((machine::retired_at.eq(micros(now)), machine::gone_at.eq(micros(now))))
        .execute(conn)?;
    Ok(())
}

fn new_member(wanted: &Pool, name: &str) -> Result<NewMachine, Failure> {
    let mut labels: std::collections::BTreeMap<String, String> =
        wanted.labels.iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
    labels.insert("pool".to_owned(), wanted.name.to_string());
    Ok(NewMachine {
        name: text("machine.name", name)?,
        // Known once the provider has made it.
        host: String::new(),
        port: 0,
        labels: Labels::try_from(labels).map_err(Failure::Conflict)?,
        pool: Some(wanted.name.clone()),
        join: None,
    })
}

fn members(conn: &mut Conn, name: &PoolName) -> Result<Vec<Member>, Failure> {
    let of_pool = machine::pool.eq(name.as_str()).and(machine::gone_at.is_null());
    let held: Vec<String> = assignment::table
        .inner_join(machine::table)
        .filter(assignment::cleaned_at.is_null().and(of_pool))
        .select(machine::id)
        .load(conn)?;
    let held: HashSet<String> = held.into_iter().collect();
    let rows: Vec<(String, Option<i64>, Option<String>)> = machine::table
        .filter(of_pool)
        .order(machine::id)
        .select((machine::id, machine::retired_at, machine::incarnation))
        .load(conn)?;
    rows.into_iter()
        .map(|(id, retired_at, incarnation)| {
            Ok(Member {
                id: text("machine.id", &id)?,
                retired: retired_at.is_some(),
                held: held.contains(&id),
                enrolled: incarnation.is_some(),
            })
        })
        .collect()
}

fn find(conn: &mut Conn, name: &PoolName) -> Result<Pool, Failure> {
    let row: Option<Row> = pool::table.find(name.as_str()).first(conn).optional()?;
    let missing = || Failure::NotFound(format!("there is no pool `{name}`; GET /v1/pools lists them"));
    into_pool(row.ok_or_else(missing)?)
}

fn into_pool((name, provider, image, size, labels, problem): Row) -> Result<Pool, Failure> {
    Ok(Pool {
        name: text("pool.name", &name)?,
        provider,
        image,
        size: size as u32,
        labels: json("pool.labels", &labels)?,
        problem,
    })
}
