//! Machines that are only listed and looked at: no agent speaks for them, nobody logs in, and they are never lent.

use crate::{Invalid, Labels};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

/// Where a media server is looked for, unless its address says.
const PORT: u16 = 443;
/// Characters of what is said of a media server.
const LONGEST: usize = 255;
/// Leaves room for what tells apart those whose addresses look alike.
const LONGEST_NAME: usize = 50;

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listing {
    /// Absent for a service that its pool runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_server: Option<MediaServer>,
    /// Absent until somebody has looked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub probe: Option<Probe>,
}

/// A media server, as whoever registered it described it, to the letter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct MediaServer {
    /// Any text; what cannot be dialled is down.
    pub ip: String,
    pub country: String,
    pub region: String,
    /// `SFU`, `MCU`, or what else they say.
    #[serde(rename = "type")]
    pub kind: String,
}

/// What was seen of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Probe {
    pub up: bool,
    pub since: Timestamp,
}

impl Probe {
    /// What there is to write, after a look, if that saw another thing than those before.
    pub fn news(known: Option<Self>, up: bool, now: Timestamp) -> Option<Self> {
        known.is_none_or(|known| known.up != up).then_some(Self { up, since: now })
    }
}

impl MediaServer {
    pub fn check(&self) -> Result<(), Invalid> {
        let Self { ip, country, region, kind } = self;
        let all = [("ip", ip), ("country", country), ("region", region), ("type", kind)];
        all.into_iter().try_for_each(|(field, text)| check(field, text))
    }

    /// A name for the machine, which another one may have as well.
    pub fn machine_name(&self) -> String {
        let mut name = String::new();
        for c in self.ip.chars().map(|c| c.to_ascii_lowercase()) {
            let is_edge = c.is_ascii_lowercase() || c.is_ascii_digit();
            // A name has no two separators in a row, and begins with none.
            if is_edge {
                name.push(c);
            } else if name.ends_with(|last: char| last.is_ascii_alphanumeric()) {
                name.push(if c == '.' { '.' } else { '-' });
            }
        }
        name.truncate(LONGEST_NAME);
        let name = name.trim_end_matches(['.', '-']);
        if name.is_empty() { "media-server".to_owned() } else { name.to_owned() }
    }

    /// Where to look for it. The host may be none that can be dialled.
    pub fn place(&self) -> (String, u16) {
        if self.ip.parse::<IpAddr>().is_ok() {
            return (self.ip.clone(), PORT);
        }
        if let Ok(address) = self.ip.parse::<SocketAddr>() {
            return (address.ip().to_string(), address.port());
        }
        match self.ip.rsplit_once(':') {
            Some((host, port)) if !host.contains(':') => match port.parse() {
                Ok(port) => (host.to_owned(), port),
                Err(_) => (self.ip.clone(), PORT),
            },
            Some(_) | None => (self.ip.clone(), PORT),
        }
    }

    /// What it can be found by, as far as labels can say it.
    pub fn labels(&self) -> Labels {
        let said = [("country", &self.country), ("region", &self.region), ("type", &self.kind)];
        let pairs: BTreeMap<_, _> = said.map(|(key, value)| (key.to_owned(), label(value))).into();
        Labels::try_from(pairs).unwrap_or_default()
    }
}

/// Whether it can be said of a media server.
pub fn check(field: &'static str, text: &str) -> Result<(), Invalid> {
    let fits = (1..=LONGEST).contains(&text.chars().count());
    if fits && !text.chars().any(char::is_control) {
        return Ok(());
    }
    Err(Invalid::new(field, format!("use 1 to {LONGEST} characters, and none that terminals obey")))
}

fn label(text: &str) -> String {
    let fitting = |c: char| if c.is_ascii_alphanumeric() || "-_./".contains(c) { c } else { '-' };
    text.chars().map(fitting).take(63).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::MachineName;
    use proptest::prelude::*;

    fn server(ip: &str) -> MediaServer {
        let [country, region, kind] = ["GB", "London W1", "SFU"].map(str::to_owned);
        MediaServer { ip: ip.to_owned(), country, region, kind }
    }

    #[test]
    fn an_address_says_where_to_look_and_what_to_call_it() {
        for (ip, host, port, name) in [
            ("203.0.113.7", "203.0.113.7", 443, "203.0.113.7"),
            ("203.0.113.7:8443", "203.0.113.7", 8443, "203.0.113.7-8443"),
            ("media.example.org", "media.example.org", 443, "media.example.org"),
            ("Media.Example.org:80", "Media.Example.org", 80, "media.example.org-80"),
            ("2001:db8::1", "2001:db8::1", 443, "2001-db8-1"),
            ("[2001:db8::1]:8443", "2001:db8::1", 8443, "2001-db8-1-8443"),
            ("999.1.1.1", "999.1.1.1", 443, "999.1.1.1"),
            ("media:none", "media:none", 443, "media-none"),
            ("..a..b..", "..a..b..", 443, "a.b"),
            ("über all", "über all", 443, "ber-all"),
            ("???", "???", 443, "media-server"),
        ] {
            let server = server(ip);
            assert_eq!(server.place(), (host.to_owned(), port), "{ip}");
            assert_eq!(server.machine_name(), name, "{ip}");
        }
    }

    #[test]
    fn it_is_labelled_as_far_as_labels_can_say_it() {
        assert_eq!(server("x").labels().to_string(), "country=GB,region=London-W1,type=SFU");
    }

    #[test]
    fn what_is_missing_or_no_text_is_named() {
        assert_eq!(server("x").check(), Ok(()));
        assert_eq!(server("").check().unwrap_err().field, "ip");
        let [long, bell] = ["é".repeat(256), "\u{7}".to_owned()];
        assert_eq!(MediaServer { country: long, ..server("x") }.check().unwrap_err().field, "country");
        assert_eq!(MediaServer { kind: bell, ..server("x") }.check().unwrap_err().field, "type");
        assert_eq!(server(&"é".repeat(255)).check(), Ok(()));
    }

    #[test]
    fn only_another_sight_is_news() {
        let [then, now] = [1, 2].map(|second| Timestamp::from_second(second).unwrap());
        let up = Probe { up: true, since: then };
        assert_eq!(Probe::news(None, true, then), Some(up));
        assert_eq!(Probe::news(Some(up), true, now), None);
        assert_eq!(Probe::news(Some(up), false, now), Some(Probe { up: false, since: now }));
    }

    proptest! {
        #[test]
        fn whatever_is_said_has_a_name_and_labels(ip in ".{1,255}", region in ".{1,255}") {
            let server = MediaServer { region, ..server(&ip) };
            prop_assert!(server.machine_name().parse::<MachineName>().is_ok());
            let marked = format!("{}-0123abcd", server.machine_name());
            prop_assert!(marked.parse::<MachineName>().is_ok(), "{}", marked);
            prop_assert_eq!(server.labels().iter().count(), 3);
        }
    }
}
