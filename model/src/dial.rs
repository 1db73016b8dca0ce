//! What an agent dials.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// `unix:/path/of/socket`, or `http://host:port` with a loopback host: an agent's credential would travel in clear, so it
/// may not leave the machine. Made of letters that shells and service managers leave as they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Dial {
    Unix(String),
    /// Host and port.
    Http(String),
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
                write!(f, "`{text}` is no server: give `unix:/path/of/socket` or `http://127.0.0.1:port`")
            }
            Self::Exposed(host) => write!(
                f,
                "`{host}` is not this machine: plain HTTP is for loopback only; bring the server here by a tunnel or a \
                 socket"
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
        }
    }
}

impl FromStr for Dial {
    type Err = DialError;

    fn from_str(text: &str) -> Result<Self, DialError> {
        let odd = || DialError::Odd(text.to_owned());
        let allowed = |c: u8| c.is_ascii_alphanumeric() || b"/._-+=,:@~[]".contains(&c);
        if !text.bytes().all(allowed) {
            return Err(odd());
        }
        if let Some(path) = text.strip_prefix("unix:").filter(|path| path.starts_with('/')) {
            return Ok(Self::Unix(path.to_owned()));
        }
        let authority = text.strip_prefix("http://").ok_or_else(odd)?.trim_end_matches('/');
        let (host, port) = authority.rsplit_once(':').ok_or_else(odd)?;
        port.parse::<u16>().map_err(|_| odd())?;
        let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
        if host == "localhost" || address.is_ok_and(|address| address.is_loopback()) {
            return Ok(Self::Http(authority.to_owned()));
        }
        Err(DialError::Exposed(host.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_http_stays_on_the_machine() {
        for good in
            ["unix:/run/berth/agent.sock", "http://127.0.0.1:80", "http://localhost:8080", "http://[::1]:1"]
        {
            assert_eq!(good.parse::<Dial>().map(|dial| dial.to_string()), Ok(good.to_owned()));
        }
        assert_eq!("http://localhost:8080/".parse(), Ok(Dial::Http("localhost:8080".to_owned())));
        for exposed in ["http://10.0.0.1:80", "http://example.org:80", "http://127.0.0.1.example.org:80"] {
            assert!(matches!(exposed.parse::<Dial>(), Err(DialError::Exposed(_))), "{exposed}");
        }
        for bad in [
            "",
            "unix:run",
            "unix:/run/a b",
            "unix:/run/$(reboot)",
            "unix:/run/%n",
            "https://127.0.0.1:1",
            "http://127.0.0.1",
            "http://127.0.0.1:http",
            "127.0.0.1:80",
        ] {
            assert!(matches!(bad.parse::<Dial>(), Err(DialError::Odd(_))), "{bad}");
        }
    }
}
