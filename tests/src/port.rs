//! Ports of loopback that nobody else gets.

use std::net::{TcpListener, UdpSocket};
use std::sync::atomic::{AtomicU32, Ordering};

/// Below those that the kernel gives away by itself, so that they stay free while a server is down.
const FIRST: u32 = 10_000;
const COUNT: u32 = 20_000;

/// Never the same twice.
pub fn free_port() -> u16 {
    free_ports(1)
}

/// The first of so many in a row.
pub fn free_ports(count: u16) -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    // Another test program may run at the same time.
    let start = std::process::id().wrapping_mul(101);
    for _ in 0..COUNT {
        let at = start.wrapping_add(NEXT.fetch_add(u32::from(count), Ordering::Relaxed)) % COUNT;
        let first = u16::try_from(FIRST + at).unwrap();
        if (first..first + count).all(is_free) {
            return first;
        }
    }
    panic!("no port is free");
}

fn is_free(port: u16) -> bool {
    TcpListener::bind(("0.0.0.0", port)).is_ok() && UdpSocket::bind(("0.0.0.0", port)).is_ok()
}
