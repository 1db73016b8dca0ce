//! Whether anything answers at an address, without saying a word to it.

use super::address::resolve;
use std::io::ErrorKind;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(2);

/// Whoever refuses a connection is there to refuse it. Where nobody may look, nothing is.
pub async fn is_up(host: &str, port: u16, allow_link_local: bool) -> bool {
    timeout(PATIENCE, answers(host, port, allow_link_local)).await.unwrap_or(false)
}

async fn answers(host: &str, port: u16, allow_link_local: bool) -> bool {
    let Ok(addresses) = resolve(host, port, allow_link_local).await else { return false };
    match TcpStream::connect(addresses.as_slice()).await {
        Ok(_) => true,
        Err(error) => matches!(error.kind(), ErrorKind::ConnectionRefused | ErrorKind::ConnectionReset),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;

    #[tokio::test]
    async fn who_accepts_or_refuses_is_up_and_who_has_no_address_is_not() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        assert!(is_up("127.0.0.1", port, false).await, "accepted");
        drop(listener);
        assert!(is_up("127.0.0.1", port, false).await, "refused");
        for nowhere in ["999.1.1.1", "a b", "", "169.254.169.254", "0.0.0.0"] {
            assert!(!is_up(nowhere, port, false).await, "{nowhere:?}");
        }
    }
}
