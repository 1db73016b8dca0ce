//! Machines: registered, looked at, changed, retired.

use super::event::{About, record};
use super::row::{
    AssignmentRow, MachineRow, ReservationRow, Rows, StoredAccount, json, micros, readable, text, time,
    to_json,
};
use super::schema::{assignment, join_token, machine, reservation, ssh_access};
use super::ssh::{self, HostKeyChange, NewAccess};
use super::{Conn, Failure, Store};
use diesel::prelude::*;
use model::listing::Listing;
use model::machine::{Holding, Machine, Uids};
use model::report::Facts;
use model::session::Quarantine;
use model::spec::{AccountSpec, Spec};
use model::wire::CouldLogIn;
use model::{Epoch, Incarnation, Labels, MachineId, MachineName, PoolName, Timestamp};
use std::collections::HashMap;

/// What is to be different; the rest stays.
#[derive(Default)]
pub struct MachineChange {
    pub labels: Option<Labels>,
    pub cordoned: Option<bool>,
    pub host: Option<String>,
    pub port: Option<u16>,
    pub ssh: Option<NewAccess>,
    pub host_key: Option<HostKeyChange>,
}

pub struct NewMachine {
    pub name: MachineName,
    pub host: String,
    pub port: u16,
    pub labels: Labels,
    pub pool: Option<PoolName>,
    pub uids: Uids,
    /// SHA-256 of the token that lets one agent enrol, and until when.
    pub join: Option<(String, Timestamp)>,
    /// Instead of an agent.
    pub ssh: Option<NewAccess>,
    /// Nobody is to have it.
    pub listing: Option<Listing>,
}

impl Store {
    /// Registers a machine. The same idempotency key answers with the machine it made (and `false`).
    pub async fn machine_create(
        &self,
        new: NewMachine,
        key: Option<super::reservation::Key>,
        now: Timestamp,
    ) -> Result<(Machine, bool), Failure> {
        self.write(move |conn| {
            if let Some(id) = key.as_ref().map(|key| key.find(conn)).transpose()?.flatten() {
                return Ok((by_id(conn, &id)?, false));
            }
            let taken = machine::table
                .filter(machine::name.eq(new.name.as_str()).and(machine::gone_at.is_null()))
                .count()
                .get_result::<i64>(conn)?;
            if taken > 0 {
                return Err(Failure::Conflict(format!(
                    "a machine named `{}` exists already; choose another name, or retire that one first",
                    new.name
                )));
            }
            if new.ssh.as_ref().is_some_and(|ssh| ssh.jump.is_none()) {
                refuse_same_address(conn, &new.host, new.port, None)?;
            }
            let row = insert(conn, new, now)?;
            if let Some(key) = key {
                key.keep(conn, &row.id, now)?;
            }
            Ok((by_id(conn, &row.id)?, true))
        })
        .await
    }

    /// Those not gone, in the order they were registered in, from after `cursor` on.
    pub async fn machine_list(
        &self,
        cursor: Option<MachineId>,
        limit: u32,
    ) -> Result<Rows<Machine>, Failure> {
        self.read(move |conn| {
            let after = cursor.map(|id| id.to_string()).unwrap_or_default();
            let rows: Vec<MachineRow> = machine::table
                .filter(machine::gone_at.is_null().and(machine::id.gt(after)))
                .order(machine::id)
                .limit(i64::from(limit))
                .select(MachineRow::as_select())
                .load(conn)?;
            Rows::of(rows, limit, |rows| with_holdings(conn, rows))
        })
        .await
    }

    pub async fn machine_get(&self, name: &str) -> Result<Machine, Failure> {
        let name = name.to_owned();
        self.read(move |conn| by_name(conn, &name)).await
    }

    pub async fn machine_by_id(&self, id: MachineId) -> Result<Machine, Failure> {
        self.read(move |conn| by_id(conn, &id.to_string())).await
    }

