//! Answers that whoever asked has to take: a request is at work until then.

use super::connection::Begun;
use hyper::body::{Body, Bytes, Frame, SizeHint};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::timeout;

tokio::task_local! {
    /// Of the stream of HTTP/2 that this task is. On HTTP/1.1 the connection itself tells (see `steady.rs`).
    static UNTAKEN: Untaken;
}

/// Whether a part of an answer waits to be taken; each word is news.
#[derive(Clone, Default)]
pub(super) struct Untaken(Arc<watch::Sender<bool>>);

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
        let mut news = self.0.subscribe();
        loop {
            let waits = *news.borrow_and_update();
            let longest = if waits { stall } else { Duration::MAX };
            if timeout(longest, news.changed()).await.is_err() {
                return;
            }
        }
    }

    fn set(&self, waits: bool) {
        self.0.send_replace(waits);
    }
}

/// HTTP/2 keeps for itself whatever it is given at once, and the body is done with.
const PIECE: usize = 16 * 1024;

/// The body of an answer, in pieces.
pub(super) struct Taken<B> {
    body: B,
    rest: Bytes,
    untaken: Untaken,
    _begun: Begun,
}

impl<B> Taken<B> {
    pub(super) fn new(body: B, begun: Begun) -> Self {
        let untaken = UNTAKEN.try_with(Untaken::clone).unwrap_or_default();
        untaken.set(true);
        Self { body, rest: Bytes::new(), untaken, _begun: begun }
    }
}

impl<B: Body<Data = Bytes> + Unpin> Taken<B> {
    fn next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        if self.rest.is_empty() {
            match ready!(Pin::new(&mut self.body).poll_frame(cx)).transpose()?.map(Frame::into_data) {
                Some(Ok(data)) => self.rest = data,
                Some(Err(trailers)) => return Poll::Ready(Some(Ok(trailers))),
                None => return Poll::Ready(None),
            }
        }
        let piece = self.rest.split_to(PIECE.min(self.rest.len()));
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }
}

impl<B: Body<Data = Bytes> + Unpin> Body for Taken<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let polled = self.next(cx);
        // Whoever asks for the next piece has taken the last.
        self.untaken.set(matches!(polled, Poll::Ready(Some(Ok(_)))));
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let (rest, hint) = (self.rest.len() as u64, self.body.size_hint());
        let mut whole = SizeHint::new();
        whole.set_lower(hint.lower() + rest);
        if let Some(upper) = hint.upper() {
            whole.set_upper(upper + rest);
        }
        whole
    }
}
