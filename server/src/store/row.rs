//! Rows and the domain types they stand for.

use super::Failure;
use super::schema::{assignment, machine, reservation};
use diesel::prelude::*;
use model::account::{PasswordHash, Shell, SshKey};
use model::machine::{Holding, Machine, SetAside};
use model::report::Facts;
use model::reservation::{Assignment, EndedBy, Owner, Reservation};
use model::session::{Claim, Quarantine};
use model::spec::Former;
use model::ssh::Ssh;
use model::wire::CouldLogIn;
use model::{GroupName, Timestamp};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

#[derive(Debug, Clone, Queryable, Selectable, Insertable)]
#[diesel(table_name = machine)]
pub(crate) struct MachineRow {
    pub id: String,
    pub name: String,
    pub host: String,
    pub port: i64,
    pub labels: String,
    pub pool: Option<String>,
    pub created_at: i64,
    pub incarnation: Option<String>,
    pub credential: Option<String>,
    pub next_uid: i64,
    pub generation: i64,
    pub seen_generation: i64,
    pub seen_at: Option<i64>,
    pub problem: Option<String>,
    pub facts: String,
    pub cordoned_at: Option<i64>,
    pub retired_at: Option<i64>,
    pub aside_until: Option<i64>,
    pub aside_why: Option<String>,
    pub failures: i64,
    pub gone_at: Option<i64>,
    pub uids: String,
    pub session: Option<String>,
    /// With blanks between.
    pub former_sessions: String,
    pub challenge: Option<i64>,
    pub has_returned: i64,
    pub quarantined: Option<String>,
    /// What the database was before, as JSON.
    pub follows: String,
    /// As JSON.
    pub listing: Option<String>,
    pub listed_address: Option<String>,
}

#[derive(Debug, Clone, Queryable, Selectable, Insertable)]
#[diesel(table_name = reservation)]
pub(crate) struct ReservationRow {
    pub id: String,
    pub username: String,
    pub count: i64,
    pub labels: String,
    pub named: i64,
    pub account: String,
    pub created_at: i64,
    pub expires_at: i64,
    pub ended_at: Option<i64>,
    pub ended_by: Option<String>,
    pub reason: Option<String>,
    pub sudo: i64,
    pub on_failure: String,
    pub account_id: Option<String>,
    pub account_name: Option<String>,
}

#[derive(Debug, Clone, Queryable, Selectable, Insertable)]
#[diesel(table_name = assignment)]
pub(crate) struct AssignmentRow {
    pub id: String,
    pub reservation_id: String,
    pub machine_id: String,
    pub uid: i64,
    pub created_at: i64,
    pub ready_at: Option<i64>,
    pub refused_at: Option<i64>,
    pub given_up_at: Option<i64>,
    pub cleaned_at: Option<i64>,
    pub attempts: i64,
    pub last_error: Option<String>,
    pub cleaning: Option<String>,
}

/// What a reservation's accounts are made of; its hash is forgotten when it ends.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct StoredAccount {
    pub password_hash: Option<PasswordHash>,
    pub ssh_keys: Vec<SshKey>,
    pub shell: Option<Shell>,
    pub groups: Vec<GroupName>,
    pub sudo: bool,
}

pub(crate) fn micros(at: Timestamp) -> i64 {
    at.as_microsecond()
}

pub(crate) fn time(micros: i64) -> Result<Timestamp, Failure> {
    Timestamp::from_microsecond(micros).map_err(|_| Failure::Internal(format!("{micros} is no time")))
}

pub(crate) fn time_option(micros: Option<i64>) -> Result<Option<Timestamp>, Failure> {
    micros.map(time).transpose()
}

pub(crate) fn text<T: std::str::FromStr>(column: &str, text: &str) -> Result<T, Failure> {
    text.parse().map_err(|_| Failure::Internal(format!("column `{column}` holds `{text}`")))
}

