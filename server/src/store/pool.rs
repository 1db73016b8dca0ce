//! Pools: what is wanted, and the machines each has.

use super::event::{About, record};
use super::machine::{NewMachine, insert};
use super::row::{json, micros, readable, text, time_option, to_json};
use super::schema::{assignment, machine, pool, reservation};
use super::{Conn, Failure, Store};
use diesel::prelude::*;
use jiff::SignedDuration;
use model::listing::Listing;
use model::pool::{AfterUse, Member, Pool, Seat, Size};
use model::session::Quarantine;
use model::{Labels, MachineId, PoolName, Timestamp};
use std::collections::HashMap;

#[derive(Queryable, Selectable)]
#[diesel(table_name = pool)]
struct PoolRow {
    name: String,
    provider: String,
    image: String,
    size: i64,
    labels: String,
    problem: Option<String>,
    uids: String,
    after_use: String,
    losses_accepted_until: Option<i64>,
    spare: i64,
    grace: i64,
    home: Option<String>,
    sizes: String,
    /// As JSON.
    service: Option<String>,
}

/// The label that says which of its pool's sizes a machine has.
pub(crate) const SIZE: &str = "size";

impl Store {
    /// Sets what is wanted of a pool, and makes it when there is none of that name.
    /// Nothing is changed if it `was` of another size.
    pub async fn pool_put(&self, wanted: Pool, was: Option<u32>, now: Timestamp) -> Result<Pool, Failure> {
        self.write(move |conn| {
            refuse_other_size(conn, &wanted.name, was)?;
            let values = (
                pool::provider.eq(&wanted.provider),
                pool::image.eq(&wanted.image),
                pool::size.eq(i64::from(wanted.size)),
                pool::labels.eq(to_json(&wanted.labels)?),
                pool::uids.eq(wanted.uids.to_string()),
                pool::after_use.eq(wanted.after_use.name()),
                pool::spare.eq(i64::from(wanted.spare)),
                pool::grace.eq(wanted.grace.as_secs()),
                pool::sizes.eq(to_json(&wanted.sizes)?),
                pool::service.eq(wanted.service.as_ref().map(to_json).transpose()?),
                // Of what was wanted before.
                pool::problem.eq(None::<String>),
            );
            refuse_change_of_kind(conn, &wanted)?;
            let there =
                diesel::update(pool::table.find(wanted.name.as_str())).set(values.clone()).execute(conn)?;
            if there == 0 {
                diesel::insert_into(pool::table)
                    .values((pool::name.eq(wanted.name.as_str()), values))
                    .execute(conn)?;
            }
            let detail = format!("{}: {} of {}", wanted.name, wanted.size, wanted.provider);
            record(now, "pool.set", About { detail: &detail, ..About::default() });
            find(conn, &wanted.name)
        })
        .await
    }

    /// Sets how many machines are wanted: no fewer than somebody has, or keeps back, or none at all, once they are through.
    pub async fn pool_resize(&self, name: PoolName, size: u32, now: Timestamp) -> Result<Pool, Failure> {
        self.write(move |conn| {
            let found = find(conn, &name)?;
            let staying = members(conn, &name)?.into_iter().filter(|member| !member.retired);
            let used = staying.filter(|member| member.held || member.cordoned).count();
            if size > 0 && used > size as usize {
                return Err(Failure::Conflict(format!("{used} machines of pool `{name}` are in use")));
            }
            diesel::update(pool::table.find(name.as_str()))
                .set((
                    pool::size.eq(i64::from(size)),
                    pool::spare.eq(i64::from(found.spare.min(size))),
                    pool::problem.eq(None::<String>),
                ))
                .execute(conn)?;
            let detail = format!("{name}: {size} of {}", found.provider);
            record(now, "pool.set", About { detail: &detail, ..About::default() });
            find(conn, &name)
        })
        .await
    }

