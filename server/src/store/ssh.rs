//! How machines without an agent of their own are reached, and what visits came to.

use super::adopt::{self, AdoptionRow};
use super::claim;
use super::event::{About, record};
use super::machine::{by_id, spec_of};
use super::report::{Received, receive_visit};
use super::row::{MachineRow, micros, number, readable, text, time_option};
use super::schema::{machine, ssh_access};
use super::{Conn, Failure, Store};
use diesel::prelude::*;
use model::adoption::{Adoption, Stage};
use model::report::Report;
use model::session::Quarantine;
use model::spec::Spec;
use model::ssh::{AuthKind, AwaitedKey, Ssh};
use model::{MachineId, MachineName, Timestamp};
use std::collections::HashMap;

/// As it was asked for. What is secret has been sealed.
pub struct NewAccess {
    pub user: String,
    pub auth: AuthKind,
    pub key_file: Option<String>,
    pub sealed: Sealed,
    /// Absent: the one known before, if any.
    pub host_key: Option<HostKeyChange>,
    pub jump: Option<MachineName>,
}

/// Seals for the machine of this id; the store knows no keys.
pub(crate) type Sealed = Box<dyn FnOnce(MachineId) -> String + Send>;

/// What somebody says of a machine's host key.
pub enum HostKeyChange {
    Pin { line: String, fingerprint: String },
    Await(AwaitedKey),
}

/// What it takes to log in to one machine.
pub struct Access {
    pub machine: MachineId,
    pub host: String,
    pub port: u16,
    pub user: String,
    pub auth: AuthKind,
    pub key_file: Option<String>,
    pub sealed: String,
    pub host_key: Option<String>,
}

/// All that a visit needs to know.
pub struct Itinerary {
    /// The machine, and those through which it is reached, the nearest to us last.
    pub accesses: Vec<Access>,
    pub spec: Spec,
    pub adoption: Option<Adoption>,
}

/// A machine may be behind another one, and that one behind another, but not for ever.
const MOST_JUMPS: usize = 4;

#[derive(Debug, Clone, Queryable, Selectable, Insertable, AsChangeset)]
#[diesel(table_name = ssh_access)]
#[diesel(treat_none_as_null = true)]
pub(crate) struct SshRow {
    machine_id: String,
    username: String,
    auth: String,
    key_file: Option<String>,
    sealed: String,
    host_key: Option<String>,
    awaited_host_key: Option<String>,
    offered_host_key: Option<String>,
    jump: Option<String>,
    failures: i64,
    tried_at: Option<i64>,
    error: Option<String>,
}

impl Store {
    /// What to take along on a visit.
    pub async fn itinerary(&self, id: MachineId) -> Result<Itinerary, Failure> {
        let epoch = self.epoch;
        self.read(move |conn| {
            let row: MachineRow =
                machine::table.find(id.to_string()).select(MachineRow::as_select()).first(conn)?;
            let spec = spec_of(conn, epoch, &row)?;
            let adoption = adopt::of(conn, id)?;
            if adoption.as_ref().is_some_and(|adoption| adoption.stage == Stage::Adopted) {
                return Err(Failure::NotFound(format!("machine `{}` has an agent of its own", row.name)));
            }
            Ok(Itinerary { accesses: accesses(conn, row)?, spec, adoption })
        })
        .await
    }

    /// Records what a visit saw.
    pub async fn visit_made(
        &self,
        id: MachineId,
        report: Report,
        now: Timestamp,
    ) -> Result<Received, Failure> {
        let epoch = self.epoch;
        self.write(move |conn| {
            tried(conn, id, 0, None, now)?;
            receive_visit(conn, epoch, id, &report, now)
        })
        .await
    }