pub(crate) fn json<T: DeserializeOwned>(column: &str, text: &str) -> Result<T, Failure> {
    serde_json::from_str(text).map_err(|error| Failure::Internal(format!("column `{column}`: {error}")))
}

pub(crate) fn to_json(value: &impl Serialize) -> Result<String, Failure> {
    serde_json::to_string(value).map_err(|error| Failure::Internal(format!("cannot write JSON: {error}")))
}

/// A page of what is asked for. What cannot be read is left out, and others follow all the same.
#[derive(Debug)]
pub struct Rows<T> {
    pub items: Vec<T>,
    pub is_last: bool,
}

impl<T> Rows<T> {
    /// What can be read of the rows that were found, of which no more than `limit` were asked for.
    pub(crate) fn of<R>(
        found: Vec<R>,
        limit: u32,
        read: impl FnOnce(Vec<R>) -> Result<Vec<T>, Failure>,
    ) -> Result<Self, Failure> {
        let is_short = found.len() < limit as usize;
        let items = read(found)?;
        // After none that could be read nobody could go on.
        Ok(Self { is_last: is_short || items.is_empty(), items })
    }
}

/// Of many rows, those that can be read. One that cannot is left out and logged: it must not stop the work for all
/// others.
pub(crate) fn readable<T>(rows: impl Iterator<Item = Result<T, Failure>>) -> Vec<T> {
    rows.filter_map(|row| {
        row.inspect_err(|failure| tracing::error!(%failure, "a row cannot be read and is left out")).ok()
    })
    .collect()
}

pub(crate) fn number<T: TryFrom<i64>>(column: &str, value: i64) -> Result<T, Failure> {
    T::try_from(value).map_err(|_| Failure::Internal(format!("column `{column}` holds {value}")))
}

impl MachineRow {
    /// Who speaks for it.
    pub(crate) fn claim(&self) -> Claim {
        Claim {
            session: self.session.clone(),
            formers: self.former_sessions.split_whitespace().map(str::to_owned).collect(),
            challenge: self.challenge.map(|challenge| challenge as u64),
            has_returned: self.has_returned != 0,
        }
    }

    pub(crate) fn quarantine(&self) -> Result<Option<Quarantine>, Failure> {
        self.quarantined.as_deref().map(|name| text("machine.quarantined", name)).transpose()
    }

    pub(crate) fn formers(&self) -> Result<Vec<Former>, Failure> {
        json("machine.follows", &self.follows)
    }

    pub(crate) fn into_machine(self, holding: Option<Holding>, ssh: Option<Ssh>) -> Result<Machine, Failure> {
        let quarantined = self.quarantine()?;
        let set_aside = match (self.aside_until, self.aside_why) {
            (Some(until), why) => Some(SetAside { until: time(until)?, why: why.unwrap_or_default() }),
            (None, _) => None,
        };
        Ok(Machine {
            id: text("machine.id", &self.id)?,
            name: text("machine.name", &self.name)?,
            host: self.host,
            port: number("machine.port", self.port)?,
            labels: json("machine.labels", &self.labels)?,
            pool: self.pool.map(|pool| text("machine.pool", &pool)).transpose()?,
            created_at: time(self.created_at)?,
            incarnation: self.incarnation.map(|id| text("machine.incarnation", &id)).transpose()?,
            uids: text("machine.uids", &self.uids)?,
            next_uid: number("machine.next_uid", self.next_uid)?,
            generation: number("machine.generation", self.generation)?,
            seen_generation: number("machine.seen_generation", self.seen_generation)?,
            seen_at: time_option(self.seen_at)?,
            problem: self.problem,
            facts: json("machine.facts", &self.facts)?,
            cordoned_at: time_option(self.cordoned_at)?,
            retired_at: time_option(self.retired_at)?,
            quarantined,
            set_aside,
            failures: number("machine.failures", self.failures)?,
            holding,
            ssh,
            listing: self.listing.map(|listing| json("machine.listing", &listing)).transpose()?,
        })
    }
}

