//! Names of users, groups, machines and pools, and labels.

mod derived;

use crate::serde_as_text;
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, fmt, str::FromStr};

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $check:path) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(String);

        impl $name {
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }
        impl FromStr for $name {
            type Err = String;
            fn from_str(text: &str) -> Result<Self, String> {
                $check(text)?;
                Ok(Self(text.to_owned()))
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", self.0)
            }
        }
        serde_as_text!($name);
    };
}

name!(
    /// A Unix user that Berth makes: `^[a-z_][a-z0-9_-]{0,30}$` and no name a system claims for itself.
    UserName,
    check_user
);
name!(
    /// A Unix group that exists on the machine and is no door to root.
    GroupName,
    check_unix
);
name!(
    /// A machine: 1 to 63 of `a-z 0-9 . -`, a letter or digit at both ends.
    MachineName,
    check_host
);
name!(
    /// A pool of machines, named like a machine.
    PoolName,
    check_host
);

name!(
    /// Who asks Berth for machines: 1 to 63 of `a-z 0-9 . _ -`, a letter first.
    AccountName,
    check_account
);

/// Of characters.
const LONGEST_USER: usize = 31;

/// Users and groups that Debian, Alpine, RHEL or their daemons bring. A tenant with such a name would inherit what
/// the system gives to it, and its private group of the same name likewise.
pub(crate) const CLAIMED: &[&str] = &[
    "_apt",
    "adm",
    "admin",
    "at",
    "audio",
    "avahi",
    "backup",
    "berth",
    "bin",
    "cdrom",
    "chrony",
    "crontab",
    "cron",
    "daemon",
    "dbus",
    "dialout",
    "dip",
    "disk",
    "docker",
    "fax",
    "floppy",
    "ftp",
    "games",
    "gnats",
    "guest",
    "halt",
    "input",
    "irc",
    "kmem",
    "kvm",
    "libvirt",
    "list",
    "lp",
    "lxd",
    "mail",
    "man",
    "messagebus",
    "netdev",
    "news",
    "nobody",
    "nogroup",
    "ntp",
    "operator",
    "ping",
    "plugdev",
    "polkitd",
    "postfix",
    "postgres",
    "postmaster",
    "proxy",
    "render",
    "root",
    "sasl",
    "sgx",
    "shadow",
    "shutdown",
    "smmsp",
    "squid",
    "src",
    "ssh",
    "sshd",
    "staff",
    "sudo",
    "svn",
    "sync",
    "sys",
    "tape",
    "tcpdump",
    "tss",
    "tty",
    "users",
    "utmp",
    "uucp",
    "uuidd",
    "video",
    "voice",
    "wheel",
    "www-data",
    "xfs",
];

/// Groups whose members are root by another name.
pub(crate) const ROOTLIKE: &[&str] =
    &["adm", "disk", "docker", "kmem", "kvm", "libvirt", "lxd", "root", "shadow", "staff", "sudo", "wheel"];

impl GroupName {
    /// Whether membership amounts to being root (`docker`, `disk`, …).
    pub fn is_rootlike(&self) -> bool {
        ROOTLIKE.contains(&self.as_str())
    }
}

fn check_user(text: &str) -> Result<(), String> {
    check_unix(text)?;
    let claimed = CLAIMED.contains(&text) || text.starts_with("systemd-") || text.starts_with("_");
    if claimed {
        return Err(format!("`{text}` belongs to the system; choose another name"));
    }
    Ok(())
}

fn check_unix(text: &str) -> Result<(), String> {
    let start = |c: u8| c.is_ascii_lowercase() || c == b'_';
    let rest = |c: u8| start(c) || c.is_ascii_digit() || c == b'-';
    let fits = matches!(text.as_bytes(), [first, others @ ..] if start(*first) && others.len() < LONGEST_USER && others.iter().all(|&c| rest(c)));
    if fits {
        return Ok(());
    }
    Err("use 1 to 31 of a-z, 0-9, `_` and `-`, starting with a letter".to_owned())
}

fn check_account(text: &str) -> Result<(), String> {
    let allowed = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || b"._-".contains(&c);
    let fits = (1..=63).contains(&text.len())
        && text.bytes().all(allowed)
        && text.starts_with(|first: char| first.is_ascii_lowercase());
    if fits {
        Ok(())
    } else {
        Err("use 1 to 63 of `a-z`, `0-9`, `.`, `_` and `-`, a letter first".to_owned())
    }
}