    /// The host showed this key before anything else: it is pinned if it is the one awaited, and offered otherwise.
    pub async fn host_key_seen(
        &self,
        id: MachineId,
        line: String,
        fingerprint: String,
        now: Timestamp,
    ) -> Result<(), Failure> {
        self.write(move |conn| {
            let Some(row) = access(conn, &id.to_string())? else { return Ok(()) };
            let is_awaited = match row.awaited()? {
                Some(AwaitedKey::New) => true,
                Some(AwaitedKey::Fingerprint(awaited)) => awaited == fingerprint,
                None => false,
            };
            if row.host_key.is_none() && is_awaited {
                return pin(conn, id, &line, &fingerprint, now);
            }
            diesel::update(ssh_access::table.find(id.to_string()))
                .set((
                    ssh_access::offered_host_key.eq(&line),
                    ssh_access::awaited_host_key.eq(None::<String>),
                ))
                .execute(conn)?;
            tried(conn, id, 0, None, now)?;
            note(conn, id, "machine.host_key_offered", &fingerprint, now)
        })
        .await
    }

    /// Another key than the pinned one was shown: nothing goes there until somebody says that it is right.
    pub async fn host_key_changed(
        &self,
        id: MachineId,
        line: String,
        fingerprint: String,
        now: Timestamp,
    ) -> Result<(), Failure> {
        self.write(move |conn| {
            diesel::update(ssh_access::table.find(id.to_string()))
                .set((ssh_access::offered_host_key.eq(&line), ssh_access::tried_at.eq(micros(now))))
                .execute(conn)?;
            diesel::update(machine::table.find(id.to_string()))
                .set(machine::quarantined.eq(Quarantine::HostKey.name()))
                .execute(conn)?;
            note(conn, id, "machine.quarantined", &format!("its host key is now {fingerprint}"), now)
        })
        .await
    }

    /// A visit came to nothing; the first time in a row is an event.
    pub async fn visit_failed(&self, id: MachineId, why: String, now: Timestamp) -> Result<(), Failure> {
        self.write(move |conn| {
            let Some(row) = access(conn, &id.to_string())? else { return Ok(()) };
            // Its agent has enrolled meanwhile, and lets nobody else work there.
            if adopt::of(conn, id)?.is_some_and(|adoption| adoption.stage == Stage::Adopted) {
                return Ok(());
            }
            tried(conn, id, row.failures + 1, Some(&why), now)?;
            if row.failures == 0 {
                note(conn, id, "machine.visit_failed", &why, now)?;
            }
            Ok(())
        })
        .await
    }

    /// Machines that are visited, for a sweep.
    pub async fn machines_visited(&self) -> Result<Vec<MachineId>, Failure> {
        self.read(|conn| {
            let ids: Vec<String> = ssh_access::table.select(ssh_access::machine_id).load(conn)?;
            Ok(readable(ids.iter().map(|id| text("ssh_access.machine_id", id))))
        })
        .await
    }
}

/// Obeys somebody's word about a host key. A quarantine for want of one ends with it.
pub(crate) fn change_host_key(
    conn: &mut Conn,
    id: MachineId,
    change: HostKeyChange,
    now: Timestamp,
) -> Result<(), Failure> {
    match change {
        HostKeyChange::Pin { line, fingerprint } => pin(conn, id, &line, &fingerprint, now),
        HostKeyChange::Await(awaited) => {
            diesel::update(ssh_access::table.find(id.to_string()))
                .set((
                    ssh_access::host_key.eq(None::<String>),
                    ssh_access::awaited_host_key.eq(awaited.to_string()),
                    ssh_access::offered_host_key.eq(None::<String>),
                    ssh_access::failures.eq(0),
                    ssh_access::error.eq(None::<String>),
                ))
                .execute(conn)?;
            Ok(end_quarantine(conn, id)?)
        }
    }
}

