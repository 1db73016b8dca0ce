//! What an agent dials.

use std::fmt;
use std::net::{Ipv6Addr, SocketAddr};
use std::str::FromStr;

/// Servers on one database: whichever answers will do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dials(Vec<Dial>);

/// `unix:/path/of/socket`, `https://host:port`, or `http://host:port` with a loopback host: an agent's credential would
/// travel in clear, so it may not leave the machine. Made of letters that shells and service managers leave as they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Dial {
    Unix(String),
    /// Host and port.
    Http(String),
    Https {
        /// A name, or an address without brackets: what the server's certificate has to say.
        host: String,
        port: u16,
    },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DialError {
    Odd(String),
    /// This host is not the agent's own machine.
    Exposed(String),
}

impl fmt::Display for DialError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Odd(text) => {
                write!(
                    f,
                    "`{text}` is no server: give `unix:/path/of/socket`, `https://host:port` or \
                     `http://127.0.0.1:port`"
                )
            }
            Self::Exposed(host) => write!(
                f,
                "`{host}` is not this machine: plain HTTP is for loopback only; use `https://`, or bring the server here by \
                 a tunnel or a socket"
            ),
        }
    }
}

impl std::error::Error for DialError {}

impl fmt::Display for Dial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix:{path}"),
            Self::Http(authority) => write!(f, "http://{authority}"),
            Self::Https { host, port } if host.contains(':') => write!(f, "https://[{host}]:{port}"),
            Self::Https { host, port } => write!(f, "https://{host}:{port}"),
        }
    }
}

impl FromStr for Dial {
    type Err = DialError;

    fn from_str(text: &str) -> Result<Self, DialError> {
        let odd = || DialError::Odd(text.to_owned());
        let allowed = |c: u8| c.is_ascii_alphanumeric() || b"/._-+=:@~[]".contains(&c);
        if !text.bytes().all(allowed) {
            return Err(odd());
        }
        if let Some(path) = text.strip_prefix("unix:").filter(|path| path.starts_with('/')) {
            return Ok(Self::Unix(path.to_owned()));
        }
        if let Some(authority) = text.strip_prefix("https://") {
            return https(authority.trim_end_matches('/')).ok_or_else(odd);
        }
        let authority = text.strip_prefix("http://").ok_or_else(odd)?.trim_end_matches('/');
        let (host, port) = authority.rsplit_once(':').ok_or_else(odd)?;
        let port: u16 = port.parse().map_err(|_| odd())?;
        let authority = format!("{host}:{port}");
        match authority.parse::<SocketAddr>() {
            Ok(address) if address.ip().is_loopback() => Ok(Self::Http(authority)),
            Err(_) if host == "localhost" => Ok(Self::Http(authority)),
            Err(_) if !is_name(host) => Err(odd()),
            Ok(_) | Err(_) => Err(DialError::Exposed(host.to_owned())),
        }
    }
}

impl Dials {
    /// Never empty; the first is dialled first.
    pub fn all(&self) -> &[Dial] {
        &self.0
    }

    /// Whether one of them is known by a CA.
    pub fn has_https(&self) -> bool {
        self.0.iter().any(|dial| matches!(dial, Dial::Https { .. }))
    }
}

impl fmt::Display for Dials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, dial) in self.0.iter().enumerate() {
            f.write_str(if number == 0 { "" } else { "," })?;
            dial.fmt(f)?;
        }
        Ok(())
    }
}

impl FromStr for Dials {
    type Err = DialError;

    /// With commas between them.
    fn from_str(text: &str) -> Result<Self, DialError> {
        text.split(',').map(str::parse).collect::<Result<_, _>>().map(Self)
    }
}

fn is_name(host: &str) -> bool {
    !host.is_empty() && host.bytes().all(|c| c.is_ascii_alphanumeric() || b".-_".contains(&c))
}

/// The port of HTTPS where none is given.
fn https(authority: &str) -> Option<Dial> {
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => {
            let (address, rest) = rest.split_once(']')?;
            let address: Ipv6Addr = address.parse().ok()?;
            let port = if rest.is_empty() { None } else { Some(rest.strip_prefix(':')?) };
            (address.to_string(), port)
        }
        None => {
            let (host, port) =
                authority.split_once(':').map_or((authority, None), |(host, port)| (host, Some(port)));
            (is_name(host).then(|| host.to_ascii_lowercase())?, port)
        }
    };
    Some(Dial::Https { host, port: port.map_or(Ok(443), str::parse).ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_servers_are_dialled_in_turn() {
        let text = "https://a.example.org:8444,https://b.example.org:8444";
        let several: Dials = text.parse().unwrap();
        assert_eq!((several.all().len(), several.to_string().as_str()), (2, text));
        assert!(several.has_https() && !"unix:/run/a.sock".parse::<Dials>().unwrap().has_https());
        for bad in ["", ",", "https://a.example.org,", "https://a.example.org,http://b.example.org:80"] {
            assert!(bad.parse::<Dials>().is_err(), "{bad}");
        }
    }

    #[test]
    fn plain_http_stays_on_the_machine() {
        for good in
            ["unix:/run/berth/agent.sock", "http://127.0.0.1:80", "http://localhost:8080", "http://[::1]:1"]
        {
            assert_eq!(good.parse::<Dial>().map(|dial| dial.to_string()), Ok(good.to_owned()));
        }
        for (given, means) in [
            ("https://berth.example.org:8443", "https://berth.example.org:8443"),
            ("https://Berth.example.org/", "https://berth.example.org:443"),
            ("https://10.0.0.1:1", "https://10.0.0.1:1"),
            ("https://[2001:db8::1]", "https://[2001:db8::1]:443"),
        ] {
            assert_eq!(given.parse::<Dial>().map(|dial| dial.to_string()), Ok(means.to_owned()));
        }
        for same in ["http://localhost:8080/", "http://localhost:+8080", "http://localhost:08080"] {
            assert_eq!(same.parse(), Ok(Dial::Http("localhost:8080".to_owned())), "{same}");
        }
        for exposed in ["http://10.0.0.1:80", "http://example.org:80", "http://127.0.0.1.example.org:80"] {
            assert!(matches!(exposed.parse::<Dial>(), Err(DialError::Exposed(_))), "{exposed}");
        }
        for bad in [
            "",
            "unix:run",
            "unix:/run/a b",
            "unix:/run/$(reboot)",
            "unix:/run/%n",
            "https://",
            "https://:443",
            "https://berth.example.org:https",
            "https://berth.example.org/v1",
            "https://me@berth.example.org",
            "https://[berth]:443",
            "https://[::1",
            "http://127.0.0.1",
            "http://127.0.0.1:http",
            "127.0.0.1:80",
            "http://::1:80",
            "http://[[127.0.0.1]:80",
            "http://:80",
        ] {
            assert!(matches!(bad.parse::<Dial>(), Err(DialError::Odd(_))), "{bad}");
        }
    }
}