fn check_host(text: &str) -> Result<(), String> {
    let edge = |c: &u8| c.is_ascii_lowercase() || c.is_ascii_digit();
    let inner = |c: &u8| edge(c) || *c == b'-' || *c == b'.';
    let bytes = text.as_bytes();
    let ends_well = bytes.first().is_some_and(edge) && bytes.last().is_some_and(edge);
    if ends_well && bytes.len() <= 63 && bytes.iter().all(inner) && !text.contains("..") {
        return Ok(());
    }
    Err("use 1 to 63 of a-z, 0-9, `-` and single `.`, with a letter or digit at both ends".to_owned())
}

/// What a machine is labelled with, and what a reservation asks for: every pair asked for must be there.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "BTreeMap<String, String>")]
pub struct Labels(BTreeMap<String, String>);

impl Labels {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn covers(&self, asked: &Labels) -> bool {
        asked.0.iter().all(|(key, value)| self.0.get(key) == Some(value))
    }

    /// These and those; none if they contradict each other.
    pub fn with(&self, others: &Labels) -> Option<Self> {
        let agree = others.0.iter().all(|(key, value)| self.0.get(key).is_none_or(|own| own == value));
        agree.then(|| {
            Self(self.0.iter().chain(&others.0).map(|(key, value)| (key.clone(), value.clone())).collect())
        })
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(key, value)| (key.as_str(), value.as_str()))
    }
}

impl TryFrom<BTreeMap<String, String>> for Labels {
    type Error = String;
    fn try_from(pairs: BTreeMap<String, String>) -> Result<Self, String> {
        if pairs.len() > 32 {
            return Err("at most 32 labels".to_owned());
        }
        for (key, value) in &pairs {
            check_label(key, 1)?;
            check_label(value, 0)?;
        }
        Ok(Self(pairs))
    }
}

/// `os=debian,size=large`
impl fmt::Display for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pairs: Vec<_> = self.iter().map(|(key, value)| format!("{key}={value}")).collect();
        f.write_str(&pairs.join(","))
    }
}

impl FromStr for Labels {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let mut pairs = BTreeMap::new();
        for pair in text.split(',').filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').ok_or_else(|| format!("`{pair}` is not `key=value`"))?;
            pairs.insert(key.trim().to_owned(), value.trim().to_owned());
        }
        Self::try_from(pairs)
    }
}

fn check_label(text: &str, min: usize) -> Result<(), String> {
    let allowed = |c: u8| c.is_ascii_alphanumeric() || b"-_./".contains(&c);
    if (min..=63).contains(&text.len()) && text.bytes().all(allowed) {
        return Ok(());
    }
    Err(format!("label `{}`: use up to 63 of letters, digits and - _ . /", text.escape_debug()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_names_that_useradd_accepts_and_we_do_not() {
        for bad in [
            "",
            "a;id",
            "..",
            "1234",
            "é",
            "root2$",
            "a.b",
            "A",
            "root",
            "sudo",
            "docker",
            "a b",
            "al\nice",
            "-a",
            "systemd-x",
            "_apt",
        ] {
            assert!(bad.parse::<UserName>().is_err(), "{bad:?}");
        }
        assert!("a".repeat(32).parse::<UserName>().is_err());
        assert!("a".repeat(31).parse::<UserName>().is_ok());
        for good in ["alice", "a", "b-2_c"] {
            assert_eq!(good.parse::<UserName>().unwrap().as_str(), good);
        }
    }

    #[test]
    fn machine_names() {
        for good in ["m1", "debian-1", "web.example.org", "1"] {
            assert!(good.parse::<MachineName>().is_ok(), "{good}");
        }
        for bad in ["", "-a", "a-", "a..b", "A", "a/b", "a b", &"a".repeat(64)] {
            assert!(bad.parse::<MachineName>().is_err(), "{bad}");
        }
    }

    #[test]
    fn labels_cover_what_is_asked() {
        let have: Labels = "os=debian,size=large".parse().unwrap();
        assert!(have.covers(&"os=debian".parse().unwrap()));
        assert!(have.covers(&Labels::default()));
        assert!(!have.covers(&"os=alpine".parse().unwrap()));
        assert!(!have.covers(&"gpu=1".parse().unwrap()));
        assert!("nonsense".parse::<Labels>().is_err());
        assert!("a=b\nc".parse::<Labels>().is_err());
    }
}