/// Pins a key, and ends the quarantine for want of it.
fn pin(conn: &mut Conn, id: MachineId, line: &str, fingerprint: &str, now: Timestamp) -> Result<(), Failure> {
    diesel::update(ssh_access::table.find(id.to_string()))
        .set((
            ssh_access::host_key.eq(line),
            ssh_access::awaited_host_key.eq(None::<String>),
            ssh_access::offered_host_key.eq(None::<String>),
            ssh_access::failures.eq(0),
            ssh_access::error.eq(None::<String>),
        ))
        .execute(conn)?;
    end_quarantine(conn, id)?;
    note(conn, id, "machine.host_key_pinned", fingerprint, now)
}

fn end_quarantine(conn: &mut Conn, id: MachineId) -> QueryResult<()> {
    let strange = machine::quarantined.eq(Quarantine::HostKey.name());
    diesel::update(machine::table.filter(machine::id.eq(id.to_string()).and(strange)))
        .set(machine::quarantined.eq(None::<String>))
        .execute(conn)
        .map(|_| ())
}

/// Writes down how a machine is reached, or how it is from now on.
pub(crate) fn put(conn: &mut Conn, id: MachineId, new: NewAccess) -> Result<(), Failure> {
    let key = id.to_string();
    let jump = new.jump.map(|jump| jump_id(conn, &key, &jump)).transpose()?;
    let there = access(conn, &key)?;
    let (host_key, awaited_host_key) = match new.host_key {
        Some(HostKeyChange::Pin { line, .. }) => (Some(line), None),
        Some(HostKeyChange::Await(awaited)) => (None, Some(awaited.to_string())),
        None => {
            there.as_ref().map_or((None, None), |row| (row.host_key.clone(), row.awaited_host_key.clone()))
        }
    };
    let row = SshRow {
        machine_id: key.clone(),
        username: new.user,
        auth: new.auth.name().to_owned(),
        key_file: new.key_file,
        sealed: (new.sealed)(id),
        host_key,
        awaited_host_key,
        offered_host_key: None,
        jump,
        failures: 0,
        tried_at: None,
        error: None,
    };
    match there {
        Some(_) => diesel::update(ssh_access::table.find(key)).set(row).execute(conn)?,
        None => diesel::insert_into(ssh_access::table).values(row).execute(conn)?,
    };
    Ok(())
}

/// Credentials of a machine that is gone are of no use to anybody.
pub(crate) fn forget(conn: &mut Conn, id: MachineId) -> QueryResult<()> {
    claim::forget(conn, id)?;
    diesel::delete(ssh_access::table.find(id.to_string())).execute(conn).map(|_| ())
}

/// The machines that are reached through this one.
pub(crate) fn behind(conn: &mut Conn, id: MachineId) -> QueryResult<Vec<String>> {
    ssh_access::table
        .inner_join(machine::table.on(machine::id.eq(ssh_access::machine_id)))
        .filter(ssh_access::jump.eq(id.to_string()).and(machine::gone_at.is_null()))
        .select(machine::name)
        .load(conn)
}

fn jump_id(conn: &mut Conn, of: &str, name: &MachineName) -> Result<String, Failure> {
    let found: Option<String> = machine::table
        .inner_join(ssh_access::table.on(ssh_access::machine_id.eq(machine::id)))
        .filter(machine::name.eq(name.as_str()).and(machine::gone_at.is_null()))
        .select(machine::id)
        .first(conn)
        .optional()?;
    let found = found.ok_or_else(|| {
        Failure::Conflict(format!("`jump`: there is no machine `{name}` with SSH; register it first"))
    })?;
    let mut at = Some(found.clone());
    for _ in 0..MOST_JUMPS {
        match at {
            None => return Ok(found),
            Some(id) if id == of => break,
            Some(id) => at = access(conn, &id)?.and_then(|row| row.jump),
        }
    }
    Err(Failure::Conflict(format!(
        "`jump`: through `{name}` it is reached by itself, or over too many others"
    )))
}

/// How often in a row that went wrong, and how the last time.
fn tried(
    conn: &mut Conn,
    id: MachineId,
    failures: i64,
    error: Option<&str>,
    now: Timestamp,
) -> QueryResult<()> {
    diesel::update(ssh_access::table.find(id.to_string()))
        .set((
            ssh_access::failures.eq(failures),
            ssh_access::tried_at.eq(micros(now)),
            ssh_access::error.eq(error),
        ))
        .execute(conn)
        .map(|_| ())
}

