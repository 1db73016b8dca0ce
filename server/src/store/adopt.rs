//! Machines that are visited get an agent of their own, and are visited again.

use super::event::{About, record};
use super::machine::{add_join_token, by_id, by_name};
use super::report::{Received, receive_visit};
use super::row::{MachineRow, micros, number, time_option};
use super::schema::{join_token, machine, ssh_access};
use super::ssh::note;
use super::{Conn, Failure, Store};
use diesel::prelude::*;
use jiff::SignedDuration;
use model::adoption::{Adoption, ENROL_WITHIN, Stage};
use model::dial::Dials;
use model::machine::Machine;
use model::report::Report;
use model::{MachineId, Timestamp};

/// Why nobody is given a machine meanwhile.
const LEAVING: &str = "its agent is being taken away; then it is visited over SSH again";
/// A machine may be out of reach for long.
const FURTHER_NOTICE: SignedDuration = SignedDuration::from_hours(24 * 36_525);

#[derive(Debug, Queryable, Selectable)]
#[diesel(table_name = ssh_access)]
pub(crate) struct AdoptionRow {
    adopt_server: Option<String>,
    agent_installed_at: Option<i64>,
    adopted_at: Option<i64>,
    release_asked_at: Option<i64>,
    adopt_failures: i64,
    adopt_tried_at: Option<i64>,
    adopt_error: Option<String>,
    adopt_ca: Option<String>,
}

impl Store {
    /// Writes down that the machine is to have an agent. Asked again, it is tried again at once. By `ca` the agent knows
    /// the server.
    pub async fn machine_adopt(
        &self,
        name: &str,
        server: Dials,
        ca: Option<String>,
        now: Timestamp,
    ) -> Result<Machine, Failure> {
        let (name, server) = (name.to_owned(), server.to_string());
        self.write(move |conn| {
            let found = by_name(conn, &name)?;
            let ssh = found.ssh.as_ref().filter(|_| found.retired_at.is_none());
            let ssh = ssh.ok_or_else(|| {
                Failure::Conflict(format!("machine `{name}` is not visited over SSH: its agent speaks for it already"))
            })?;
            let is_same = ssh.adoption.as_ref().is_some_and(|adoption| (&adoption.server, &adoption.ca) == (&server, &ca));
            match ssh.stage() {
                Some(Stage::Adopted) if is_same => return Ok(found),
                Some(Stage::Adopted) => {
                    return Err(Failure::Conflict(format!(
                        "machine `{name}` has an agent that dials another server, or knows it by another CA: `berth machine release-agent {name}` first"
                    )));
                }
                Some(Stage::Releasing) => set_aside(conn, found.id, None, now)?,
                Some(Stage::Adopting) | None => {}
            }
            let is_on_its_way = is_same && ssh.stage() == Some(Stage::Adopting);
            wish(conn, found.id, Some((&server, ca.as_deref())), None)?;
            if !is_on_its_way {
                about(&name, "machine.adopting", &server, now);
            }
            by_id(conn, &found.id.to_string())
        })
        .await
    }

    /// Writes down that the machine's agent is to go. Nobody may be on it, and nobody is given it before that is done.
    pub async fn machine_release_agent(&self, name: &str, now: Timestamp) -> Result<Machine, Failure> {
        let name = name.to_owned();
        self.write(move |conn| {
            let found = by_name(conn, &name)?;
            let adoption = found.ssh.as_ref().and_then(|ssh| ssh.adoption.as_ref());
            let adoption = adoption.ok_or_else(|| {
                Failure::Conflict(format!("machine `{name}` has no agent that came over SSH: there is nothing to take away"))
            })?;
            if let Some(holding) = &found.holding {
                return Err(Failure::Conflict(format!(
                    "reservation {} is on machine `{name}`: cordon the machine, and release its agent when it is empty",
                    holding.reservation
                )));
            }
            // Nobody is to enrol any more.
            let unused = join_token::machine_id.eq(found.id.to_string()).and(join_token::credential.is_null());
            diesel::delete(join_token::table.filter(unused)).execute(conn)?;
            wish(conn, found.id, Some((&adoption.server, adoption.ca.as_deref())), Some(now))?;
            if adoption.stage != Stage::Releasing {
                set_aside(conn, found.id, Some(LEAVING), now)?;
                about(&name, "machine.releasing_agent", "", now);
            }
            by_id(conn, &found.id.to_string())
        })
        .await
    }

