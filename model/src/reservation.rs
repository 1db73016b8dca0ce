//! Who asked for what, and what became of it.

use crate::account::{Password, PasswordHash, Shell, SshKey};
use crate::allocate::Want;
use crate::report::EndsBy;
use crate::wire::{DurationText, ReservationCreate};
use crate::{
    AccountId, AccountName, AssignmentId, GroupName, Invalid, Labels, MachineId, MachineName, ReservationId,
    UserName, duration,
};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use std::str::FromStr;

/// The most machines one reservation may hold.
pub const MOST_MACHINES: u32 = 1000;

/// A reservation as it was asked for, every field checked.
#[derive(Debug, Clone)]
pub struct Ask {
    pub username: UserName,
    pub login: Login,
    pub want: Want,
    pub expires_at: Timestamp,
    pub shell: Option<Shell>,
    pub groups: Vec<GroupName>,
    pub sudo: bool,
    pub on_failure: OnFailure,
}

/// What becomes of a seat when its machine, which worked, is no longer heard of.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum OnFailure {
    /// It stays: the machine may come back, with everything that is on it.
    #[default]
    Keep,
    /// Another machine takes its place, with the same account and nothing of what was on the first.
    Replace,
}

impl OnFailure {
    pub const NAMES: [&str; 2] = ["keep", "replace"];

    pub fn name(self) -> &'static str {
        match self {
            Self::Keep => "keep",
            Self::Replace => "replace",
        }
    }

    pub fn is_keep(&self) -> bool {
        *self == Self::Keep
    }
}

impl FromStr for OnFailure {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        [Self::Keep, Self::Replace]
            .into_iter()
            .find(|what| what.name() == text)
            .ok_or_else(|| format!("must be `{}`", Self::NAMES.join("` or `")))
    }
}

/// How the account logs in. At least one way is there.
#[derive(Debug, Clone)]
pub struct Login {
    pub secret: Option<LoginSecret>,
    pub ssh_keys: Vec<SshKey>,
}

#[derive(Debug, Clone)]
pub enum LoginSecret {
    /// To be hashed at once.
    Password(Password),
    Hash(PasswordHash),
}

/// A reservation with its machines, as the database knows it.
#[derive(Debug, Clone, PartialEq)]
pub struct Reservation {
    pub id: ReservationId,
    /// Whose it is; absent if it was made before there were accounts.
    pub owner: Option<Owner>,
    pub username: UserName,
    pub count: u32,
    pub labels: Labels,
    /// The machines were asked for by name, so none may stand in for another.
    pub named: bool,
    /// Its accounts may become root: only machines that can be made anew are given.
    pub sudo: bool,
    pub on_failure: OnFailure,
    pub created_at: Timestamp,
    pub expires_at: Timestamp,
    pub ended_at: Option<Timestamp>,
    pub ended_by: Option<EndedBy>,
    /// Every machine it ever held, those given up among them.
    pub seats: Vec<Assignment>,
}

/// An account, by the name that it had then.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    pub id: AccountId,
    pub name: AccountName,
}

impl Reservation {
    /// Something is wanted of its machines that none of them has confirmed yet.
    pub fn unconfirm(&mut self) {
        for seat in self.seats.iter_mut().filter(|seat| seat.cleaned_at.is_none()) {
            seat.in_sync = false;
        }
    }

    pub fn live_seats(&self) -> impl Iterator<Item = &Assignment> {
        self.seats.iter().filter(|seat| seat.given_up_at.is_none())
    }