fn access(conn: &mut Conn, machine: &str) -> QueryResult<Option<SshRow>> {
    ssh_access::table.find(machine).select(SshRow::as_select()).first(conn).optional()
}

fn accesses(conn: &mut Conn, row: MachineRow) -> Result<Vec<Access>, Failure> {
    let mut accesses = Vec::new();
    let mut next = Some(row);
    while let Some(row) = next.take().filter(|_| accesses.len() <= MOST_JUMPS) {
        let Some(ssh) = access(conn, &row.id)? else {
            return Err(Failure::NotFound(format!("machine `{}` is not reached over SSH", row.name)));
        };
        if let Some(jump) = &ssh.jump {
            next = Some(machine::table.find(jump).select(MachineRow::as_select()).first(conn)?);
        }
        accesses.push(ssh.into_access(row)?);
    }
    Ok(accesses)
}

/// How each of these is reached over SSH.
pub(crate) fn of_machines(
    conn: &mut Conn,
    rows: &[MachineRow],
) -> Result<HashMap<String, Result<Ssh, Failure>>, Failure> {
    // Machines of a pool have agents; their lists and looks cost no query.
    let ids: Vec<&str> = rows.iter().filter(|row| row.pool.is_none()).map(|row| row.id.as_str()).collect();
    if ids.is_empty() {
        return Ok(HashMap::new());
    }
    let jumps = diesel::alias!(machine as jumps);
    let rows: Vec<(SshRow, AdoptionRow, Option<String>)> = ssh_access::table
        .left_join(jumps.on(jumps.field(machine::id).nullable().eq(ssh_access::jump)))
        .filter(ssh_access::machine_id.eq_any(ids))
        .select((SshRow::as_select(), AdoptionRow::as_select(), jumps.field(machine::name).nullable()))
        .load(conn)?;
    let ssh = |(row, adoption, jump): (SshRow, AdoptionRow, _)| {
        (row.machine_id.clone(), adoption.into_adoption().and_then(|adoption| row.into_ssh(jump, adoption)))
    };
    Ok(rows.into_iter().map(ssh).collect())
}

impl SshRow {
    fn awaited(&self) -> Result<Option<AwaitedKey>, Failure> {
        self.awaited_host_key
            .as_deref()
            .map(|awaited| text("ssh_access.awaited_host_key", awaited))
            .transpose()
    }

    fn into_ssh(self, jump: Option<String>, adoption: Option<Adoption>) -> Result<Ssh, Failure> {
        let awaited = self.awaited()?;
        Ok(Ssh {
            user: self.username,
            auth: text("ssh_access.auth", &self.auth)?,
            host_key: self.host_key,
            awaited,
            offered: self.offered_host_key,
            jump: jump.map(|name| text("machine.name", &name)).transpose()?,
            failures: number("ssh_access.failures", self.failures)?,
            tried_at: time_option(self.tried_at)?,
            error: self.error,
            adoption,
        })
    }

    fn into_access(self, of: MachineRow) -> Result<Access, Failure> {
        Ok(Access {
            machine: text("machine.id", &of.id)?,
            host: of.host,
            port: number("machine.port", of.port)?,
            user: self.username,
            auth: text("ssh_access.auth", &self.auth)?,
            key_file: self.key_file,
            sealed: self.sealed,
            host_key: self.host_key,
        })
    }
}

pub(crate) fn note(
    conn: &mut Conn,
    id: MachineId,
    kind: &str,
    detail: &str,
    now: Timestamp,
) -> Result<(), Failure> {
    let found = by_id(conn, &id.to_string())?;
    record(now, kind, About { machine: Some(found.name.as_str()), detail, ..About::default() });
    Ok(())
}
