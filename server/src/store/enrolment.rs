//! How an agent becomes a machine: once, with a join token.

use super::event::{About, record};
use super::machine::add_join_token;
use super::row::{micros, text};
use super::schema::{join_token, machine};
use super::{Failure, Store};
use diesel::prelude::*;
use model::{Incarnation, MachineId, MachineName, Timestamp};

#[derive(Debug)]
pub struct Enrolled {
    pub id: MachineId,
    pub machine: MachineName,
    pub incarnation: Incarnation,
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

    /// Binds the token's machine to a credential (both as SHA-256). The same credential may ask again, as when the
    /// first answer was lost; another one is refused.
    pub async fn machine_enrol(
        &self,
        token: String,
        credential: String,
        now: Timestamp,
    ) -> Result<Enrolled, Failure> {
        self.write(move |conn| {
            let unknown = || {
                Failure::Unauthorised(
                    "this join token is unknown, used or too old; register the machine anew".to_owned(),
                )
            };
            let (machine_id, expires_at, used_by): (String, i64, Option<String>) = join_token::table
                .find(&token)
                .select((join_token::machine_id, join_token::expires_at, join_token::credential))
                .first(conn)
                .optional()?
                .ok_or_else(unknown)?;
            let (name, incarnation, gone): (String, Option<String>, Option<i64>) = machine::table
                .find(&machine_id)
                .select((machine::name, machine::incarnation, machine::gone_at))
                .first(conn)?;
            if gone.is_some() {
                return Err(Failure::Gone(format!("machine `{name}` is no longer wanted")));
            }
            let incarnation = match (used_by, incarnation) {
                (Some(by), Some(incarnation)) if by == credential => {
                    text("machine.incarnation", &incarnation)?
                }
                (None, _) if micros(now) < expires_at => Incarnation::new(now),
                (Some(_), _) | (None, _) => return Err(unknown()),
            };
            diesel::update(join_token::table.find(&token))
                .set(join_token::credential.eq(&credential))
                .execute(conn)?;
            diesel::update(machine::table.find(&machine_id))
                .set((machine::credential.eq(&credential), machine::incarnation.eq(incarnation.to_string())))
                .execute(conn)?;
            record(conn, now, "machine.enrolled", About { machine: Some(&name), ..About::default() })?;
            Ok(Enrolled {
                id: text("machine.id", &machine_id)?,
                machine: text("machine.name", &name)?,
                incarnation,
            })
        })
        .await
    }
}
