//! How an agent becomes a machine: once, with a join token.

use super::adopt;
use super::event::{About, record};
use super::machine::{add_join_token, held, refuse_gone};
use super::replace::{GiveUp, give_up, replace};
use super::row::{MachineRow, micros, text};
use super::schema::{join_token, machine};
use super::{Conn, Failure, Store};
use diesel::prelude::*;
use model::{Incarnation, MachineId, MachineName, Timestamp};
use std::time::Duration;

#[derive(Debug)]
pub struct Enrolled {
    pub id: MachineId,
    pub machine: MachineName,
    pub incarnation: Incarnation,
    /// It was visited until now.
    pub goes_on: bool,
    /// Of the incarnation before.
    pub replaced: GiveUp,
}

impl Store {
    pub async fn join_token_add(
        &self,
        id: MachineId,
        digest: String,
        expires_at: Timestamp,
    ) -> Result<(), Failure> {
        self.write(move |conn| add_join_token(conn, &id.to_string(), digest, expires_at)).await
    }

    /// Refuses a token that nobody was given.
    pub async fn join_token_check(&self, token: String) -> Result<(), Failure> {
        self.read(move |conn| find(conn, &token).map(drop)).await
    }

    /// Binds the token's machine to a credential (both as SHA-256). The same credential may ask again, as when the
    /// first answer was lost; another one is refused.
    pub async fn machine_enrol(
        &self,
        token: String,
        credential: String,
        now: Timestamp,
    ) -> Result<Enrolled, Failure> {
        let ttl = self.ttl;
        self.write(move |conn| {
            let (machine_id, expires_at, used_by) = find(conn, &token)?;
            let row: MachineRow =
                machine::table.find(&machine_id).select(MachineRow::as_select()).first(conn)?;
            refuse_gone(&row)?;
            let id: MachineId = text("machine.id", &row.id)?;
            let goes_on = adopt::of(conn, id)?.is_some();
            match used_by {
                // Once another has enrolled as this machine, the former one's token is as old as the former one.
                Some(by) if by == credential && row.credential.as_ref() == Some(&by) => {
                    let incarnation = row.incarnation.as_deref().ok_or_else(unknown)?;
                    let incarnation = text("machine.incarnation", incarnation)?;
                    return enrolled(&row, incarnation, goes_on, GiveUp::default());
                }
                None if micros(now) < expires_at => {}
                Some(_) | None => return Err(unknown()),
            }
            diesel::update(join_token::table.find(&token))
                .set(join_token::credential.eq(&credential))
                .execute(conn)?;
            if let Some(incarnation) = row.incarnation.as_deref().filter(|_| goes_on) {
                adopt::adopted(conn, id, &row, &credential, now)?;
                let incarnation = text("machine.incarnation", incarnation)?;
                return enrolled(&row, incarnation, goes_on, GiveUp::default());
            }
            let incarnation = Incarnation::new(now);
            begin(conn, &row, &credential, incarnation)?;
            record(now, "machine.enrolled", About { machine: Some(&row.name), ..About::default() });
            let replaced = replace_holder(conn, &row, ttl, now)?;
            enrolled(&row, incarnation, goes_on, replaced)
        })
        .await
    }
}

fn unknown() -> Failure {
    Failure::Unauthorised("this join token is unknown, used or too old; register the machine anew".to_owned())
}

/// Of a join token: its machine, until when it is good, and by which credential it was used.
fn find(conn: &mut Conn, token: &str) -> Result<(String, i64, Option<String>), Failure> {
    join_token::table
        .find(token)
        .select((join_token::machine_id, join_token::expires_at, join_token::credential))
        .first(conn)
        .optional()?
        .ok_or_else(unknown)
}

fn enrolled(
    row: &MachineRow,
    incarnation: Incarnation,
    goes_on: bool,
    replaced: GiveUp,
) -> Result<Enrolled, Failure> {
    let (id, machine) = (text("machine.id", &row.id)?, text("machine.name", &row.name)?);
    Ok(Enrolled { id, machine, incarnation, goes_on, replaced })
}

/// Nothing that was seen before says anything about this incarnation: it has to be seen clean first. UIDs go on, since
/// its disk may be the old one.
fn begin(
    conn: &mut Conn,
    row: &MachineRow,
    credential: &str,
    incarnation: Incarnation,
) -> Result<(), Failure> {
    diesel::update(machine::table.find(&row.id))
        .set((
            machine::credential.eq(credential),
            machine::incarnation.eq(incarnation.to_string()),
            machine::seen_generation.eq(0),
            machine::seen_at.eq(None::<i64>),
            machine::problem.eq(None::<String>),
            machine::session.eq(None::<String>),
            machine::former_sessions.eq(""),
            machine::challenge.eq(None::<i64>),
            machine::has_returned.eq(0),
        ))
        .execute(conn)?;
    Ok(())
}

/// Whoever had the incarnation before gets another machine. The seat stays open until the new one was seen clean.
fn replace_holder(
    conn: &mut Conn,
    row: &MachineRow,
    ttl: Duration,
    now: Timestamp,
) -> Result<GiveUp, Failure> {
    let Some((seat, of)) = held(conn, &row.id)? else { return Ok(GiveUp::default()) };
    if row.incarnation.is_none() || seat.given_up_at.is_some() || of.ended_at.is_some() {
        return Ok(GiveUp::default());
    }
    let why = format!("machine `{}` was replaced by another under its name", row.name);
    give_up(conn, text("assignment.id", &seat.id)?, &why, now)?;
    replace(conn, &seat, &why, ttl, now)
}
