//! Pools: what is wanted, and how far it got.

use super::machine::parse_uids;
use super::{Desk, Refusal, view};
use jiff::SignedDuration;
use model::machine::Machine;
use model::phase::machine_state;
use model::pool::{GRACE, Pool, Size};
use model::wire::{DurationText, PoolPut, PoolView};
use model::{Invalid, PoolName};
use std::collections::BTreeMap;

/// The largest pool.
const MOST: u32 = 10_000;
const MOST_SIZES: usize = 16;
const LONGEST_IMAGE: usize = 255;
/// How long what somebody has said of losses holds.
const ACCEPTED_FOR: SignedDuration = SignedDuration::from_mins(1);

impl Desk {
    pub async fn pool_put(&self, name: &str, body: PoolPut) -> Result<PoolView, Refusal> {
        let name: PoolName = name.parse().map_err(|why: String| Invalid::new("name", why))?;
        if body.size > MOST {
            return Err(Invalid::new("size", format!("at most {MOST}")).into());
        }
        if !["docker", "simulated"].contains(&body.provider.as_str()) {
            return Err(Invalid::new("provider", "must be `docker` or `simulated`").into());
        }
        if body.image.chars().any(char::is_control) || body.image.chars().count() > LONGEST_IMAGE {
            return Err(Invalid::new("image", "is no name of an image").into());
        }
        if body.provider == "docker" && body.image.is_empty() {
            return Err(Invalid::new("image", "name one, such as `berth-debian`").into());
        }
        if body.spare > body.size {
            return Err(Invalid::unfit("spare", format!("at most its `size`, {}", body.size)).into());
        }
        check_sizes(&body.sizes)?;
        if let Some(service) = &body.service {
            service.check()?;
            if body.provider != "docker" {
                return Err(Invalid::unfit("service", "only Docker runs services: leave it out").into());
            }
            if !body.sizes.is_empty() {
                return Err(Invalid::unfit("sizes", "a service says how large it is: leave them out").into());
            }
        }
        let wanted = Pool {
            name,
            uids: parse_uids(body.uids.as_deref())?,
            provider: body.provider,
            image: body.image,
            size: body.size,
            labels: body.labels,
            after_use: body.after_use,
            spare: body.spare,
            sizes: body.sizes,
            grace: parse_grace(body.grace)?,
            service: body.service,
            losses_accepted_until: None,
            home: None,
            problem: None,
        };
        let pool = self.store.pool_put(wanted, body.was, self.hub().clock.now()).await?;
        self.hub().pools.changed();
        self.pool_view(pool).await
    }

    /// Wants another number of machines; what else is wanted stays.
    pub async fn pool_resize(&self, name: &str, size: u32) -> Result<PoolView, Refusal> {
        let pool = self.store.pool_resize(pool_name(name)?, size, self.hub().clock.now()).await?;
        self.hub().pools.changed();
        self.pool_view(pool).await
    }

    /// For a minute, machines that a pool's provider does not list are lost, however many.
    pub async fn pool_accept_losses(&self, name: &str) -> Result<PoolView, Refusal> {
        let now = self.hub().clock.now();
        let pool = self.store.pool_accept_losses(pool_name(name)?, now + ACCEPTED_FOR, now).await?;
        self.hub().pools.changed();
        self.pool_view(pool).await
    }

    pub async fn pool_list(&self) -> Result<Vec<PoolView>, Refusal> {
        let machines = self.app.every_machine().await?;
        let pools = self.store.pool_list().await?;
        Ok(pools.into_iter().map(|pool| self.with_states(pool, &machines)).collect())
    }

    pub async fn pool_get(&self, name: &str) -> Result<PoolView, Refusal> {
        let pool = self.store.pool_get(pool_name(name)?).await?;
        self.pool_view(pool).await
    }

    async fn pool_view(&self, pool: Pool) -> Result<PoolView, Refusal> {
        let machines = self.app.every_machine().await?;
        Ok(self.with_states(pool, &machines))
    }

    fn with_states(&self, pool: Pool, machines: &[Machine]) -> PoolView {
        let now = self.hub().clock.now();
        let mut states = BTreeMap::new();
        for machine in machines.iter().filter(|machine| machine.pool.as_ref() == Some(&pool.name)) {
            *states.entry(machine_state(machine, now, self.store.ttl()).name().to_owned()).or_default() += 1;
        }
        view::pool(pool, states)
    }
}

fn check_sizes(sizes: &[Size]) -> Result<(), Invalid> {
    if sizes.len() > MOST_SIZES {
        return Err(Invalid::new("sizes", format!("at most {MOST_SIZES}")));
    }
    sizes.iter().try_for_each(|size| size.check().map_err(|why| Invalid::new("sizes", why)))
}

fn parse_grace(text: Option<DurationText>) -> Result<SignedDuration, Invalid> {
    let Some(text) = text else { return Ok(GRACE) };
    let refused = |why| Invalid::new("grace", why);
    let lasts = text.parse().map_err(refused)?;
    SignedDuration::try_from(lasts).map_err(|_| refused("is too long".to_owned()))
}

/// What cannot be a name is nobody's.
fn pool_name(name: &str) -> Result<PoolName, Refusal> {
    name.parse()
        .map_err(|_| Refusal::NotFound(format!("there is no pool `{name}`; GET /v1/pools lists them")))
}