    pub async fn machine_patch(
        &self,
        name: &str,
        change: MachineChange,
        now: Timestamp,
    ) -> Result<Machine, Failure> {
        let name = name.to_owned();
        self.write(move |conn| {
            let found = by_name(conn, &name)?;
            let row = machine::table.find(found.id.to_string());
            let MachineChange { labels, cordoned, host, port, ssh, host_key } = change;
            if ssh.is_some() && found.ssh.is_none() {
                return Err(Failure::Conflict(format!(
                    "`ssh`: an agent speaks for machine `{name}`; retire it and register it anew to reach it over SSH"
                )));
            }
            if host.is_some() || port.is_some() {
                let (host, port) = (host.unwrap_or(found.host), port.unwrap_or(found.port));
                refuse_same_address(conn, &host, port, Some(found.id))?;
                diesel::update(row.clone())
                    .set((machine::host.eq(host), machine::port.eq(i64::from(port))))
                    .execute(conn)?;
            }
            if let Some(access) = ssh {
                ssh::put(conn, found.id, access)?;
                record(now, "machine.log_in_changed", About { machine: Some(&name), ..About::default() });
            }
            if let Some(change) = host_key {
                ssh::change_host_key(conn, found.id, change, now)?;
            }
            if let Some(labels) = labels {
                diesel::update(row.clone()).set(machine::labels.eq(to_json(&labels)?)).execute(conn)?;
                record(now, "machine.labelled", About { machine: Some(&name), ..About::default() });
            }
            if let Some(cordon) = cordoned.filter(|cordon| *cordon != found.cordoned_at.is_some()) {
                let at = cordon.then(|| micros(now));
                diesel::update(row).set(machine::cordoned_at.eq(at)).execute(conn)?;
                let kind = if cordon { "machine.cordoned" } else { "machine.uncordoned" };
                record(now, kind, About { machine: Some(&name), ..About::default() });
            }
            by_name(conn, &name)
        })
        .await
    }

    /// Accounts that were on machines of this name at a time, or may have been; those that are gone among them.
    pub async fn could_log_in(&self, name: &str, at: Timestamp) -> Result<Vec<CouldLogIn>, Failure> {
        let name = name.to_owned();
        self.read(move |conn| {
            let at = micros(at);
            let rows: Vec<(AssignmentRow, ReservationRow)> = assignment::table
                .inner_join(reservation::table)
                .inner_join(machine::table)
                .filter(machine::name.eq(&name).and(assignment::created_at.le(at)))
                .filter(assignment::cleaned_at.is_null().or(assignment::cleaned_at.gt(at)))
                .order(assignment::id)
                .select((AssignmentRow::as_select(), ReservationRow::as_select()))
                .load(conn)?;
            if rows.is_empty()
                && machine::table.filter(machine::name.eq(&name)).count().get_result::<i64>(conn)? == 0
            {
                return Err(Failure::NotFound(format!("there never was a machine `{name}`")));
            }
            Ok(readable(rows.into_iter().map(|(seat, reservation)| seat.could_log_in(&reservation))))
        })
        .await
    }

    /// Machines whose newest spec was not confirmed, that somebody still waits for, or that are to go: what a sweep puts
    /// into the queue.
    pub async fn machines_unsettled(&self) -> Result<Vec<MachineId>, Failure> {
        self.read(|conn| {
            // Such a machine may have confirmed its spec, and said that it cannot make the account.
            let awaited = assignment::table
                .filter(assignment::cleaned_at.is_null().and(assignment::ready_at.is_null()))
                .filter(assignment::given_up_at.is_null())
                .select(assignment::machine_id);
            // Nobody speaks for a listed one, and nothing is said to it.
            let unsettled = machine::seen_generation
                .ne(machine::generation)
                .and(machine::listing.is_null())
                .or(machine::retired_at.is_not_null())
                .or(machine::id.eq_any(awaited));
            let ids: Vec<String> = machine::table
                .filter(machine::gone_at.is_null().and(unsettled))
                .select(machine::id)
                .load(conn)?;
            Ok(readable(ids.iter().map(|id| text("machine.id", id))))
        })
        .await
    }

    /// The spec of a machine when it is newer than `generation`; `Gone` when the machine is.
    pub async fn spec_newer(&self, id: MachineId, generation: u64) -> Result<Option<Spec>, Failure> {
        let epoch = self.epoch;
        self.read(move |conn| {
            let row: MachineRow =
                machine::table.find(id.to_string()).select(MachineRow::as_select()).first(conn)?;
            refuse_gone(&row)?;
            news(conn, epoch, &row, generation)
        })
        .await
    }
}