    /// It goes on when a machine of it fails and no other is free, and waits for one: that was asked for, and as many as it
    /// wants have worked for it, so that nothing is wrong with the ask itself.
    pub fn outlives_failures(&self) -> bool {
        let worked = self.seats.iter().filter(|seat| seat.ready_at.is_some()).count();
        self.on_failure == OnFailure::Replace && worked >= self.count as usize
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EndedBy {
    Released,
    Expired,
    /// It could not be made ready; the reason.
    Failed(String),
}

/// One machine held for one reservation, until `cleaned_at`.
#[derive(Debug, Clone, PartialEq)]
pub struct Assignment {
    pub id: AssignmentId,
    pub machine: MachineId,
    pub machine_name: MachineName,
    pub host: String,
    pub port: u16,
    pub uid: u32,
    pub created_at: Timestamp,
    pub ready_at: Option<Timestamp>,
    /// Another machine took its place.
    pub given_up_at: Option<Timestamp>,
    pub cleaned_at: Option<Timestamp>,
    pub last_error: Option<String>,
    /// The machine has reported at its newest generation.
    pub in_sync: bool,
    /// What ends access in time while the server is down.
    pub ends_by: Option<EndsBy>,
}

impl Ask {
    /// Parses what somebody sent; the error names the field.
    pub fn parse(body: ReservationCreate, now: Timestamp) -> Result<Self, Invalid> {
        let username = field("username", &body.username)?;
        let login = Login::parse(body.password, body.password_hash, body.ssh_keys)?;
        let groups =
            body.groups.iter().map(|group| field("groups", group)).collect::<Result<Vec<GroupName>, _>>()?;
        if let Some(group) = groups.iter().find(|group| group.is_rootlike() && !body.sudo) {
            return Err(Invalid::new(
                "groups",
                format!("`{group}` amounts to being root: ask for `sudo` as well"),
            ));
        }
        let want = parse_want(body.count, &body.machines, body.labels)?;
        if matches!(want, Want::Named(_)) && body.on_failure == OnFailure::Replace {
            return Err(Invalid::new(
                "on_failure",
                "none can take the place of machines asked for by name: give `count`, or let it be `keep`",
            ));
        }
        Ok(Self {
            username,
            login,
            want,
            expires_at: parse_end(body.duration, body.until, now)?,
            shell: body.shell.as_deref().map(|shell| field("shell", shell)).transpose()?,
            groups,
            sudo: body.sudo,
            on_failure: body.on_failure,
        })
    }
}

impl Login {
    fn parse(password: Option<String>, hash: Option<String>, keys: Vec<String>) -> Result<Self, Invalid> {
        let ssh_keys = keys.iter().map(|key| field("ssh_keys", key)).collect::<Result<Vec<SshKey>, _>>()?;
        if ssh_keys.len() > 100 {
            return Err(Invalid::new("ssh_keys", "at most 100 keys"));
        }
        let secret = match (password, hash) {
            (Some(_), Some(_)) => {
                return Err(Invalid::new("password_hash", "give it or `password`, not both"));
            }
            (Some(text), None) => Some(LoginSecret::Password(
                Password::try_from(text).map_err(|why| Invalid::new("password", why))?,
            )),
            (None, Some(text)) => Some(LoginSecret::Hash(field("password_hash", &text)?)),
            (None, None) if ssh_keys.is_empty() => {
                let why = "give `password`, `password_hash` or `ssh_keys`, or keep keys in your account";
                return Err(Invalid::unfit("password", why));
            }
            (None, None) => None,
        };
        Ok(Self { secret, ssh_keys })
    }
}

fn parse_want(count: Option<i64>, machines: &[String], labels: Labels) -> Result<Want, Invalid> {
    if machines.is_empty() {
        let count = count.unwrap_or(1);
        let fits = u32::try_from(count).ok().filter(|count| (1..=MOST_MACHINES).contains(count));
        let count =
            fits.ok_or_else(|| Invalid::new("count", format!("must be 1 to {MOST_MACHINES}, not {count}")))?;
        return Ok(Want::Count { count, labels });
    }
    let mut names =
        machines.iter().map(|name| field("machines", name)).collect::<Result<Vec<MachineName>, _>>()?;
    names.sort();
    let asked = names.len();
    names.dedup();
    if names.len() != asked {
        return Err(Invalid::new("machines", "names a machine twice"));
    }
    if count.is_some_and(|count| count != asked as i64) {
        return Err(Invalid::new("count", "leave it out, or let it be the number of `machines`"));
    }
    if !labels.is_empty() {
        return Err(Invalid::new("labels", "give them or `machines`, not both"));
    }
    if names.len() > MOST_MACHINES as usize {
        return Err(Invalid::new("machines", format!("at most {MOST_MACHINES}")));
    }
    Ok(Want::Named(names))
}

/// When a lease ends that is wanted for `duration` from now, or `until` a time.
pub fn parse_end(
    duration: Option<DurationText>,
    until: Option<String>,
    now: Timestamp,
) -> Result<Timestamp, Invalid> {
    let (name, end) = match (duration, until) {
        (Some(_), Some(_)) => return Err(Invalid::new("until", "give it or `duration`, not both")),
        (None, None) => return Err(Invalid::new("duration", "give `duration` (\"90m\", \"2h\") or `until`")),
        (Some(text), None) => {
            let lasts = text.parse().map_err(|why| Invalid::new("duration", why))?;
            let lasts =
                SignedDuration::try_from(lasts).map_err(|_| Invalid::new("duration", "is too long"))?;
            ("duration", now.checked_add(lasts))
        }
        (None, Some(text)) => ("until", text.parse::<Timestamp>()),
    };
    let end = end.map_err(|_| Invalid::new(name, "is no time such as `2026-01-31T18:00:00Z`"))?;
    let lasts = end.duration_since(now);
    if lasts <= SignedDuration::ZERO {
        return Err(Invalid::unfit(name, format!("`{end}` has passed; it is {now}")));
    }
    if lasts.unsigned_abs() > duration::LONGEST {
        return Err(Invalid::unfit(
            name,
            format!("must be at most {} days ahead", duration::LONGEST.as_secs() / 86_400),
        ));
    }
    Ok(end)
}

fn field<T: std::str::FromStr<Err = String>>(name: &'static str, text: &str) -> Result<T, Invalid> {
    text.parse().map_err(|why: String| Invalid::new(name, why))
}