    /// With this token its agent may enrol. Those that came too late are forgotten.
    pub async fn adoption_token(
        &self,
        id: MachineId,
        digest: String,
        expires_at: Timestamp,
        now: Timestamp,
    ) -> Result<(), Failure> {
        self.write(move |conn| {
            if of(conn, id)?.is_none_or(|adoption| adoption.stage != Stage::Adopting) {
                return Err(Failure::NotFound("no agent is wanted there any more".to_owned()));
            }
            let late = join_token::credential.is_null().and(join_token::expires_at.le(micros(now)));
            diesel::delete(join_token::table.filter(join_token::machine_id.eq(id.to_string()).and(late)))
                .execute(conn)?;
            add_join_token(conn, &id.to_string(), digest, expires_at)
        })
        .await
    }

    /// Its agent was put there and started, as it was ordered.
    pub async fn agent_installed(
        &self,
        id: MachineId,
        order: Adoption,
        now: Timestamp,
    ) -> Result<(), Failure> {
        self.write(move |conn| {
            // It may have enrolled already.
            if still_wanted(conn, id, &order)?.is_some() {
                diesel::update(ssh_access::table.find(id.to_string()))
                    .set((
                        ssh_access::agent_installed_at.eq(micros(now)),
                        ssh_access::adopt_tried_at.eq(micros(now)),
                    ))
                    .execute(conn)?;
            }
            Ok(())
        })
        .await
    }

    /// Its agent was put there, and was not heard of.
    pub async fn agent_overdue(&self, id: MachineId, now: Timestamp) -> Result<(), Failure> {
        self.write(move |conn| {
            let Some(adoption) = of(conn, id)?.filter(|adoption| adoption.stage == Stage::Adopting) else {
                return Ok(());
            };
            let why = format!(
                "its agent runs there, but has not enrolled within {} s: does `{}` lead to this server from there?",
                ENROL_WITHIN.as_secs(),
                adoption.server
            );
            failed(conn, id, &adoption, &why, now)
        })
        .await
    }

    /// An agent could not be brought or taken away; the first time in a row is an event.
    pub async fn adoption_failed(
        &self,
        id: MachineId,
        order: Adoption,
        why: String,
        now: Timestamp,
    ) -> Result<(), Failure> {
        self.write(move |conn| match still_wanted(conn, id, &order)? {
            Some(adoption) => failed(conn, id, &adoption, &why, now),
            None => Ok(()),
        })
        .await
    }

    /// Its agent is gone, and what is there was seen by a visit.
    pub async fn agent_released(
        &self,
        id: MachineId,
        report: Report,
        now: Timestamp,
    ) -> Result<Received, Failure> {
        let epoch = self.epoch;
        self.write(move |conn| {
            if of(conn, id)?.is_some_and(|adoption| adoption.stage == Stage::Releasing) {
                wish(conn, id, None, None)?;
                set_aside(conn, id, None, now)?;
                speaks_for(conn, id, None)?;
                note(conn, id, "machine.agent_released", "", now)?;
            }
            receive_visit(conn, epoch, id, &report, now)
        })
        .await
    }
}

/// What is wanted of the machine's agent, if anything is known of one.
pub(crate) fn of(conn: &mut Conn, id: MachineId) -> Result<Option<Adoption>, Failure> {
    let row: Option<AdoptionRow> =
        ssh_access::table.find(id.to_string()).select(AdoptionRow::as_select()).first(conn).optional()?;
    row.map(AdoptionRow::into_adoption).transpose().map(Option::flatten)
}

/// What came of an order counts for that one only: while it was carried out, somebody may have given another.
fn still_wanted(conn: &mut Conn, id: MachineId, order: &Adoption) -> Result<Option<Adoption>, Failure> {
    let is_same = |wanted: &Adoption| {
        (wanted.stage, &wanted.server, &wanted.ca) == (order.stage, &order.server, &order.ca)
    };
    Ok(of(conn, id)?.filter(is_same))
}

