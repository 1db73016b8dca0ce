//! The pool of VMs that older clients check out and in: one pool of ours, under a name of its own.

use super::{App, Desk, Refusal};
use jiff::SignedDuration;
use model::auth::Usage;
use model::duration::LONGEST;
use model::pool::Size;
use model::wire::{MachinePatch, MachineView, PoolPut, PoolView, ReservationView};
use model::{MachineId, MachineName};

pub const VM_POOL: &str = "vmpool";
/// Its clients ask for machines as soon as they have asked for a pool.
const WAIT: SignedDuration = SignedDuration::from_secs(60);
const GLANCE: SignedDuration = SignedDuration::from_millis(200);
/// Name, processors and GB as its clients know them.
const SIZES: [(&str, u32, u32); 4] =
    [("small", 2, 8), ("medium", 4, 16), ("large", 8, 64), ("xlarge", 16, 128)];

/// What its machines are made of.
#[derive(Debug, Clone)]
pub struct VmPool {
    pub provider: String,
    pub image: String,
    /// How much of what its clients were promised a VM really has.
    pub scale: f64,
}

impl Default for VmPool {
    fn default() -> Self {
        Self { provider: "simulated".to_owned(), image: String::new(), scale: 1.0 / 16.0 }
    }
}

impl VmPool {
    fn sizes(&self) -> Vec<Size> {
        let scaled = |whole: u32, least: u32| ((f64::from(whole) * self.scale) as u32).max(least);
        let size = |(name, cpus, gb): &(&str, u32, u32)| Size {
            name: (*name).to_owned(),
            millicpus: scaled(cpus * 1000, 10),
            memory_mib: scaled(gb * 1024, 64),
        };
        SIZES.iter().map(size).collect()
    }
}

impl Desk {
    pub async fn vm_pool(&self) -> Result<Option<PoolView>, Refusal> {
        match self.pool_get(VM_POOL).await {
            Ok(pool) => Ok(Some(pool)),
            Err(Refusal::NotFound(_)) => Ok(None),
            Err(refusal) => Err(refusal),
        }
    }

    /// Wants so many from now on; answers when they are there, or when that takes too long.
    pub async fn vm_pool_set(&self, size: u32) -> Result<PoolView, Refusal> {
        let mut pool = match self.vm_pool().await? {
            // What else was set of it stays.
            Some(pool) if pool.size > 0 => self.pool_resize(VM_POOL, size).await?,
            Some(_) | None => {
                let VmPool { provider, image, .. } = self.app.vm_pool().clone();
                let sizes = self.app.vm_pool().sizes();
                self.pool_put(VM_POOL, PoolPut { provider, image, size, sizes, ..PoolPut::default() }).await?
            }
        };
        let until = self.now() + WAIT;
        while !is_settled(&pool) && self.now() < until {
            self.hub().clock.sleep_until(self.now() + GLANCE).await;
            pool = self.pool_get(VM_POOL).await?;
        }
        match &pool.problem {
            Some(problem) if !is_settled(&pool) => Err(Refusal::Failed(problem.clone())),
            Some(_) | None => Ok(pool),
        }
    }

    /// Takes an idle VM out of the pool, which wants one fewer from then on. Says whether it was idle.
    pub async fn vm_discard(&self, id: MachineId) -> Result<bool, Refusal> {
        let is_discarded = self.store.machine_discard(id, self.now()).await?;
        self.hub().queue.add(id);
        self.hub().pools.changed();
        Ok(is_discarded)
    }

