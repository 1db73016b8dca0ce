//! Machines: registered, listed, changed, retired.

use super::{App, Desk, MachineFilter, Refusal, access, view};
use crate::secret;
use crate::store::{MachineChange, NewMachine, Rows};
use crate::tls;
use jiff::SignedDuration;
use model::allocate::{is_free, without_spares};
use model::dial::Dials;
use model::machine::{Machine, Uids};
use model::phase::{MachineState, machine_state};
use model::wire::{
    Availability, CleaningView, CouldLogIn, MachineAdopt, MachineCreate, MachineCreated, MachinePatch,
    MachineView, Page,
};
use model::{Invalid, Labels, MachineName, PoolName, Timestamp};
use std::collections::BTreeMap;

/// How long a person has to start the agent of a machine just registered.
const JOIN_WITHIN: SignedDuration = SignedDuration::from_hours(24);
/// Rows read at a time where every machine counts.
const WHOLE_PAGE: u32 = 1000;

impl Desk {
    pub async fn machine_create(
        &self,
        body: MachineCreate,
        key: Option<String>,
    ) -> Result<MachineCreated, Refusal> {
        let key = self.keyed(key, "machine", &without_secrets(&body))?;
        let now = self.hub().clock.now();
        let join_token = secret::join_token();
        let is_visited = body.ssh.is_some();
        let ssh = match body.ssh {
            Some(access) => Some(access::parse(access, &body.host, self.hub().visitor()).await?),
            None => None,
        };
        let new = NewMachine {
            name: body.name.parse::<MachineName>().map_err(|why| Invalid::new("name", why))?,
            host: checked_host(body.host)?,
            port: checked_port(body.port)?,
            labels: body.labels,
            pool: None,
            uids: parse_uids(body.uids.as_deref())?,
            ssh,
            listing: None,
            join: (!is_visited).then(|| (secret::digest(&join_token), now + JOIN_WITHIN)),
        };
        let (machine, is_new) = self.store.machine_create(new, key, now).await?;
        self.hub().queue.add(machine.id);
        let machine = self.machine_view(machine, now);
        Ok(MachineCreated { machine, join_token: (is_new && !is_visited).then_some(join_token) })
    }

    pub async fn machine_list(&self, filter: MachineFilter) -> Result<Page<MachineView>, Refusal> {
        let now = self.hub().clock.now();
        let ttl = self.store.ttl();
        let mut cursor = filter.cursor.as_deref().map(parse_cursor).transpose()?;
        let mut items: Vec<MachineView> = Vec::new();
        // States are computed, so they are filtered here; pages are read until one is full.
        loop {
            let rows = self.store.machine_list(cursor, WHOLE_PAGE).await?;
            for row in rows.items {
                let fits = row.labels.covers(&filter.labels)
                    && filter
                        .state
                        .as_deref()
                        .is_none_or(|state| machine_state(&row, now, ttl).name() == state);
                if fits && items.len() == filter.limit as usize {
                    return Ok(Page { next: items.last().map(|item| item.id.to_string()), items });
                }
                cursor = Some(row.id);
                if fits {
                    items.push(self.machine_view(row, now));
                }
            }
            if rows.is_last {
                return Ok(Page { items, next: None });
            }
        }
    }

    pub async fn machine_get(&self, name: &str) -> Result<MachineView, Refusal> {
        let machine = self.store.machine_get(name).await?;
        Ok(self.machine_view(machine, self.hub().clock.now()))
    }

    pub async fn machine_patch(&self, name: &str, body: MachinePatch) -> Result<MachineView, Refusal> {
        let now = self.hub().clock.now();
        let MachinePatch { labels, cordoned, host, port, ssh, host_key } = body;
        let found = self.store.machine_get(name).await?;
        let ssh = match ssh {
            Some(access) => {
                let host = host.as_deref().unwrap_or(&found.host);
                Some(access::parse(access, host, self.hub().visitor()).await?)
            }
            None => None,
        };
        let host_key = host_key.map(|text| access::confirmed(&text, found.ssh.as_ref())).transpose()?;
        let (host, port) = (host.map(checked_host).transpose()?, port.map(checked_port).transpose()?);
        let log_in_changed = ssh.is_some() || host.is_some() || port.is_some();
        let change = MachineChange { labels, cordoned, host, port, ssh, host_key };
        let machine = self.store.machine_patch(name, change, now).await?;
        if log_in_changed {
            self.hub().forget_visits(machine.id);
        }
        self.hub().queue.add(machine.id);
        Ok(self.machine_view(machine, now))
    }

    pub async fn machine_retire(&self, name: &str) -> Result<MachineView, Refusal> {
        let now = self.hub().clock.now();
        let (machine, outcome) = self.store.machine_retire(name, now).await?;
        self.hub().given_up(outcome);
        self.hub().queue.add(machine.id);
        self.hub().pools.changed();
        Ok(self.machine_view(machine, now))
    }

    /// Has its agent try again to get clean of whoever is leaving.
    pub async fn machine_clean(&self, name: &str) -> Result<MachineView, Refusal> {
        let now = self.hub().clock.now();
        let machine = self.store.machine_clean(name, now).await?;
        self.hub().queue.add(machine.id);
        Ok(self.machine_view(machine, now))
    }

