//! Which port of this host leads to a machine's SSH server.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, TcpListener};
use std::sync::{Mutex, MutexGuard, PoisonError};

pub(super) const FIRST: u16 = 2221;
/// Above it the kernel hands out ports for outgoing connections.
const LAST: u16 = 32_767;

/// The ports promised to containers that do not hold them yet: two creations at once get different ones.
#[derive(Default)]
pub(super) struct Ports(Mutex<BTreeSet<u16>>);

/// A port that nobody else is given until this is dropped.
pub(super) struct Claim<'a> {
    pub(super) port: u16,
    ports: &'a Ports,
}

impl Ports {
    /// The lowest port that is not taken and that `free` agrees to.
    pub(super) fn claim(&self, taken: &BTreeSet<u16>, free: impl Fn(u16) -> bool) -> Option<Claim<'_>> {
        let mut promised = self.promised();
        let port =
            (FIRST..=LAST).find(|port| !taken.contains(port) && !promised.contains(port) && free(*port))?;
        promised.insert(port);
        Some(Claim { port, ports: self })
    }

    fn promised(&self) -> MutexGuard<'_, BTreeSet<u16>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        self.ports.promised().remove(&self.port);
    }
}

/// Whether some program other than the engine listens there.
pub(super) fn is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lowest_port_that_is_not_taken_promised_or_in_use() {
        let ports = Ports::default();
        let taken = BTreeSet::from([2221, 2223]);
        let first = ports.claim(&taken, |_| true).unwrap();
        let second = ports.claim(&taken, |port| port != 2224).unwrap();
        assert_eq!((first.port, second.port), (2222, 2225));
        drop(first);
        assert_eq!(ports.claim(&taken, |_| true).unwrap().port, 2222);
        assert!(ports.claim(&taken, |_| false).is_none());
    }

    #[test]
    fn a_port_with_a_listener_is_not_free() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        assert!(!is_free(listener.local_addr().unwrap().port()));
    }
}