    pub async fn pool_list(&self) -> Result<Vec<Pool>, Failure> {
        self.read(|conn| {
            let rows: Vec<PoolRow> = pool::table.order(pool::name).select(PoolRow::as_select()).load(conn)?;
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

    /// Its machines are made there from now on.
    pub async fn pool_home(&self, name: PoolName, home: Option<String>) -> Result<(), Failure> {
        self.write(move |conn| {
            diesel::update(pool::table.find(name.as_str())).set(pool::home.eq(home)).execute(conn)?;
            Ok(())
        })
        .await
    }

    /// Until then whatever its provider does not list is believed to be gone.
    pub async fn pool_accept_losses(
        &self,
        name: PoolName,
        until: Timestamp,
        now: Timestamp,
    ) -> Result<Pool, Failure> {
        self.write(move |conn| {
            let found = find(conn, &name)?;
            diesel::update(pool::table.find(name.as_str()))
                .set(pool::losses_accepted_until.eq(micros(until)))
                .execute(conn)?;
            record(
                now,
                "pool.losses_accepted",
                About { detail: &format!("{name}: until {until}"), ..About::default() },
            );
            Ok(Pool { losses_accepted_until: Some(until), ..found })
        })
        .await
    }

    /// The pool's machines that are not gone, in the order of their numbers: all of them, since one left out would
    /// pass for a stranger's and be destroyed.
    pub async fn pool_members(&self, name: PoolName) -> Result<Vec<Member>, Failure> {
        self.read(move |conn| members(conn, &name)).await
    }

    /// Writes rows for new machines, named after the pool with the lowest free numbers.
    pub async fn pool_grow(&self, wanted: Pool, by: u32, now: Timestamp) -> Result<(), Failure> {
        self.write(move |conn| {
            let taken: Vec<String> =
                machine::table.filter(machine::gone_at.is_null()).select(machine::name).load(conn)?;
            let free = (1u32..).map(|number| (number, member_name(&wanted, number)));
            for (number, name) in free.filter(|(_, name)| !taken.contains(name)).take(by as usize) {
                insert(conn, new_member(&wanted, &name, number)?, now)?;
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
}

fn refuse_other_size(conn: &mut Conn, name: &PoolName, was: Option<u32>) -> Result<(), Failure> {
    let Some(was) = was else { return Ok(()) };
    let size: Option<i64> = pool::table.find(name.as_str()).select(pool::size).first(conn).optional()?;
    match size.unwrap_or_default() {
        size if size == i64::from(was) => Ok(()),
        size => {
            Err(Failure::Conflict(format!("pool `{name}` has another `size` by now, {size}: look again")))
        }
    }
}

/// Machines that are lent and services are not of one pool: each kind is made, and goes, in its own way.
fn refuse_change_of_kind(conn: &mut Conn, wanted: &Pool) -> Result<(), Failure> {
    let kinds: Vec<Option<String>> = machine::table
        .filter(machine::pool.eq(wanted.name.as_str()).and(machine::gone_at.is_null()))
        .select(machine::listing)
        .load(conn)?;
    if kinds.iter().all(|listing| listing.is_some() == wanted.service.is_some()) {
        return Ok(());
    }
    let kind = if wanted.service.is_some() { "machines to lend" } else { "services" };
    Err(Failure::Conflict(format!(
        "pool `{0}` has {kind}: choose another name, or set the size of `{0}` to 0 first",
        wanted.name
    )))
}

/// Most often there is one service, which needs no number.
fn member_name(wanted: &Pool, number: u32) -> String {
    match (&wanted.service, number) {
        (Some(_), 1) => wanted.name.to_string(),
        (Some(_) | None, _) => format!("{}-{number}", wanted.name),
    }
}

fn new_member(wanted: &Pool, name: &str, number: u32) -> Result<NewMachine, Failure> {
    let mut labels: std::collections::BTreeMap<String, String> =
        wanted.labels.iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
    labels.insert("pool".to_owned(), wanted.name.to_string());
    labels.extend(Size::of(number, &wanted.sizes).map(|size| (SIZE.to_owned(), size.name.clone())));
    Ok(NewMachine {
        name: text("machine.name", name)?,
        // Known once the provider has made it.
        host: String::new(),
        port: 0,
        labels: Labels::try_from(labels).map_err(Failure::Conflict)?,
        pool: Some(wanted.name.clone()),
        uids: wanted.uids,
        ssh: None,
        join: None,
        listing: wanted.service.as_ref().map(|_| Listing::default()),
    })
}

fn members(conn: &mut Conn, name: &PoolName) -> Result<Vec<Member>, Failure> {
    let of_pool = machine::pool.eq(name.as_str()).and(machine::gone_at.is_null());
    let seats = seats(conn, name)?;
    type Row = (String, Option<i64>, Option<String>, Option<String>, Option<i64>, Option<String>, String);
    let mut rows: Vec<Row> = machine::table
        .filter(of_pool)
        .select((
            machine::id,
            machine::retired_at,
            machine::incarnation,
            machine::quarantined,
            machine::cordoned_at,
            machine::listing,
            machine::name,
        ))
        .load(conn)?;
    rows.sort_by(|(.., one), (.., other)| (one.len(), one).cmp(&(other.len(), other)));
    rows.into_iter()
        .map(|(id, retired_at, incarnation, quarantined, cordoned_at, listing, _)| {
            let listing: Option<Listing> = listing.map(|text| json("machine.listing", &text)).transpose()?;
            // Somebody may be on it whom the backup does not know.
            let is_restored = quarantined.as_deref() == Some(Quarantine::Restored.name());
            let seat = seats.get(&id);
            Ok(Member {
                id: text("machine.id", &id)?,
                retired: retired_at.is_some(),
                // One that stays is held as long as its seat is open, whatever becomes of it then.
                held: (is_restored && retired_at.is_none())
                    || seat.is_some_and(|seat| retired_at.is_none() || seat.holds()),
                enrolled: incarnation.is_some(),
                cordoned: cordoned_at.is_some(),
                up: listing.and_then(|listing| listing.probe).map(|probe| probe.up),
            })
        })
        .collect()
}

/// The open seats on a pool's machines.
fn seats(conn: &mut Conn, name: &PoolName) -> Result<HashMap<String, Seat>, Failure> {
    let after_use: Option<String> =
        pool::table.find(name.as_str()).select(pool::after_use).first(conn).optional()?;
    let recycles = after_use.as_deref() == Some(AfterUse::Recycle.name());
    type Row = (String, Option<String>, Option<i64>, Option<i64>, i64);
    let rows: Vec<Row> = assignment::table
        .inner_join(machine::table)
        .inner_join(reservation::table)
        .filter(assignment::cleaned_at.is_null())
        .filter(machine::pool.eq(name.as_str()).and(machine::gone_at.is_null()))
        .select((
            machine::id,
            machine::quarantined,
            assignment::given_up_at,
            reservation::ended_at,
            reservation::sudo,
        ))
        .load(conn)?;
    let seat = |(id, quarantined, given_up_at, ended_at, sudo): Row| {
        let is_recycled = recycles || sudo != 0 || quarantined.is_some();
        (id, Seat { has_ended: given_up_at.is_some() || ended_at.is_some(), is_recycled })
    };
    Ok(rows.into_iter().map(seat).collect())
}

fn find(conn: &mut Conn, name: &PoolName) -> Result<Pool, Failure> {
    let row: Option<PoolRow> =
        pool::table.find(name.as_str()).select(PoolRow::as_select()).first(conn).optional()?;
    let missing = || Failure::NotFound(format!("there is no pool `{name}`; GET /v1/pools lists them"));
    into_pool(row.ok_or_else(missing)?)
}

fn into_pool(row: PoolRow) -> Result<Pool, Failure> {
    Ok(Pool {
        name: text("pool.name", &row.name)?,
        provider: row.provider,
        image: row.image,
        size: row.size as u32,
        labels: json("pool.labels", &row.labels)?,
        uids: text("pool.uids", &row.uids)?,
        after_use: text("pool.after_use", &row.after_use)?,
        losses_accepted_until: time_option(row.losses_accepted_until)?,
        spare: row.spare as u32,
        grace: SignedDuration::from_secs(row.grace),
        home: row.home,
        sizes: json("pool.sizes", &row.sizes)?,
        service: row.service.map(|service| json("pool.service", &service)).transpose()?,
        problem: row.problem,
    })
}
