//! Every machine with who has it: what an older system's clients want to know in one go.

use super::{Desk, Refusal};
use model::Timestamp;
use model::allocate::without_spares;
use model::machine::Machine;
use model::phase::{MachineState, machine_state, silent_since};
use std::collections::{HashMap, HashSet};

/// A machine, as far as whoever asks may see it.
#[derive(Debug, Clone)]
pub struct Stock {
    pub machine: Machine,
    pub state: MachineState,
    /// Whatever its state, it was heard of.
    pub is_heard: bool,
    /// Its pool keeps it back.
    pub is_spare: bool,
    /// Until when somebody has it.
    pub held_until: Option<Timestamp>,
    /// Their account, or the Unix account if they have none; for those alone who look after all.
    pub held_by: Option<String>,
}

impl Desk {
    /// Machines to lend, in the order of their names. What nobody could get is shown to those alone who look after all.
    pub async fn stock_list(&self) -> Result<Vec<Stock>, Refusal> {
        let (now, ttl) = (self.now(), self.store.ttl());
        let machines = self.app.every_machine().await?;
        let offered = self.offered(&machines).await?;
        let holders = self.holders().await?;
        let lent = machines.into_iter().filter(|machine| machine.listing.is_none());
        let stock = lent.map(|machine| {
            let state = machine_state(&machine, now, ttl);
            let holding = machine.holding.as_ref().filter(|holding| !holding.is_leaving(now));
            Stock {
                is_heard: silent_since(&machine, now, ttl).is_none(),
                is_spare: state == MachineState::Free && !offered.contains(machine.name.as_str()),
                held_until: holding.map(|holding| holding.expires_at),
                held_by: holding.and_then(|holding| holders.get(&holding.reservation).cloned()),
                state,
                machine,
            }
        });
        let is_shown = |stock: &Stock| {
            self.looks_after_all() || (stock.machine.cordoned_at.is_none() && !stock.is_spare)
        };
        let mut stock: Vec<_> = stock.filter(is_shown).collect();
        stock.sort_by(|one, other| one.machine.name.cmp(&other.machine.name));
        Ok(stock)
    }

    pub async fn stock_get(&self, name: &str) -> Result<Stock, Refusal> {
        let found = self.stock_list().await?.into_iter().find(|stock| stock.machine.name.as_str() == name);
        found.ok_or_else(|| {
            Refusal::NotFound(format!("there is no machine `{name}`; list them to see which there are"))
        })
    }

    /// Names of those that are not kept back.
    async fn offered(&self, machines: &[Machine]) -> Result<HashSet<String>, Refusal> {
        let spares = self.app.spares().await?;
        let offered = without_spares(machines, &spares, self.now(), self.store.ttl());
        Ok(offered.iter().map(|machine| machine.name.to_string()).collect())
    }

    /// Who has what is nobody else's business.
    async fn holders(&self) -> Result<HashMap<model::ReservationId, String>, Refusal> {
        if !self.looks_after_all() {
            return Ok(HashMap::new());
        }
        let live = self.every_live_reservation().await?.into_iter();
        let holder = |owner: Option<model::reservation::Owner>, username: model::UserName| {
            owner.map_or_else(|| username.to_string(), |owner| owner.name.to_string())
        };
        Ok(live.map(|found| (found.id, holder(found.owner, found.username))).collect())
    }
}