    /// Gives back a VM of one's own. It is set apart first, so that nobody gets it before somebody has looked at it; the
    /// answer comes when nothing of its account is left, or the wait is over.
    pub async fn vm_check_in(
        &self,
        vm: &MachineName,
        of: &ReservationView,
        wait: u32,
    ) -> Result<(), Refusal> {
        let own = self.caller.account.as_ref().map(|account| account.id);
        let found = self.store.reservation_get(of.id).await?;
        if own.is_none() || found.owner.as_ref().map(|owner| owner.id) != own {
            return Err(Refusal::Forbidden("only whoever has it gives it back".to_owned()));
        }
        let seats: Vec<_> = found.live_seats().collect();
        let [seat] = seats.as_slice() else {
            return Err(Refusal::Conflict(format!(
                "it is one of several of reservation {0}: `DELETE /v1/reservations/{0}` ends them all",
                of.id
            )));
        };
        if seat.machine_name != *vm {
            return Err(Refusal::Conflict("another machine has taken its place: look again".to_owned()));
        }
        let apart = MachinePatch { cordoned: Some(true), ..MachinePatch::default() };
        self.machine_patch(seat.machine_name.as_str(), apart).await?;
        self.reservation_release(&of.id.to_string(), Some(wait)).await.map(drop)
    }

    /// Those that are not on their way out, in the order of their numbers.
    pub async fn vms(&self) -> Result<Vec<(u32, MachineView)>, Refusal> {
        let now = self.now();
        let of_pool = |machine: &model::machine::Machine| {
            let is_its = machine.pool.as_ref().is_some_and(|pool| pool.as_str() == VM_POOL);
            is_its && machine.retired_at.is_none()
        };
        let machines = self.app.every_machine().await?.into_iter().filter(of_pool);
        let mut vms: Vec<_> = machines
            .filter_map(|machine| Some((number(machine.name.as_str())?, self.machine_view(machine, now))))
            .collect();
        vms.sort_by_key(|(number, _)| *number);
        Ok(vms)
    }

    /// For how many minutes whoever asks may have a VM: its clients cannot say.
    pub async fn longest_minutes(&self) -> Result<i64, Refusal> {
        let quota = self.limits().unwrap_or_default();
        let used = match &self.caller.account {
            Some(own) => self.store.usage(own.id, self.now()).await?,
            None => Usage::default(),
        };
        let of_week = quota.hours_per_week.map(|hours| i64::from(hours) * 60 - minutes_begun(used.spent));
        let at_once = quota.longest_hours.map(|hours| i64::from(hours) * 60);
        let of_token = self.caller.scope.longest.map(|longest| longest.as_mins());
        let longest = (LONGEST.as_secs() / 60) as i64;
        Ok([of_week, at_once, of_token].into_iter().flatten().fold(longest, i64::min).max(1))
    }
}

impl App {
    /// Whether there is such an account.
    pub async fn is_numbered(&self, number: i64) -> Result<bool, Refusal> {
        Ok(self.hub().store.account_numbered(number).await?.is_some())
    }
}

fn minutes_begun(lasts: SignedDuration) -> i64 {
    lasts.as_mins() + i64::from(lasts.as_secs() % 60 > 0 || lasts.subsec_nanos() > 0)
}

/// `vmpool-7` is 7.
fn number(name: &str) -> Option<u32> {
    name.strip_prefix(VM_POOL)?.strip_prefix('-')?.parse().ok()
}

/// As many as wanted, or no more than must stay, and none on its way in or out.
fn is_settled(pool: &PoolView) -> bool {
    let count = |states: &[&str]| states.iter().filter_map(|state| pool.states.get(*state)).sum::<u32>();
    let all = pool.states.values().sum::<u32>();
    let most = pool.size.max(count(&["held", "maintenance"]));
    count(&["unreachable", "retiring"]) == 0 && (pool.size..=most).contains(&all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_scaled_and_never_nothing() {
        let small = |scale| VmPool { scale, ..VmPool::default() }.sizes().remove(0);
        assert_eq!(small(1.0), Size { name: "small".to_owned(), millicpus: 2000, memory_mib: 8192 });
        assert_eq!(small(1.0 / 16.0), Size { name: "small".to_owned(), millicpus: 125, memory_mib: 512 });
        assert_eq!(small(1e-9), Size { name: "small".to_owned(), millicpus: 10, memory_mib: 64 });
    }

    #[test]
    fn a_vm_is_known_by_its_number() {
        assert_eq!([number("vmpool-7"), number("vmpool-x"), number("lab-7")], [Some(7), None, None]);
    }
}
