//! How fast much is sent: no faster than the other side takes it. What sshd has not handed on yet lies in a buffer that
//! it copies whenever it grows: three megabytes at once cost a host more than all the rest of a visit.

use bytes::Bytes;
use russh::ChannelWriteHalf;
use russh::client::Msg;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::timeout;

/// sshd says what it has handed on when that is more than three packets of 32 KiB. Twice as much as this costs it nearly
/// twice the work.
const MOST_UNTAKEN: u32 = 256 << 10;
const PIECE: usize = 32 << 10;
/// A host that says nothing for so long is far away, or says it later than sshd does: it gets as much again.
const PATIENCE: Duration = Duration::from_millis(100);

/// `left` is how much the host would take now, as often as it says so.
pub(super) async fn send(
    speaking: &ChannelWriteHalf<Msg>,
    mut bytes: Bytes,
    mut left: watch::Receiver<u32>,
) -> Result<(), russh::Error> {
    let (mut untaken, mut window) = (0, 0);
    while !bytes.is_empty() {
        let piece = bytes.split_to(bytes.len().min(PIECE));
        let size = piece.len() as u32;
        while untaken + size > MOST_UNTAKEN {
            match timeout(PATIENCE, left.changed()).await {
                Ok(Ok(())) => {
                    let left = *left.borrow_and_update();
                    window = window.max(left);
                    untaken = window - left;
                }
                Err(_) => untaken = 0,
                // Nobody listens to the host any more.
                Ok(Err(_)) => return Ok(()),
            }
        }
        speaking.data_bytes(piece).await?;
        untaken += size;
    }
    Ok(())
}
