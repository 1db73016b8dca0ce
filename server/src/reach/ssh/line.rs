//! What the SSH client reads and writes on. It adds an end: the client's own tasks go on for as long as the other side
//! talks, even when nobody waits for them any more; here they are cut off. And before the log-in the other side may say
//! only so much, because what it says is kept until somebody asks for it.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::oneshot;

/// A handshake and a log-in take a few kilobytes.
const BEFORE_LOG_IN: u64 = 1 << 20;

pub(super) trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

pub(super) struct Line {
    stream: Box<dyn Stream>,
    end: Option<oneshot::Receiver<()>>,
    allowance: Arc<AtomicU64>,
}

/// Ends its line when it is dropped.
pub(super) struct Hold {
    _end: oneshot::Sender<()>,
    allowance: Arc<AtomicU64>,
}

impl Hold {
    /// Somebody we know is there.
    pub(super) fn trust(&self) {
        self.allowance.store(u64::MAX, Ordering::Relaxed);
    }
}

impl Line {
    pub(super) fn new(stream: Box<dyn Stream>) -> (Self, Hold) {
        let (sender, end) = oneshot::channel();
        let allowance = Arc::new(AtomicU64::new(BEFORE_LOG_IN));
        let line = Self { stream, end: Some(end), allowance: allowance.clone() };
        (line, Hold { _end: sender, allowance })
    }

    /// Fails once nobody holds it any more.
    fn held(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        if self.end.as_mut().is_some_and(|end| Pin::new(end).poll(context).is_pending()) {
            return Ok(());
        }
        self.end = None;
        Err(io::ErrorKind::ConnectionAborted.into())
    }
}

impl AsyncRead for Line {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.held(context)?;
        let left = self.allowance.load(Ordering::Relaxed);
        if left == 0 {
            return Poll::Ready(Err(io::Error::other("it says too much before the log-in")));
        }
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(context, buffer);
        if left != u64::MAX {
            let read = (buffer.filled().len() - before) as u64;
            // Trust may have come in between, which must not be taken back.
            let _ = self.allowance.compare_exchange(
                left,
                left.saturating_sub(read),
                Ordering::Relaxed,
                Ordering::Relaxed,
            );
        }
        polled
    }
}

impl AsyncWrite for Line {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.held(context)?;
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.held(context)?;
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.held(context)?;
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    async fn read(line: &mut Line, size: usize) -> io::Result<usize> {
        line.read_exact(&mut vec![0; size]).await
    }

    #[tokio::test]
    async fn before_the_log_in_only_so_much_is_heard() {
        let all = BEFORE_LOG_IN as usize;
        for is_trusted in [true, false] {
            let (ours, mut theirs) = tokio::io::duplex(2 * all);
            let (mut line, hold) = Line::new(Box::new(ours));
            theirs.write_all(&vec![0; 2 * all]).await.unwrap();
            read(&mut line, all).await.unwrap();
            if is_trusted {
                hold.trust();
            }
            assert_eq!(read(&mut line, all).await.is_ok(), is_trusted);
        }
    }

    #[tokio::test]
    async fn a_line_that_nobody_holds_ends() {
        let (ours, _theirs) = tokio::io::duplex(64);
        let (mut line, hold) = Line::new(Box::new(ours));
        let reading = tokio::spawn(async move {
            let first = read(&mut line, 1).await.is_ok();
            (first, line.write(b"x").await.is_ok(), read(&mut line, 1).await.is_ok())
        });
        drop(hold);
        assert_eq!(reading.await.unwrap(), (false, false, false));
    }
}
