//! `berth account`: those who ask for machines.

use super::login::log_in;
use crate::login::keys_of;
use crate::secret::{self, PasswordArgs};
use crate::session::{Session, all_pages};
use crate::table::Table;
use anyhow::Result;
use cli::Slice;
use model::AccountName;
use model::auth::{Quota, Role};
use model::wire::{AccountCreate, AccountPatch, AccountView};
use std::path::PathBuf;

/// The most the server puts on one page.
const PAGE: u32 = 1000;

#[derive(clap::Subcommand)]
pub(crate) enum Command {
    /// Make one. The very first is an admin, and from then on nobody gets in without a credential.
    Create(Create),
    /// List them.
    List,
    /// Show one.
    Get { name: AccountName },
    /// Who you are.
    Whoami,
    /// Change what one may do and have.
    Set(Set),
    /// Change your own password.
    Password,
    /// Delete one. Its reservations keep it, unless they are to end with it.
    Delete {
        name: AccountName,
        #[arg(long)]
        end_reservations: bool,
    },
}

#[derive(clap::Args)]
pub(crate) struct Create {
    name: AccountName,
    /// It looks after everything.
    #[arg(long)]
    admin: bool,
    #[arg(long)]
    email: Option<String>,
    /// It cannot log in; make tokens for it.
    #[arg(long, conflicts_with_all = ["password_file", "password_stdin"])]
    no_password: bool,
    #[command(flatten)]
    password: PasswordArgs,
    /// Public keys of its reservations that bring no way to log in; a file of one or several, may be repeated.
    #[arg(long = "ssh-key", value_name = "FILE")]
    ssh_keys: Vec<PathBuf>,
    #[command(flatten)]
    quota: QuotaArgs,
}

#[derive(clap::Args)]
pub(crate) struct Set {
    name: AccountName,
    #[arg(long)]
    role: Option<Role>,
    /// Empty for none.
    #[arg(long)]
    email: Option<String>,
    /// Nobody gets in with it; its reservations go on.
    #[arg(long, conflicts_with = "enable")]
    disable: bool,
    #[arg(long)]
    enable: bool,
    /// Another password, which ends what the old one had opened.
    #[command(flatten)]
    password: PasswordArgs,
    #[command(flatten)]
    quota: QuotaArgs,
}

#[derive(clap::Args)]
struct QuotaArgs {
    /// So many machines at once; without any of these, as the server has it.
    #[arg(long, value_name = "N")]
    machines: Option<u32>,
    /// So many hours of machines in seven days.
    #[arg(long, value_name = "N")]
    hours_per_week: Option<u32>,
    /// No reservation is longer than so many hours.
    #[arg(long, value_name = "N")]
    longest_hours: Option<u32>,
}

impl Command {
    pub(crate) async fn run(self, session: &Session) -> Result<()> {
        let client = &session.client;
        match self {
            Self::Create(create) => create.run(session).await,
            Self::List => {
                let pages = all_pages(Slice { limit: Some(PAGE), ..Slice::default() }, async |slice| {
                    client.account_list(&slice).await
                });
                Ok(session.show_pages(&pages.await?, |items, _| listed(&items))?)
            }
            Self::Get { name } => Ok(session.show(&client.account_get(&name).await?, details)?),
            Self::Whoami => Ok(session.show(&client.me().await?, |me| match &me.account {
                Some(account) => format!("{}\nlevel        {}", details(account), me.level),
                None => "nobody in particular: this server has no accounts yet".to_owned(),
            })?),
            Self::Set(set) => set.run(session).await,
            Self::Password => change_password(session).await,
            Self::Delete { name, end_reservations } => {
                client.account_delete(&name, end_reservations).await?;
                Ok(session.print(&format!("{name} is deleted"))?)
            }
        }
    }
}