impl AssignmentRow {
    pub(crate) fn new(reservation: &str, seat: &Assignment) -> Self {
        Self {
            id: seat.id.to_string(),
            reservation_id: reservation.to_owned(),
            machine_id: seat.machine.to_string(),
            uid: i64::from(seat.uid),
            created_at: micros(seat.created_at),
            ready_at: None,
            refused_at: None,
            given_up_at: None,
            cleaned_at: None,
            attempts: 0,
            last_error: None,
            cleaning: None,
        }
    }

    pub(crate) fn holding(&self, reservation: &ReservationRow) -> Result<Holding, Failure> {
        Ok(Holding {
            assignment: text("assignment.id", &self.id)?,
            reservation: text("reservation.id", &reservation.id)?,
            since: time(self.created_at)?,
            expires_at: time(reservation.expires_at)?,
            ended_at: time_option(reservation.ended_at.into_iter().chain(self.given_up_at).min())?,
            sudo: reservation.sudo != 0,
            on_failure: text("reservation.on_failure", &reservation.on_failure)?,
            ready: self.ready_at.is_some(),
            refused: self.refused_at.is_some(),
            attempts: number("assignment.attempts", self.attempts)?,
            last_error: self.last_error.clone(),
        })
    }

    pub(crate) fn could_log_in(&self, of: &ReservationRow) -> Result<CouldLogIn, Failure> {
        Ok(CouldLogIn {
            username: text("reservation.username", &of.username)?,
            uid: number("assignment.uid", self.uid)?,
            reservation: text("reservation.id", &of.id)?,
            account: of
                .account_name
                .as_deref()
                .map(|name| text("reservation.account_name", name))
                .transpose()?,
            since: time(self.created_at)?,
            until: time_option(self.cleaned_at)?,
        })
    }

    pub(crate) fn into_assignment(self, machine: MachineRow) -> Result<Assignment, Failure> {
        let facts: Facts = json("machine.facts", &machine.facts)?;
        Ok(Assignment {
            id: text("assignment.id", &self.id)?,
            machine: text("machine.id", &machine.id)?,
            machine_name: text("machine.name", &machine.name)?,
            in_sync: self.cleaned_at.is_some() || machine.seen_generation >= machine.generation,
            host: machine.host,
            port: number("machine.port", machine.port)?,
            uid: number("assignment.uid", self.uid)?,
            created_at: time(self.created_at)?,
            ready_at: time_option(self.ready_at)?,
            given_up_at: time_option(self.given_up_at)?,
            cleaned_at: time_option(self.cleaned_at)?,
            last_error: self.last_error,
            ends_by: facts.ends_by.filter(|_| self.cleaned_at.is_none()),
        })
    }
}

impl ReservationRow {
    pub(crate) fn into_reservation(self, seats: Vec<Assignment>) -> Result<Reservation, Failure> {
        let ended_by = match self.ended_by.as_deref() {
            None => None,
            Some("released") => Some(EndedBy::Released),
            Some("expired") => Some(EndedBy::Expired),
            Some(_) => Some(EndedBy::Failed(self.reason.unwrap_or_default())),
        };
        let owner = match (&self.account_id, &self.account_name) {
            (Some(id), Some(name)) => Some(Owner {
                id: text("reservation.account_id", id)?,
                name: text("reservation.account_name", name)?,
            }),
            _ => None,
        };
        Ok(Reservation {
            id: text("reservation.id", &self.id)?,
            owner,
            username: text("reservation.username", &self.username)?,
            count: number("reservation.count", self.count)?,
            labels: json("reservation.labels", &self.labels)?,
            named: self.named != 0,
            sudo: self.sudo != 0,
            on_failure: text("reservation.on_failure", &self.on_failure)?,
            created_at: time(self.created_at)?,
            expires_at: time(self.expires_at)?,
            ended_at: time_option(self.ended_at)?,
            ended_by,
            seats,
        })
    }
}
