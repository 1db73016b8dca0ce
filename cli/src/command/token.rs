//! `berth token`: credentials of programs.

use crate::labels::merged;
use crate::moment::{absolute, with_distance};
use crate::session::Session;
use crate::table::Table;
use anyhow::Result;
use model::auth::Level;
use model::wire::{DurationText, TokenCreate, TokenView};
use model::{AccountName, Labels, TokenId};

#[derive(clap::Subcommand)]
pub(crate) enum Command {
    /// Make one. It is shown this once.
    Create(Create),
    /// List those that are good for something, and when they were used last.
    List {
        /// Of somebody else: admins only.
        #[arg(long, value_name = "NAME")]
        account: Option<AccountName>,
    },
    /// End some.
    Revoke {
        #[arg(required = true)]
        ids: Vec<TokenId>,
    },
}

#[derive(clap::Args)]
pub(crate) struct Create {
    /// What it is for.
    name: String,
    /// How long it is good for: 90 days when left out.
    #[arg(long = "for", value_name = "DURATION")]
    duration: Option<String>,
    /// `read`, `reserve`, or `admin`: all that the account may do.
    #[arg(long, default_value = "admin")]
    level: Level,
    /// For machines with this label only, `key=value`; may be repeated.
    #[arg(long = "label", value_name = "K=V")]
    labels: Vec<Labels>,
    /// For reservations of so many machines at most.
    #[arg(long, value_name = "N")]
    machines: Option<u32>,
    /// For reservations that last so long at most.
    #[arg(long, value_name = "DURATION")]
    longest: Option<String>,
    /// For somebody else: admins only.
    #[arg(long, value_name = "NAME")]
    account: Option<AccountName>,
}

impl Command {
    pub(crate) async fn run(self, session: &Session) -> Result<()> {
        match self {
            Self::Create(create) => create.run(session).await,
            Self::List { account } => {
                let page = session.client.token_list(account.as_ref()).await?;
                Ok(session.show_pages(&[page], |items, _| listed(&items))?)
            }
            Self::Revoke { ids } => {
                for id in ids {
                    session.client.token_revoke(id).await?;
                    session.print(&format!("{id} is revoked"))?;
                }
                Ok(())
            }
        }
    }
}

impl Create {
    async fn run(self, session: &Session) -> Result<()> {
        let body = TokenCreate {
            name: self.name,
            duration: self.duration.map(DurationText::Text),
            level: self.level,
            labels: merged(&self.labels).map_err(super::Usage)?,
            machines: self.machines,
            longest: self.longest.map(DurationText::Text),
            account: self.account.map(|name| name.to_string()),
        };
        let answer = session.client.token_create(&body).await?;
        Ok(session.show(&answer, |made| {
            let until = with_distance(made.view.expires_at, answer.served_at);
            format!(
                "{}\ngood until {until}; it is not shown again\nrevoke it: berth token revoke {}",
                made.token.expose(),
                made.view.id
            )
        })?)
    }
}

fn listed(items: &[&TokenView]) -> Table {
    let mut table =
        Table::new(&["id", "for", "level", "limits", "until", "last used"], "there are no tokens");
    for token in items {
        table.row([
            token.id.to_string(),
            token.name.clone(),
            token.level.to_string(),
            limits(token),
            absolute(token.expires_at),
            token.last_used_at.map(absolute).unwrap_or_else(|| "never".to_owned()),
        ]);
    }
    table
}

fn limits(token: &TokenView) -> String {
    let labels = (!token.labels.is_empty()).then(|| token.labels.to_string());
    let machines = token.machines.map(|machines| format!("{machines} machines"));
    labels.into_iter().chain(machines).chain(token.longest.clone()).collect::<Vec<_>>().join(", ")
}