/// Its agent enrols: the machine goes on as it was seen, with whoever is on it.
pub(crate) fn adopted(
    conn: &mut Conn,
    id: MachineId,
    row: &MachineRow,
    credential: &str,
    now: Timestamp,
) -> Result<(), Failure> {
    speaks_for(conn, id, Some(credential))?;
    diesel::update(ssh_access::table.find(&row.id))
        .set((
            ssh_access::adopted_at.eq(micros(now)),
            ssh_access::agent_installed_at.eq(None::<i64>),
            ssh_access::adopt_failures.eq(0),
            ssh_access::adopt_error.eq(None::<String>),
            ssh_access::failures.eq(0),
            ssh_access::error.eq(None::<String>),
        ))
        .execute(conn)?;
    about(&row.name, "machine.adopted", "", now);
    Ok(())
}

/// What is wanted from now on; whatever was tried before is forgotten.
fn wish(
    conn: &mut Conn,
    id: MachineId,
    server_and_ca: Option<(&str, Option<&str>)>,
    release_asked_at: Option<Timestamp>,
) -> Result<(), Failure> {
    diesel::update(ssh_access::table.find(id.to_string()))
        .set((
            ssh_access::adopt_server.eq(server_and_ca.map(|(server, _)| server)),
            ssh_access::adopt_ca.eq(server_and_ca.and_then(|(_, ca)| ca)),
            ssh_access::release_asked_at.eq(release_asked_at.map(micros)),
            ssh_access::adopted_at.eq(None::<i64>),
            ssh_access::agent_installed_at.eq(None::<i64>),
            ssh_access::adopt_failures.eq(0),
            ssh_access::adopt_tried_at.eq(None::<i64>),
            ssh_access::adopt_error.eq(None::<String>),
        ))
        .execute(conn)?;
    Ok(())
}

fn failed(
    conn: &mut Conn,
    id: MachineId,
    adoption: &Adoption,
    why: &str,
    now: Timestamp,
) -> Result<(), Failure> {
    diesel::update(ssh_access::table.find(id.to_string()))
        .set((
            ssh_access::agent_installed_at.eq(None::<i64>),
            ssh_access::adopt_failures.eq(ssh_access::adopt_failures + 1),
            ssh_access::adopt_tried_at.eq(micros(now)),
            ssh_access::adopt_error.eq(why),
        ))
        .execute(conn)?;
    if adoption.failures == 0 {
        note(conn, id, "machine.adoption_failed", why, now)?;
    }
    Ok(())
}

/// Whose letters count from now on.
fn speaks_for(conn: &mut Conn, id: MachineId, credential: Option<&str>) -> Result<(), Failure> {
    diesel::update(machine::table.find(id.to_string()))
        .set((
            machine::credential.eq(credential),
            machine::session.eq(None::<String>),
            machine::former_sessions.eq(""),
            machine::challenge.eq(None::<i64>),
            machine::has_returned.eq(0),
        ))
        .execute(conn)?;
    Ok(())
}

/// Until further notice, or no longer.
fn set_aside(conn: &mut Conn, id: MachineId, why: Option<&str>, now: Timestamp) -> Result<(), Failure> {
    let until = why.map(|_| micros(now + FURTHER_NOTICE));
    diesel::update(machine::table.find(id.to_string()))
        .set((machine::aside_until.eq(until), machine::aside_why.eq(why)))
        .execute(conn)?;
    Ok(())
}

fn about(name: &str, kind: &str, detail: &str, now: Timestamp) {
    record(now, kind, About { machine: Some(name), detail, ..About::default() });
}

impl AdoptionRow {
    pub(crate) fn into_adoption(self) -> Result<Option<Adoption>, Failure> {
        let Some(server) = self.adopt_server else { return Ok(None) };
        let stage = match (self.release_asked_at, self.adopted_at) {
            (Some(_), _) => Stage::Releasing,
            (None, Some(_)) => Stage::Adopted,
            (None, None) => Stage::Adopting,
        };
        Ok(Some(Adoption {
            server,
            ca: self.adopt_ca,
            stage,
            installed_at: time_option(self.agent_installed_at)?,
            failures: number("ssh_access.adopt_failures", self.adopt_failures)?,
            tried_at: time_option(self.adopt_tried_at)?,
            error: self.adopt_error,
        }))
    }
}
