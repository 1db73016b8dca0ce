//! Where a name leads, and where it must not: to what only this server may ask, such as a cloud's metadata.

use super::VisitError;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Where clouds tell their machines secrets, outside the link-local ranges.
const METADATA: [IpAddr; 5] = [
    IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)),
    IpAddr::V4(Ipv4Addr::new(168, 63, 129, 16)),
    IpAddr::V4(Ipv4Addr::new(192, 0, 0, 192)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)),
    IpAddr::V6(Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254)),
];

/// Every address of a name, all of them allowed. Who connects uses these: a second look-up might say something else.
pub(crate) async fn resolve(
    host: &str,
    port: u16,
    allow_link_local: bool,
) -> Result<Vec<SocketAddr>, VisitError> {
    let unknown = |reason: String| VisitError::NoSuchName { host: host.to_owned(), reason };
    let found = tokio::net::lookup_host((host, port)).await.map_err(|error| unknown(error.to_string()))?;
    let found: Vec<SocketAddr> = found.collect();
    if found.is_empty() {
        return Err(unknown("it has no address".to_owned()));
    }
    match found.iter().map(SocketAddr::ip).find(|address| is_forbidden(*address, allow_link_local)) {
        Some(address) => Err(VisitError::Forbidden { host: host.to_owned(), address }),
        None => Ok(found),
    }
}

pub(crate) fn is_forbidden(address: IpAddr, allow_link_local: bool) -> bool {
    let address = embedded(address);
    let is_nobody = match address {
        IpAddr::V4(v4) => v4.octets()[0] == 0 || v4.is_broadcast() || v4.is_multicast(),
        IpAddr::V6(v6) => v6.is_unspecified() || v6.is_multicast(),
    };
    let is_local = match address {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    };
    is_nobody || !allow_link_local && (is_local || METADATA.contains(&address))
}

/// The IPv4 address that an IPv6 address is another form of: mapped, or behind NAT64.
fn embedded(address: IpAddr) -> IpAddr {
    let IpAddr::V6(v6) = address else { return address };
    match v6.segments() {
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => {
            IpAddr::V4(Ipv4Addr::from(u32::from(high) << 16 | u32::from(low)))
        }
        _ => v6.to_canonical(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_refused(address: &str, allow_link_local: bool) -> bool {
        is_forbidden(address.parse().unwrap(), allow_link_local)
    }

    #[test]
    fn metadata_and_link_local_addresses_are_refused_unless_allowed() {
        for address in [
            "169.254.169.254",
            "169.254.0.1",
            "fe80::1",
            "::ffff:169.254.169.254",
            "64:ff9b::a9fe:a9fe",
            "100.100.100.200",
            "168.63.129.16",
            "fd00:ec2::254",
        ] {
            assert!(is_refused(address, false), "{address}");
            assert!(!is_refused(address, true), "{address}");
        }
    }

    #[test]
    fn what_is_nobody_in_particular_is_always_refused() {
        for address in
            ["0.0.0.0", "0.1.2.3", "::", "255.255.255.255", "224.0.0.1", "ff02::1", "::ffff:0.0.0.0"]
        {
            assert!(is_refused(address, true), "{address}");
        }
    }

    #[test]
    fn private_addresses_and_loopback_are_machines() {
        for address in
            ["127.0.0.1", "10.1.2.3", "192.168.0.1", "172.17.0.2", "8.8.8.8", "::1", "fd00::1", "2001:db8::1"]
        {
            assert!(!is_refused(address, false), "{address}");
        }
    }

    #[tokio::test]
    async fn a_name_is_judged_by_what_it_leads_to() {
        assert!(resolve("localhost", 22, false).await.is_ok());
        // The same number, as some programs write it.
        let error = resolve("2852039166", 22, false).await.unwrap_err();
        assert!(matches!(error, VisitError::Forbidden { .. }), "{error}");
        let error = resolve("no-such-host.invalid", 22, false).await.unwrap_err();
        assert!(matches!(error, VisitError::NoSuchName { .. }), "{error}");
    }
}
