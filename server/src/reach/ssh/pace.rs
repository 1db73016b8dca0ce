//! How fast much is sent: no faster than the other side takes it. What sshd has not handed on yet it keeps in a buffer
//! that it copies whenever it grows, so that three megabytes at once cost it ten times the work of the same in pieces.

use bytes::Bytes;
use russh::ChannelWriteHalf;
use russh::client::Msg;
use std::time::Duration;
use tokio::sync::watch;

/// sshd says what it has handed on when that is more than three packets of 32 KiB.
const MOST_UNTAKEN: u32 = 128 << 10;
const PIECE: usize = 32 << 10;
/// A host that says nothing for so long is far away, or says it later than sshd does: it gets the next piece anyway.
const PATIENCE: Duration = Duration::from_millis(50);

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
        while untaken + size > MOST_UNTAKEN
            && let Ok(Ok(())) = tokio::time::timeout(PATIENCE, left.changed()).await
        {
            let left = *left.borrow_and_update();
            window = window.max(left);
            untaken = window - left;
        }
        speaking.data_bytes(piece).await?;
        untaken += size;
    }
    Ok(())
}