impl Create {
    async fn run(self, session: &Session) -> Result<()> {
        // Whoever makes the first account is logged in as it at once.
        let is_first = session.client.me().await.is_ok_and(|me| me.account.is_none());
        let password = if self.no_password { None } else { Some(new_password(&self.password)?) };
        let keys = self.ssh_keys.iter().map(|file| keys_of(file)).collect::<Result<Vec<_>>>()?;
        let body = AccountCreate {
            name: self.name.to_string(),
            email: self.email,
            password: password.clone(),
            role: self.admin.then_some(Role::Admin),
            ssh_keys: keys.concat(),
            quota: self.quota.quota(),
        };
        let answer = session.client.account_create(&body).await?;
        session.show(&answer, |made| format!("{} is an account now ({})", made.name, made.role))?;
        match password {
            Some(password) if is_first && !session.json => {
                session.print("the door is locked from now on")?;
                log_in(session, body.name, password).await
            }
            _ => Ok(()),
        }
    }
}

impl Set {
    async fn run(self, session: &Session) -> Result<()> {
        let password = self.password.is_given().then(|| self.password.read("password")).transpose()?;
        let quota = self.quota.quota();
        let patch = AccountPatch {
            email: self.email,
            password,
            role: self.role,
            disabled: (self.disable || self.enable).then_some(self.disable),
            quota: (!quota.is_unlimited()).then_some(quota),
            ..AccountPatch::default()
        };
        Ok(session.show(&session.client.account_patch(&self.name, &patch).await?, details)?)
    }
}

async fn change_password(session: &Session) -> Result<()> {
    let current = secret::asked("your password now")?;
    let password = new_password(&PasswordArgs::default())?;
    let patch =
        AccountPatch { password: Some(password), current_password: Some(current), ..AccountPatch::default() };
    let changed = session.client.me_patch(&patch).await?;
    Ok(session.show(&changed, |account| format!("log in again: berth login {}", account.name))?)
}

/// Typed twice, since nobody sees it.
fn new_password(from: &PasswordArgs) -> Result<model::ssh::Secret> {
    let password = from.read("new password")?;
    if !from.is_given() && secret::asked("once more")? != password {
        return Err(super::Usage("the two are not the same".to_owned()).into());
    }
    Ok(password)
}

impl QuotaArgs {
    fn quota(&self) -> Quota {
        let Self { machines, hours_per_week, longest_hours } = *self;
        Quota { machines, hours_per_week, longest_hours }
    }
}

fn listed(items: &[&AccountView]) -> Table {
    let mut table = Table::new(&["name", "role", "e-mail", "state", "limits"], "there are no accounts");
    for account in items {
        table.row([
            account.name.to_string(),
            account.role.to_string(),
            account.email.as_ref().map(ToString::to_string).unwrap_or_default(),
            state(account),
            limits(&account.limits),
        ]);
    }
    table
}

fn details(account: &AccountView) -> String {
    let email = account.email.as_ref().map(ToString::to_string).unwrap_or_default();
    [
        ("account", account.name.to_string()),
        ("role", account.role.to_string()),
        ("state", state(account)),
        ("e-mail", email),
        ("limits", limits(&account.limits)),
        ("keys", account.ssh_keys.join("\n             ")),
    ]
    .into_iter()
    .filter(|(_, value)| !value.is_empty())
    .map(|(name, value)| format!("{name:<13}{value}"))
    .collect::<Vec<_>>()
    .join("\n")
}

fn state(account: &AccountView) -> String {
    if account.disabled { "disabled" } else { "enabled" }.to_owned()
}

fn limits(limits: &Quota) -> String {
    let limit = |value: Option<u32>, unit: &str| value.map(|value| format!("{value} {unit}"));
    let all = [
        limit(limits.machines, "machines"),
        limit(limits.hours_per_week, "hours a week"),
        limit(limits.longest_hours, "hours at a time"),
    ];
    let all: Vec<_> = all.into_iter().flatten().collect();
    if all.is_empty() { "none".to_owned() } else { all.join(", ") }
}
