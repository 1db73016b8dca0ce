//! `berth pool`: machines that are made and destroyed to keep a number.

use super::Usage;
use crate::labels;
use crate::session::Session;
use crate::table::{self, Table};
use anyhow::Result;
use cli::{Answer, Error};
use model::pool::AfterUse;
use model::wire::{DurationText, PoolPut, PoolView};
use model::{Labels, PoolName};
use std::collections::BTreeMap;

#[derive(clap::Subcommand)]
pub(crate) enum Command {
    /// List pools.
    List,
    /// Make a pool, or change one; what is left out stays as it is.
    Set(Set),
    /// For a minute, believe the provider that machines are lost, however many. Whoever was on them gets others.
    AcceptLosses { name: PoolName },
}

#[derive(clap::Args)]
pub(crate) struct Set {
    name: PoolName,
    /// `docker`, or `simulated` for pretend machines.
    #[arg(long)]
    provider: Option<String>,
    /// What machines are made of: `berth-debian` or `berth-alpine` with Docker.
    #[arg(long)]
    image: Option<String>,
    /// How many machines there should be.
    #[arg(long, value_name = "N")]
    size: Option<u32>,
    /// What its machines are labelled with, `key=value`; may be repeated.
    #[arg(long = "label", value_name = "K=V")]
    labels: Vec<Labels>,
    /// Where accounts get their UIDs from: a range such as `20000-60000`, or `fleet`; of machines made from now on.
    #[arg(long, value_name = "RANGE")]
    uids: Option<String>,
    /// What becomes of a machine after each reservation; after one with sudo it is recycled in any case.
    #[arg(long, value_name = "clean|recycle")]
    after_use: Option<AfterUse>,
    /// How many free machines are kept back for reservations that lose one (`berth reserve --on-failure replace`).
    #[arg(long, value_name = "N")]
    spare: Option<u32>,
    /// How long a held machine may be unreachable before it counts as failed, such as `5m`.
    #[arg(long, value_name = "TIME")]
    grace: Option<String>,
}

impl Command {
    pub(crate) async fn run(self, session: &Session) -> Result<()> {
        match self {
            Self::List => {
                let pages = [session.client.pool_list().await?];
                Ok(session.show_pages(&pages, |items, _| listed(&items))?)
            }
            Self::Set(set) => set.run(session).await,
            Self::AcceptLosses { name } => {
                let answer = session.client.pool_accept_losses(&name).await?;
                let words =
                    format!("for a minute, machines of {name} that are missing are lost (`berth events`)");
                Ok(session.show(&answer, |_| words)?)
            }
        }
    }
}

impl Set {
    async fn run(self, session: &Session) -> Result<()> {
        let have = existing(session, &self.name).await?;
        let name = self.name.clone();
        let put = self.body(have.as_deref())?;
        let answer = session.client.pool_put(&name, &put).await?;
        let words = |got: &PoolView| {
            format!(
                "{} should have {} (`berth status`)",
                got.name,
                super::counted(got.size as usize, "machine")
            )
        };
        Ok(session.show(&answer, |got| table::clean(&words(got)))?)
    }

    fn body(self, have: Option<&PoolView>) -> Result<PoolPut, Usage> {
        let missing = |flag: &str| Usage(format!("there is no pool `{}` yet: give --{flag}", self.name));
        let provider = self.provider.clone().or_else(|| have.map(|pool| pool.provider.clone()));
        let size = self.size.or_else(|| have.map(|pool| pool.size));
        Ok(PoolPut {
            was: Some(have.map_or(0, |have| have.size)),
            provider: provider.ok_or_else(|| missing("provider"))?,
            image: self.image.clone().or_else(|| have.map(|pool| pool.image.clone())).unwrap_or_default(),
            size: size.ok_or_else(|| missing("size"))?,
            labels: match have {
                Some(pool) if self.labels.is_empty() => pool.labels.clone(),
                _ => labels::merged(&self.labels).map_err(Usage)?,
            },
            uids: self
                .uids
                .clone()
                .or_else(|| have.map(|pool| pool.uids.clone()).filter(|uids| !uids.is_empty())),
            after_use: self.after_use.or(have.map(|pool| pool.after_use)).unwrap_or_default(),
            sizes: have.map(|pool| pool.sizes.clone()).unwrap_or_default(),
            spare: self.spare.or(have.map(|pool| pool.spare)).unwrap_or_default(),
            grace: self
                .grace
                .or_else(|| have.map(|pool| pool.grace.clone()).filter(|grace| !grace.is_empty()))
                .map(DurationText::Text),
            service: have.and_then(|pool| pool.service.clone()),
        })
    }
}

/// Absent is no error: `pool set` makes it.
pub(crate) async fn existing(session: &Session, name: &PoolName) -> Result<Option<Answer<PoolView>>, Error> {
    match session.client.pool_get(name).await {
        Ok(pool) => Ok(Some(pool)),
        Err(error) if error.status() == Some(404) => Ok(None),
        Err(error) => Err(error),
    }
}

fn listed(items: &[&PoolView]) -> Table {
    let header = &[
        "pool",
        "provider",
        "image",
        "size",
        "spare",
        "machines",
        "labels",
        "uids",
        "after use",
        "grace",
        "problem",
    ];
    let mut table = Table::new(header, "no pools: make one with `just provision`");
    for pool in items {
        table.row([
            pool.name.to_string(),
            pool.provider.clone(),
            pool.image.clone(),
            pool.size.to_string(),
            pool.spare.to_string(),
            states(&pool.states),
            pool.labels.to_string(),
            pool.uids.clone(),
            pool.after_use.name().to_owned(),
            pool.grace.clone(),
            pool.problem.clone().unwrap_or_default(),
        ]);
    }
    table
}

/// `3 free, 1 held`
pub(crate) fn states(states: &BTreeMap<String, u32>) -> String {
    let told: Vec<String> = states
        .iter()
        .filter(|(_, count)| **count > 0)
        .map(|(state, count)| format!("{count} {state}"))
        .collect();
    told.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(size: Option<u32>, provider: Option<&str>) -> Set {
        let name = "debian".parse().unwrap();
        let provider = provider.map(str::to_owned);
        Set {
            name,
            provider,
            image: None,
            size,
            labels: Vec::new(),
            uids: None,
            after_use: None,
            spare: None,
            grace: None,
        }
    }

    #[test]
    fn a_new_pool_needs_all_and_an_old_one_keeps_the_rest() {
        assert!(set(Some(4), None).body(None).is_err());
        assert!(set(None, Some("docker")).body(None).is_err());
        let have = serde_json::from_str(
            r#"{"name":"debian","provider":"docker","image":"berth-debian","size":4,"labels":{"os":"debian"},"uids":"fleet","after_use":"recycle","spare":2,"grace":"5m","states":{}}"#,
        )
        .unwrap();
        let put = set(Some(0), None).body(Some(&have)).unwrap();
        assert_eq!((put.provider.as_str(), put.image.as_str(), put.size), ("docker", "berth-debian", 0));
        assert_eq!(put.labels.to_string(), "os=debian");
        assert_eq!((put.uids.as_deref(), put.after_use), (Some("fleet"), AfterUse::Recycle));
        assert_eq!((put.spare, put.grace), (2, Some(DurationText::Text("5m".to_owned()))));
        let other = Set { after_use: Some(AfterUse::Clean), ..set(Some(0), None) };
        assert_eq!(other.body(Some(&have)).unwrap().after_use, AfterUse::Clean);
    }
}
