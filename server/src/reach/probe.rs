//! Whether anything answers at an address, without saying a word to it.

use std::io::ErrorKind;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(2);

/// Whoever refuses a connection is there to refuse it.
pub async fn is_up(host: &str, port: u16) -> bool {
    match timeout(PATIENCE, TcpStream::connect((host, port))).await {
        Ok(Ok(_)) => true,
        Ok(Err(error)) => matches!(error.kind(), ErrorKind::ConnectionRefused | ErrorKind::ConnectionReset),
        Err(_) => false,
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
        assert!(is_up("127.0.0.1", port).await, "accepted");
        drop(listener);
        assert!(is_up("127.0.0.1", port).await, "refused");
        for nowhere in ["999.1.1.1", "a b", ""] {
            assert!(!is_up(nowhere, port).await, "{nowhere:?}");
        }
    }
}
