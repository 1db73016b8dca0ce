//! Machines that are only listed: media servers, and what was seen of them.

use super::event::{About, record};
use super::leaving::{go, note};
use super::machine::{NewMachine, by_id, insert, with_holdings};
use super::row::{MachineRow, text, to_json};
use super::schema::machine;
use super::{Conn, Failure, Store};
use crate::secret;
use diesel::prelude::*;
use model::listing::{Listing, MediaServer, Probe};
use model::machine::{Machine, Uids};
use model::{MachineId, MachineName, Timestamp};

impl Store {
    pub async fn media_server_create(&self, server: MediaServer, now: Timestamp) -> Result<Machine, Failure> {
        self.write(move |conn| {
            if find(conn, &server.ip)?.is_some() {
                return Err(Failure::Conflict(format!("there is a server `{}` already", server.ip)));
            }
            let (host, port) = server.place();
            let new = NewMachine {
                name: free_name(conn, &server)?,
                host,
                port,
                labels: server.labels(),
                pool: None,
                uids: Uids::default(),
                join: None,
                ssh: None,
                listing: Some(Listing { media_server: Some(server), probe: None }),
            };
            let row = insert(conn, new, now)?;
            row.into_machine(None, None)
        })
        .await
    }

    pub async fn media_server_get(&self, ip: &str) -> Result<Machine, Failure> {
        let ip = ip.to_owned();
        self.read(move |conn| found(conn, &ip)).await
    }

    /// All of them, in the order they were registered in.
    pub async fn media_server_list(&self) -> Result<Vec<Machine>, Failure> {
        self.read(|conn| {
            let rows = machine::table
                .filter(machine::gone_at.is_null().and(machine::listed_address.is_not_null()))
                .order(machine::id)
                .select(MachineRow::as_select())
                .load(conn)?;
            with_holdings(conn, rows)
        })
        .await
    }

    /// Nobody can be on it, so that it is gone at once.
    pub async fn media_server_delete(&self, ip: &str, now: Timestamp) -> Result<Machine, Failure> {
        let ip = ip.to_owned();
        self.write(move |conn| {
            let found = found(conn, &ip)?;
            go(conn, found.id, now)?;
            note(&found, "machine.retired", now);
            Ok(found)
        })
        .await
    }

    /// What was seen of a listed machine: a change is a fact, the same again is none.
    pub async fn machine_probed(&self, id: MachineId, up: bool, now: Timestamp) -> Result<(), Failure> {
        self.write(move |conn| {
            let found = by_id(conn, &id.to_string())?;
            let Some(mut listing) = found.listing else { return Ok(()) };
            let Some(probe) = Probe::news(listing.probe, up, now) else { return Ok(()) };
            listing.probe = Some(probe);
            let still_there =
                machine::table.filter(machine::id.eq(id.to_string()).and(machine::gone_at.is_null()));
            let changed =
                diesel::update(still_there).set(machine::listing.eq(to_json(&listing)?)).execute(conn)?;
            if changed > 0 {
                let kind = if up { "machine.up" } else { "machine.down" };
                record(now, kind, About { machine: Some(found.name.as_str()), ..About::default() });
            }
            Ok(())
        })
        .await
    }
}

fn found(conn: &mut Conn, ip: &str) -> Result<Machine, Failure> {
    let missing = || Failure::NotFound(format!("there is no server `{ip}`; GET /server/getAll lists them"));
    find(conn, ip)?.ok_or_else(missing)?.into_machine(None, None)
}

fn find(conn: &mut Conn, ip: &str) -> QueryResult<Option<MachineRow>> {
    machine::table
        .filter(machine::listed_address.eq(ip).and(machine::gone_at.is_null()))
        .select(MachineRow::as_select())
        .first(conn)
        .optional()
}

/// That of its address, with a part of a digest where another machine is called so, whatever that is.
fn free_name(conn: &mut Conn, server: &MediaServer) -> Result<MachineName, Failure> {
    let name = server.machine_name();
    let mut free = name.clone();
    let mut digest = secret::digest(&server.ip);
    while is_taken(conn, &free)? {
        free = format!("{name}-{}", &digest[..8]);
        digest = secret::digest(&digest);
    }
    text("machine.name", &free)
}

fn is_taken(conn: &mut Conn, name: &str) -> QueryResult<bool> {
    let of_name = machine::table.filter(machine::name.eq(name).and(machine::gone_at.is_null()));
    Ok(of_name.count().get_result::<i64>(conn)? > 0)
}
