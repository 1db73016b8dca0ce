//! Answers that whoever asked has to take: a request is at work until then.

use super::connection::Begun;
use hyper::body::{Body, Frame, SizeHint};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::Instant;

tokio::task_local! {
    /// Of the stream of HTTP/2 that this task is. On HTTP/1.1 the connection itself tells (see `steady.rs`).
    static UNTAKEN: Untaken;
}

/// Since when a part of an answer waits to be taken.
#[derive(Clone, Default)]
pub(super) struct Untaken(Arc<Mutex<Option<Instant>>>);

impl Untaken {
    /// Runs one stream, and gives it up when nothing of its answer is taken for so long.
    pub(super) async fn within(stall: Duration, stream: impl Future<Output = ()>) {
        let untaken = Self::default();
        let stalled = untaken.clone();
        UNTAKEN
            .scope(untaken, async move {
                tokio::select! {
                    () = stream => {}
                    () = stalled.lasts(stall) => tracing::debug!("an answer that nobody takes is given up"),
                }
            })
            .await;
    }

    async fn lasts(&self, stall: Duration) {
        loop {
            let now = Instant::now();
            let since = self.since().unwrap_or(now);
            if since + stall <= now {
                return;
            }
            tokio::time::sleep_until(since + stall).await;
        }
    }

    fn since(&self) -> Option<Instant> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, waits: bool) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = waits.then(Instant::now);
    }
}

/// The body of an answer.
pub(super) struct Taken<B> {
    body: B,
    untaken: Untaken,
    _begun: Begun,
}

impl<B> Taken<B> {
    pub(super) fn new(body: B, begun: Begun) -> Self {
        let untaken = UNTAKEN.try_with(Untaken::clone).unwrap_or_default();
        untaken.set(true);
        Self { body, untaken, _begun: begun }
    }
}

impl<B: Body + Unpin> Body for Taken<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        // Whoever asks for the next one has taken the last.
        self.untaken.set(matches!(polled, Poll::Ready(Some(Ok(_)))));
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
