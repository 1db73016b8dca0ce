//! Who is at the other end of a connection.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use warp::http::HeaderMap;
use warp::{Filter, Rejection};

/// As the accept loop saw it, or as our own proxy says. Every request has one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Peer {
    Address(IpAddr),
    /// Somebody on this computer, by a socket in a folder.
    Unix,
    /// Our proxy says whom it speaks for, and we cannot read it.
    Unknown,
}

/// Who asks.
pub fn peer() -> impl Filter<Extract = (Peer,), Error = Rejection> + Copy {
    warp::ext::get::<Peer>()
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Unix => f.write_str("unix"),
            Self::Unknown => f.write_str("unknown"),
        }
    }
}

impl From<SocketAddr> for Peer {
    fn from(address: SocketAddr) -> Self {
        Self::Address(address.ip().to_canonical())
    }
}

impl Peer {
    /// This peer is our proxy: who asks is whom it has added last. Whatever stands before that, anybody may have written,
    /// and it need not be text. Who comes without the proxy adds nothing.
    pub(super) fn behind(self, headers: &HeaderMap) -> Self {
        let Some(added) = headers.get_all("x-forwarded-for").iter().next_back() else { return self };
        let last = added.as_bytes().rsplit(|byte| *byte == b',').next().unwrap_or_default();
        let last = std::str::from_utf8(last).ok().and_then(|entry| address(entry.trim()));
        last.map_or(Self::Unknown, Self::Address)
    }

    /// What is counted as one: a single customer has 2^64 addresses of IPv6. Absent: this computer, which is not counted.
    pub(super) fn network(self) -> Option<IpAddr> {
        match self {
            Self::Unix => None,
            // All of them as one.
            Self::Unknown => Some(Ipv4Addr::UNSPECIFIED.into()),
            Self::Address(address) if address.is_loopback() => None,
            Self::Address(IpAddr::V6(address)) => {
                Some(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into())
            }
            Self::Address(address) => Some(address),
        }
    }
}

/// Some proxies add the port.
fn address(entry: &str) -> Option<IpAddr> {
    let bare = entry.strip_prefix('[').and_then(|entry| entry.strip_suffix(']')).unwrap_or(entry);
    let address = bare.parse().or_else(|_| entry.parse().map(|address: SocketAddr| address.ip()));
    Some(address.ok()?.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;
    use warp::http::HeaderValue;

    fn ip(text: &str) -> Peer {
        Peer::Address(text.parse().unwrap())
    }

    #[test]
    fn the_last_entry_is_our_proxys() {
        let behind_bytes = |lists: &[&[u8]]| {
            let mut headers = HeaderMap::new();
            for list in lists {
                headers.append("x-forwarded-for", HeaderValue::from_bytes(list).unwrap());
            }
            ip("127.0.0.1").behind(&headers).to_string()
        };
        let behind =
            |lists: &[&str]| behind_bytes(&lists.iter().map(|list| list.as_bytes()).collect::<Vec<_>>());
        assert_eq!(behind(&["192.0.2.1"]), "192.0.2.1");
        assert_eq!(behind(&["10.0.0.1, 192.0.2.1"]), "192.0.2.1", "the first entry is the client's own word");
        assert_eq!(behind(&["10.0.0.1", "192.0.2.1"]), "192.0.2.1");
        assert_eq!(behind(&["2001:db8::1"]), "2001:db8::1");
        assert_eq!(behind(&["[2001:db8::1]"]), "2001:db8::1");
        assert_eq!(behind(&["[2001:db8::1]:4711"]), "2001:db8::1");
        assert_eq!(behind(&["192.0.2.1:4711"]), "192.0.2.1");
        assert_eq!(behind(&["::ffff:192.0.2.1"]), "192.0.2.1");
        assert_eq!(behind_bytes(&[b"\xff, 192.0.2.1"]), "192.0.2.1", "and need not be text");
        assert_eq!(behind(&[]), "127.0.0.1", "it came without the proxy");
        for wrong in [&[""][..], &["unknown"], &["192.0.2.1,"], &["192.0.2.1, evil"]] {
            assert_eq!(behind(wrong), "unknown", "{wrong:?}");
        }
        assert_eq!(behind_bytes(&[b"192.0.2.1, \xff"]), "unknown");
        assert!(Peer::Unknown.network().is_some(), "and is no program of this computer");
    }

    #[test]
    fn a_network_is_counted_as_one() {
        assert_eq!(ip("2001:db8::1").network(), ip("2001:db8::ffff:1").network());
        assert_ne!(ip("2001:db8::1").network(), ip("2001:db8:0:1::1").network());
        assert_ne!(ip("192.0.2.1").network(), ip("192.0.2.2").network());
        let mapped = Peer::from("[::ffff:192.0.2.1]:4711".parse::<SocketAddr>().unwrap());
        assert_eq!((mapped, mapped.network()), (ip("192.0.2.1"), ip("192.0.2.1").network()));
        for ours in [Peer::Unix, ip("127.0.0.7"), ip("::1")] {
            assert_eq!(ours.network(), None);
        }
    }
}
