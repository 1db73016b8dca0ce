//! What a pool may run in place of machines to lend: containers as their image has them, each with a port of its own.

use crate::Invalid;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::str::FromStr;

/// What each gets of its own; nothing else may be called so.
pub const PORT_VARIABLE: &str = "SERVER_PORT";
pub const TOKEN_VARIABLE: &str = "TOKEN";

const MOST_VARIABLES: usize = 32;
const LONGEST_NAME: usize = 63;
const LONGEST_VALUE: usize = 1024;
const CPUS: RangeInclusive<f64> = 0.01..=512.0;
/// The least that the Docker engine takes, and more than any computer has.
const MEMORY_MIB: RangeInclusive<u32> = 6..=16 * 1024 * 1024;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Service {
    /// Beside `SERVER_PORT`, its published port, and `TOKEN`, a secret that nobody else is told: each container gets those
    /// of its own. Whoever sees the pool sees the rest, so it is no place for secrets.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schema(value_type = crate::text::Environment, required = false))]
    pub environment: BTreeMap<String, String>,
    /// Of the provider's computer: where its port is published.
    #[cfg_attr(feature = "schema", schema(value_type = crate::text::IpAddress))]
    pub address: IpAddr,
    /// The first that is published; further ones get the next that are free.
    #[cfg_attr(feature = "schema", schema(minimum = 1, maximum = 65535))]
    pub port: u16,
    /// The port inside, such as `80/udp`, which it also is when left out.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schema(value_type = crate::text::PortText, required = false))]
    pub inside: Inside,
    #[cfg_attr(feature = "schema", schema(minimum = 0.01, maximum = 512))]
    pub cpus: f64,
    #[cfg_attr(feature = "schema", schema(minimum = 6, maximum = 16777216))]
    pub memory_mib: u32,
}

/// A port and its protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Inside {
    pub port: u16,
    pub protocol: Protocol,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Protocol {
    Tcp,
    Udp,
}

impl Service {
    pub fn check(&self) -> Result<(), Invalid> {
        let refused = |why: String| Err(Invalid::new("service", why));
        if self.environment.len() > MOST_VARIABLES {
            return refused(format!("at most {MOST_VARIABLES} variables fit into its `environment`"));
        }
        for (name, value) in &self.environment {
            check_variable(name, value)?;
        }
        if self.port == 0 {
            return refused("its `port` must be 1 to 65535".to_owned());
        }
        if !CPUS.contains(&self.cpus) {
            return refused(format!("its `cpus` must be {} to {}", CPUS.start(), CPUS.end()));
        }
        if !MEMORY_MIB.contains(&self.memory_mib) {
            let (least, most) = (MEMORY_MIB.start(), MEMORY_MIB.end());
            return refused(format!("its `memory_mib` must be {least} to {most}"));
        }
        Ok(())
    }
}

fn check_variable(name: &str, value: &str) -> Result<(), Invalid> {
    let shown = name.escape_debug();
    let is_named = name.len() <= LONGEST_NAME
        && name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    if !is_named {
        let why =
            format!("`{shown}` is no name of a variable: use up to {LONGEST_NAME} letters, digits and `_`");
        return Err(Invalid::new("service", why));
    }
    if value.chars().count() > LONGEST_VALUE || value.chars().any(char::is_control) {
        let why = format!("the value of `{shown}` is too long, or has characters that terminals obey");
        return Err(Invalid::new("service", why));
    }
    if [PORT_VARIABLE, TOKEN_VARIABLE].contains(&name) {
        let why = format!("leave `{name}` out: each container gets one of its own");
        return Err(Invalid::unfit("service", why));
    }
    Ok(())
}

impl Protocol {
    pub fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        }
    }
}

impl Default for Inside {
    fn default() -> Self {
        Self { port: 80, protocol: Protocol::Udp }
    }
}

impl fmt::Display for Inside {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.port, self.protocol.name())
    }
}

impl FromStr for Inside {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{}` is no port such as `80/udp`", text.escape_debug());
        let (port, protocol) = text.split_once('/').ok_or_else(wrong)?;
        let protocol = [Protocol::Tcp, Protocol::Udp].into_iter().find(|known| known.name() == protocol);
        let port =
            port.parse().ok().filter(|port| *port > 0 && text.starts_with(|c: char| c.is_ascii_digit()));
        Ok(Self { port: port.ok_or_else(wrong)?, protocol: protocol.ok_or_else(wrong)? })
    }
}

impl Serialize for Inside {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Inside {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service() -> Service {
        let text = r#"{"address": "127.0.0.1", "port": 8000, "cpus": 2, "memory_mib": 1536}"#;
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn a_port_has_a_protocol() {
        assert_eq!(service().inside.to_string(), "80/udp");
        for good in ["1/tcp", "65535/udp"] {
            assert_eq!(good.parse::<Inside>().map(|inside| inside.to_string()), Ok(good.to_owned()));
        }
        for bad in ["", "80", "80/", "/udp", "0/udp", "+80/udp", "65536/udp", "80/sctp", "80/UDP", "80/udp/1"]
        {
            assert!(bad.parse::<Inside>().is_err(), "{bad}");
        }
    }

    #[test]
    fn what_cannot_be_is_named() {
        assert_eq!(service().check(), Ok(()));
        let with = |name: &str, value: &str| {
            Service { environment: [(name.to_owned(), value.to_owned())].into(), ..service() }.check()
        };
        assert_eq!(with("HTTPAPIURL", "http://h"), Ok(()));
        for (name, value) in [("", "x"), ("1A", "x"), ("A B", "x"), ("A=B", "x"), ("A", "x\ny")] {
            assert!(with(name, value).is_err_and(|invalid| !invalid.is_unfit), "{name:?} {value:?}");
        }
        for taken in [TOKEN_VARIABLE, PORT_VARIABLE] {
            assert!(with(taken, "x").is_err_and(|invalid| invalid.is_unfit), "{taken}");
        }
        for (odd, says) in [
            (Service { port: 0, ..service() }, "`port`"),
            (Service { cpus: 0.0, ..service() }, "`cpus`"),
            (Service { cpus: f64::NAN, ..service() }, "`cpus`"),
            (Service { memory_mib: 5, ..service() }, "`memory_mib`"),
        ] {
            assert!(odd.check().is_err_and(|invalid| invalid.why.contains(says)), "{says}");
        }
    }
}