    /// It is to get an agent of its own, which a visit puts there.
    pub async fn machine_adopt(&self, name: &str, body: MachineAdopt) -> Result<MachineView, Refusal> {
        let MachineAdopt { server, ca } = body;
        let server = server.parse::<Dials>().map_err(|why| Invalid::new("server", why.to_string()))?;
        check_ca(&server, ca.as_deref())?;
        if self.hub().visitor().is_none() {
            return Err(Refusal::Conflict(access::NO_VISITS.to_owned()));
        }
        let now = self.hub().clock.now();
        let machine = self.store.machine_adopt(name, server, ca, now).await?;
        self.hub().queue.add(machine.id);
        Ok(self.machine_view(machine, now))
    }

    /// It is to be visited again, and its agent to go.
    pub async fn machine_release_agent(&self, name: &str) -> Result<MachineView, Refusal> {
        let now = self.hub().clock.now();
        let machine = self.store.machine_release_agent(name, now).await?;
        self.hub().queue.add(machine.id);
        Ok(self.machine_view(machine, now))
    }

    pub async fn cleaning_list(
        &self,
        name: &str,
        cursor: Option<String>,
        limit: u32,
    ) -> Result<Page<CleaningView>, Refusal> {
        let cursor = cursor.as_deref().map(parse_cursor).transpose()?;
        let Rows { items, is_last } = self.store.cleaning_list(name, cursor, limit).await?;
        let next = items.last().filter(|_| !is_last).map(|cleaning| cleaning.assignment.to_string());
        Ok(Page { items, next })
    }

    /// How it is logged in to concerns nobody else.
    pub(super) fn machine_view(&self, machine: Machine, now: Timestamp) -> MachineView {
        let mut view = view::machine(machine, now, self.store.ttl());
        if !self.caller.looks_after_all() {
            view.ssh = None;
        }
        view
    }

    /// Whose accounts were, or may have been, on a machine at a time.
    pub async fn could_log_in(&self, name: &str, at: Option<Timestamp>) -> Result<Vec<CouldLogIn>, Refusal> {
        Ok(self.store.could_log_in(name, at.unwrap_or(self.hub().clock.now())).await?)
    }
}

impl App {
    pub async fn availability(&self, labels: Labels) -> Result<Availability, Refusal> {
        let mut states: BTreeMap<String, u32> =
            MachineState::NAMES.iter().map(|name| ((*name).to_owned(), 0)).collect();
        let (now, ttl) = (self.hub().clock.now(), self.hub().store.ttl());
        let machines = self.every_machine().await?;
        for machine in machines.iter().filter(|machine| machine.labels.covers(&labels)) {
            *states.entry(machine_state(machine, now, ttl).name().to_owned()).or_default() += 1;
        }
        let lent = machines.iter().filter(|machine| machine.listing.is_none());
        let total = lent.filter(|machine| machine.labels.covers(&labels)).count() as u32;
        let spares = self.spares().await?;
        let offered = without_spares(&machines, &spares, now, ttl);
        let fits = |machine: &&Machine| machine.labels.covers(&labels) && is_free(machine, now, ttl);
        Ok(Availability { total, free: offered.iter().filter(fits).count() as u32, states })
    }

    /// How many machines each pool keeps back.
    pub(super) async fn spares(&self) -> Result<BTreeMap<PoolName, u32>, Refusal> {
        let pools = self.hub().store.pool_list().await?.into_iter().filter(|pool| pool.spare > 0);
        Ok(pools.map(|pool| (pool.name, pool.spare)).collect())
    }

    pub(super) async fn every_machine(&self) -> Result<Vec<Machine>, Refusal> {
        let mut all: Vec<Machine> = Vec::new();
        loop {
            let page =
                self.hub().store.machine_list(all.last().map(|machine| machine.id), WHOLE_PAGE).await?;
            all.extend(page.items);
            if page.is_last {
                return Ok(all);
            }
        }
    }
}

/// A digest of a weak password would give it away.
fn without_secrets(body: &MachineCreate) -> MachineCreate {
    let mut body = body.clone();
    if let Some(ssh) = &mut body.ssh {
        (ssh.password, ssh.private_key, ssh.passphrase, ssh.sudo_password) = (None, None, None, None);
    }
    body
}

pub(super) fn parse_uids(text: Option<&str>) -> Result<Uids, Invalid> {
    text.map_or_else(
        || Ok(Uids::default()),
        |text| text.parse().map_err(|why: String| Invalid::new("uids", why)),
    )
}

pub(super) fn parse_cursor<T: std::str::FromStr>(text: &str) -> Result<T, Refusal> {
    text.parse().map_err(|_| Invalid::new("cursor", "give the `next` of the page before").into())
}

fn checked_host(host: String) -> Result<String, Invalid> {
    let allowed = |c: u8| c.is_ascii_alphanumeric() || b".-:".contains(&c);
    if (1..=253).contains(&host.len()) && host.bytes().all(allowed) {
        return Ok(host);
    }
    Err(Invalid::new("host", "use a host name or an IP address"))
}

fn checked_port(port: u16) -> Result<u16, Invalid> {
    if port == 0 { Err(Invalid::new("port", "must be 1 to 65535")) } else { Ok(port) }
}

fn check_ca(server: &Dials, ca: Option<&str>) -> Result<(), Invalid> {
    let Some(ca) = ca else { return Ok(()) };
    if !server.has_https() {
        return Err(Invalid::new("ca", "only an `https://` server is known by a CA: leave it out"));
    }
    if !tls::are_authorities(ca) {
        return Err(Invalid::unfit(
            "ca",
            "give one certificate or more in PEM: each begins with `-----BEGIN CERTIFICATE-----`",
        ));
    }
    Ok(())
}
