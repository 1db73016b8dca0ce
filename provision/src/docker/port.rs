//! Which port of this host leads to a machine's SSH server, or to a service.

use model::service::Protocol;
use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, TcpListener, UdpSocket};
use std::ops::RangeInclusive;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Those of SSH servers. Above them the kernel hands out ports for outgoing connections.
pub(super) const LENT: RangeInclusive<u16> = 2221..=32_767;

/// The ports promised to containers that do not hold them yet: two creations at once get different ones.
#[derive(Default)]
pub(super) struct Ports(Mutex<BTreeSet<Port>>);

pub(super) type Port = (Protocol, u16);

/// A port that nobody else is given until this is dropped.
pub(super) struct Claim<'a> {
    pub(super) port: u16,
    protocol: Protocol,
    ports: &'a Ports,
}

impl Ports {
    /// The lowest port that is not taken and that `free` agrees to.
    pub(super) fn claim(
        &self,
        protocol: Protocol,
        mut among: RangeInclusive<u16>,
        taken: &BTreeSet<Port>,
        free: impl Fn(u16) -> bool,
    ) -> Option<Claim<'_>> {
        let mut promised = self.promised();
        let is_left = |port: u16| !taken.contains(&(protocol, port)) && !promised.contains(&(protocol, port));
        let port = among.find(|port| is_left(*port) && free(*port))?;
        promised.insert((protocol, port));
        Some(Claim { port, protocol, ports: self })
    }

    fn promised(&self) -> MutexGuard<'_, BTreeSet<Port>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        self.ports.promised().remove(&(self.protocol, self.port));
    }
}

/// Whether no program other than the engine listens there.
pub(super) fn is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}

/// The same of a service's. Whatever else is wrong with the address, the engine says better.
pub(super) fn is_free_at(address: IpAddr, protocol: Protocol, port: u16) -> bool {
    let bound = match protocol {
        Protocol::Tcp => TcpListener::bind((address, port)).map(|_| ()),
        Protocol::Udp => UdpSocket::bind((address, port)).map(|_| ()),
    };
    bound.map_or_else(|error| error.kind() != ErrorKind::AddrInUse, |()| true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lowest_port_that_is_not_taken_promised_or_in_use() {
        let ports = Ports::default();
        let taken = [2221, 2223].map(|port| (Protocol::Tcp, port)).into();
        let first = ports.claim(Protocol::Tcp, LENT, &taken, |_| true).unwrap();
        let second = ports.claim(Protocol::Tcp, LENT, &taken, |port| port != 2224).unwrap();
        assert_eq!((first.port, second.port), (2222, 2225));
        drop(first);
        assert_eq!(ports.claim(Protocol::Tcp, LENT, &taken, |_| true).unwrap().port, 2222);
        assert_eq!(ports.claim(Protocol::Udp, LENT, &taken, |_| true).unwrap().port, 2221);
        assert!(ports.claim(Protocol::Tcp, LENT, &taken, |_| false).is_none());
    }

    #[test]
    fn a_port_with_a_listener_is_not_free() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        assert!(!is_free(port));
        let here = IpAddr::V4(Ipv4Addr::LOCALHOST);
        assert!(!is_free_at(here, Protocol::Tcp, port) && is_free_at(here, Protocol::Udp, port));
        let socket = UdpSocket::bind((here, 0)).unwrap();
        assert!(!is_free_at(here, Protocol::Udp, socket.local_addr().unwrap().port()));
    }
}
