//! `berth wait`: until machines are free, or a pool has all of its machines, or none.

use super::{Usage, counted, pool, status};
use crate::session::Session;
use crate::{labels, table};
use anyhow::{Result, bail};
use cli::Error;
use model::{Labels, PoolName};
use std::time::Duration;

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(500);

#[derive(clap::Args)]
#[command(group = clap::ArgGroup::new("what").args(["free", "full", "gone"]).required(true))]
pub(crate) struct Wait {
    /// Until so many machines are free.
    #[arg(long, value_name = "N")]
    free: Option<u32>,
    /// Count only machines with this label, `key=value`; may be repeated.
    #[arg(long = "label", value_name = "K=V", requires = "free")]
    labels: Vec<Labels>,
    /// Until this pool has as many machines as it should, each free or held, or as many services.
    #[arg(long, value_name = "POOL")]
    full: Option<PoolName>,
    /// Until this pool has no machine left.
    #[arg(long, value_name = "POOL")]
    gone: Option<PoolName>,
    /// Give up after so many seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 120)]
    timeout: u64,
}

/// One look: whether it is as wished, and how it is.
struct Look {
    done: bool,
    words: String,
}

impl Wait {
    pub(crate) async fn run(self, session: &Session) -> Result<()> {
        let labels = labels::merged(&self.labels).map_err(Usage)?;
        let mut said = String::new();
        let until_done = async {
            loop {
                let look = self.look(session, &labels).await?;
                if look.words != said {
                    eprintln!("{}", look.words);
                    said = look.words;
                }
                if look.done {
                    return Ok::<(), Error>(());
                }
                tokio::time::sleep(PAUSE).await;
            }
        };
        match tokio::time::timeout(Duration::from_secs(self.timeout), until_done).await {
            Ok(done) => Ok(done?),
            Err(_) => bail!("not so after {} s; look at `berth status` and `berth pool list`", self.timeout),
        }
    }

    async fn look(&self, session: &Session, labels: &Labels) -> Result<Look, Error> {
        if let Some(name) = &self.full {
            return full(session, name).await;
        }
        if let Some(name) = &self.gone {
            return gone(session, name).await;
        }
        let seen = session.client.availability(labels).await?;
        let wanted = self.free.unwrap_or_default();
        Ok(Look { done: seen.free >= wanted, words: format!("{}, {wanted} wanted", status::words(&seen)) })
    }
}

async fn full(session: &Session, name: &PoolName) -> Result<Look, Error> {
    let pool = session.client.pool_get(name).await?;
    let count = |state: &str| pool.states.get(state).copied().unwrap_or_default();
    let up = count("free") + count("held") + count("listed");
    let problem =
        pool.problem.as_ref().map(|problem| format!(": {}", table::clean(problem))).unwrap_or_default();
    Ok(Look {
        done: up >= pool.size,
        words: format!("{name}: {up} of {} up{problem}", counted(pool.size as usize, "machine")),
    })
}

async fn gone(session: &Session, name: &PoolName) -> Result<Look, Error> {
    let found = pool::existing(session, name).await?;
    let left: u32 = found.iter().flat_map(|pool| pool.states.values()).sum();
    Ok(Look { done: left == 0, words: format!("{name}: {} left", counted(left as usize, "machine")) })
}