pub(crate) fn refuse_gone(row: &MachineRow) -> Result<(), Failure> {
    // One retired out of quarantine is not waited for: whatever speaks for it is to take its accounts away.
    if row.gone_at.is_some() || (row.quarantined.is_some() && row.retired_at.is_some()) {
        return Err(Failure::Gone(format!("machine `{}` is no longer wanted; its agent may stop", row.name)));
    }
    Ok(())
}

/// The same machine under two names would be lent twice. Behind a jump host an address means something else.
fn refuse_same_address(
    conn: &mut Conn,
    host: &str,
    port: u16,
    but: Option<MachineId>,
) -> Result<(), Failure> {
    let taken: Option<String> = machine::table
        .inner_join(ssh_access::table.on(ssh_access::machine_id.eq(machine::id)))
        .filter(machine::host.eq(host).and(machine::port.eq(i64::from(port))))
        .filter(machine::gone_at.is_null().and(ssh_access::jump.is_null()))
        .filter(machine::id.ne(but.map(|id| id.to_string()).unwrap_or_default()))
        .select(machine::name)
        .first(conn)
        .optional()?;
    match taken {
        Some(name) => Err(Failure::Conflict(format!(
            "`host`: {host} port {port} is machine `{name}` already; a machine is registered once"
        ))),
        None => Ok(()),
    }
}

pub(crate) fn insert(conn: &mut Conn, new: NewMachine, now: Timestamp) -> Result<MachineRow, Failure> {
    let listed_as = new.listing.as_ref().and_then(|listing| listing.media_server.as_ref());
    let row = MachineRow {
        id: MachineId::new(now).to_string(),
        name: new.name.to_string(),
        host: new.host,
        port: i64::from(new.port),
        labels: to_json(&new.labels)?,
        pool: new.pool.map(|pool| pool.to_string()),
        created_at: micros(now),
        // An agent brings its own.
        incarnation: new.ssh.as_ref().map(|_| Incarnation::new(now).to_string()),
        credential: None,
        next_uid: i64::from(new.uids.range().first),
        generation: 1,
        seen_generation: 0,
        seen_at: None,
        problem: None,
        facts: to_json(&Facts::default())?,
        cordoned_at: None,
        retired_at: None,
        aside_until: None,
        aside_why: None,
        failures: 0,
        gone_at: None,
        uids: new.uids.to_string(),
        session: None,
        former_sessions: String::new(),
        challenge: None,
        has_returned: 0,
        quarantined: None,
        follows: "[]".to_owned(),
        listed_address: listed_as.map(|server| server.ip.clone()),
        listing: new.listing.as_ref().map(to_json).transpose()?,
    };
    diesel::insert_into(machine::table).values(row.clone()).execute(conn)?;
    if let Some((digest, expires_at)) = new.join {
        add_join_token(conn, &row.id, digest, expires_at)?;
    }
    if let Some(access) = new.ssh {
        ssh::put(conn, text("machine.id", &row.id)?, access)?;
    }
    record(now, "machine.created", About { machine: Some(&row.name), ..About::default() });
    Ok(row)
}

pub(crate) fn add_join_token(
    conn: &mut Conn,
    machine: &str,
    digest: String,
    expires_at: Timestamp,
) -> Result<(), Failure> {
    diesel::insert_into(join_token::table)
        .values((
            join_token::digest.eq(digest),
            join_token::machine_id.eq(machine),
            join_token::expires_at.eq(micros(expires_at)),
        ))
        .execute(conn)?;
    Ok(())
}

/// Completes rows with what each holds, in their order.
pub(crate) fn with_holdings(conn: &mut Conn, rows: Vec<MachineRow>) -> Result<Vec<Machine>, Failure> {
    let ids: Vec<&str> = rows.iter().map(|row| row.id.as_str()).collect();
    let open: Vec<(AssignmentRow, ReservationRow)> = assignment::table
        .inner_join(reservation::table)
        .filter(assignment::cleaned_at.is_null().and(assignment::machine_id.eq_any(ids)))
        .select((AssignmentRow::as_select(), ReservationRow::as_select()))
        .load(conn)?;
    let mut holdings: HashMap<String, Result<Holding, Failure>> = HashMap::new();
    for (seat, reservation) in open {
        holdings.insert(seat.machine_id.clone(), seat.holding(&reservation));
    }
    let mut visited = ssh::of_machines(conn, &rows)?;
    // A machine whose holding cannot be read is left out too, lest it pass for free; so is one whose log-in cannot.
    Ok(readable(rows.into_iter().map(|row| {
        let holding = holdings.remove(&row.id).transpose()?;
        let ssh = visited.remove(&row.id).transpose()?;
        row.into_machine(holding, ssh)
    })))
}

