//! The table of who may do what.

use super::Scope;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// What an account is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Reserves machines, and looks after what is theirs.
    User,
    /// Looks after everything.
    Admin,
}

/// How much of what its account may do a credential lets one do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// Looking.
    Read,
    /// Looking, and reserving.
    Reserve,
    /// All of it.
    #[default]
    Admin,
}

/// What somebody wants to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deed {
    /// See machines, pools, what is free, and reservations of their own.
    Look,
    /// Make, extend and release reservations of their own.
    Reserve,
    /// Change their own password, keys and tokens.
    OwnAccount,
    /// See what happened, and to whom.
    Audit,
    /// Change machines and pools.
    Machines,
    /// See, make and change everybody's accounts.
    Accounts,
}

impl Deed {
    pub const ALL: [Self; 6] =
        [Self::Look, Self::Reserve, Self::OwnAccount, Self::Audit, Self::Machines, Self::Accounts];

    pub fn name(self) -> &'static str {
        match self {
            Self::Look => "look",
            Self::Reserve => "reserve",
            Self::OwnAccount => "own_account",
            Self::Audit => "audit",
            Self::Machines => "machines",
            Self::Accounts => "accounts",
        }
    }

    /// The least that it takes: nobody with less may.
    pub fn takes(self) -> (Role, Level) {
        match self {
            Self::Look => (Role::User, Level::Read),
            Self::Reserve => (Role::User, Level::Reserve),
            Self::OwnAccount => (Role::User, Level::Admin),
            Self::Audit => (Role::Admin, Level::Read),
            Self::Machines | Self::Accounts => (Role::Admin, Level::Admin),
        }
    }

    /// Whoever holds a token for a few machines only could make one for all of them, if it let them.
    pub fn is_allowed(self, role: Role, scope: &Scope) -> bool {
        let (least_role, least_level) = self.takes();
        let fits = least_level < Level::Admin || !scope.is_narrow();
        role >= least_role && scope.level >= least_level && fits
    }
}

impl Role {
    pub fn name(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Admin => "admin",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Role {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "user" => Ok(Self::User),
            "admin" => Ok(Self::Admin),
            _ => Err("must be `user` or `admin`".to_owned()),
        }
    }
}

impl Level {
    pub fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Reserve => "reserve",
            Self::Admin => "admin",
        }
    }
}

impl FromStr for Level {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        [Self::Read, Self::Reserve, Self::Admin]
            .into_iter()
            .find(|level| level.name() == text)
            .ok_or_else(|| "must be `read`, `reserve` or `admin`".to_owned())
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_narrow_credential_of_an_admin_does_not_what_admins_do() {
        let may = |role, level| {
            let scope = Scope { level, ..Scope::default() };
            Deed::ALL.into_iter().filter(|deed| deed.is_allowed(role, &scope)).count()
        };
        let levels = [Level::Read, Level::Reserve, Level::Admin];
        assert_eq!(levels.map(|level| may(Role::Admin, level)), [2, 3, 6]);
        assert_eq!(levels.map(|level| may(Role::User, level)), [1, 2, 3]);
        let one_machine = Scope { machines: Some(1), ..Scope::default() };
        let allowed = Deed::ALL.into_iter().filter(|deed| deed.is_allowed(Role::Admin, &one_machine));
        assert_eq!(allowed.collect::<Vec<_>>(), [Deed::Look, Deed::Reserve, Deed::Audit]);
    }
}