fn one(
    conn: &mut Conn,
    row: Option<MachineRow>,
    missing: impl FnOnce() -> String,
) -> Result<Machine, Failure> {
    let row = row.ok_or_else(|| Failure::NotFound(missing()))?;
    let holding = held(conn, &row.id)?.map(|(seat, reservation)| seat.holding(&reservation)).transpose()?;
    let ssh = ssh::of_machines(conn, std::slice::from_ref(&row))?.remove(&row.id).transpose()?;
    row.into_machine(holding, ssh)
}

/// The open assignment of one machine, with its reservation.
pub(crate) fn held(conn: &mut Conn, machine: &str) -> QueryResult<Option<(AssignmentRow, ReservationRow)>> {
    assignment::table
        .inner_join(reservation::table)
        .filter(assignment::machine_id.eq(machine).and(assignment::cleaned_at.is_null()))
        .select((AssignmentRow::as_select(), ReservationRow::as_select()))
        .first(conn)
        .optional()
}

pub(crate) fn by_id(conn: &mut Conn, id: &str) -> Result<Machine, Failure> {
    let row = machine::table.find(id).select(MachineRow::as_select()).first(conn).optional()?;
    one(conn, row, || format!("there is no machine `{id}`"))
}

pub(crate) fn by_name(conn: &mut Conn, name: &str) -> Result<Machine, Failure> {
    let row = machine::table
        .filter(machine::name.eq(name).and(machine::gone_at.is_null()))
        .select(MachineRow::as_select())
        .first(conn)
        .optional()?;
    one(conn, row, || format!("there is no machine `{name}`; GET /v1/machines lists them"))
}

/// The spec of a machine when it is newer than `generation`, and one that a machine in quarantine may hear.
pub(crate) fn news(
    conn: &mut Conn,
    epoch: Epoch,
    row: &MachineRow,
    generation: u64,
) -> Result<Option<Spec>, Failure> {
    let is_told = row.quarantine()?.is_none_or(Quarantine::is_told);
    if !is_told || row.generation as u64 <= generation {
        return Ok(None);
    }
    spec_of(conn, epoch, row).map(Some)
}

/// What a machine should have now.
pub(crate) fn spec_of(conn: &mut Conn, epoch: Epoch, row: &MachineRow) -> Result<Spec, Failure> {
    let live = assignment::table
        .inner_join(reservation::table)
        .filter(assignment::machine_id.eq(&row.id))
        .filter(assignment::cleaned_at.is_null().and(assignment::given_up_at.is_null()))
        .filter(reservation::ended_at.is_null())
        .select((AssignmentRow::as_select(), ReservationRow::as_select()))
        .load::<(AssignmentRow, ReservationRow)>(conn)?;
    let uids = text::<Uids>("machine.uids", &row.uids)?.range();
    let accounts = live.into_iter().map(account_spec).collect::<Result<_, _>>()?;
    Ok(Spec { epoch, generation: row.generation as u64, uids, accounts, follows: row.formers()? })
}

fn account_spec((seat, reservation): (AssignmentRow, ReservationRow)) -> Result<AccountSpec, Failure> {
    let account: StoredAccount = json("reservation.account", &reservation.account)?;
    Ok(AccountSpec {
        assignment: text("assignment.id", &seat.id)?,
        reservation: Some(text("reservation.id", &reservation.id)?),
        name: text("reservation.username", &reservation.username)?,
        uid: seat.uid as u32,
        password_hash: account.password_hash,
        ssh_keys: account.ssh_keys,
        shell: account.shell,
        groups: account.groups,
        sudo: account.sudo,
        not_after: time(reservation.expires_at)?,
    })
}
