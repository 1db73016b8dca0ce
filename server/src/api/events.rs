//! `/v1/events`

use super::answer::{Answers, described_text};
use super::error::{Failure, Fault};
use super::parameter::{ACTOR, AFTER, CURSOR_EVENT, ITEMS, KIND, MACHINE, RESERVATION};
use super::query::Query;
use super::route::{Request, Route, get};
use super::schemas::Schemas;
use crate::app::{Desk, News};
use crate::store::EventFilter;
use futures_util::stream::BoxStream;
use futures_util::{Stream, StreamExt};
use model::auth::Deed;
use model::wire::{EventView, Page};
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll};
use tokio::sync::watch;
use utoipa::openapi::RefOr;
use utoipa::openapi::path::Operation;
use warp::Reply;
use warp::http::HeaderMap;
use warp::http::header::ACCEPT;
use warp::reply::Response;
use warp::sse::{self, Event};

pub(super) fn routes() -> Vec<Route> {
    vec![
        get("/v1/events", "what happened; as a stream, what happens")
            .deed(Deed::Audit)
            .takes(&[&AFTER, &CURSOR_EVENT, &ITEMS, &MACHINE, &RESERVATION, &ACTOR, &KIND])
            .by(list_or_stream),
    ]
}

/// Whether the server stops: a stream ends then.
#[derive(Clone)]
pub(super) struct Stop(pub(super) watch::Receiver<bool>);

/// What whoever asks accepts.
enum Events {
    List(Page<EventView>),
    Stream(BoxStream<'static, News>),
}

impl Answers for Events {
    fn respond(self) -> Response {
        match self {
            Self::List(page) => page.respond(),
            Self::Stream(news) => sse::reply(Shared(Mutex::new(news.map(worded).boxed()))).into_response(),
        }
    }

    fn describe(schemas: &mut Schemas, operation: Operation) -> Operation {
        let mut stream = described_text(operation.clone(), &["text/event-stream"]);
        let list = Page::<EventView>::describe(schemas, operation);
        let key = "200".to_owned();
        if let (Some(RefOr::T(list)), Some(RefOr::T(both))) =
            (list.responses.responses.get(&key), stream.responses.responses.get_mut(&key))
        {
            both.content.extend(list.content.clone());
        }
        stream
    }
}

async fn list_or_stream(desk: Desk, request: Request) -> Result<Events, Failure> {
    let Request { query, headers, stop, .. } = request;
    let filter = EventFilter {
        machine: query.owned("machine"),
        reservation: query.reservation()?,
        actor: query.owned("actor"),
        kind: query.owned("kind"),
    };
    if !wants_stream(&headers) {
        return Ok(Events::List(desk.events(after(&query)?, filter, query.limit()?).await?));
    }
    if query.text("limit").is_some() {
        return Err(Fault::field("limit", "a stream has no pages").into());
    }
    // What a browser that lost its connection heard last is newer than the address it began with.
    let after = last_heard(&headers)?.or(after(&query)?);
    Ok(Events::Stream(desk.follow(after, filter, stop.0).await?.boxed()))
}

/// Warp shares what it streams between threads, though only one polls it.
struct Shared<S>(Mutex<S>);

impl<S: Stream + Unpin> Stream for Shared<S> {
    type Item = S::Item;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<S::Item>> {
        self.0.get_mut().unwrap_or_else(PoisonError::into_inner).poll_next_unpin(cx)
    }
}

fn wants_stream(headers: &HeaderMap) -> bool {
    let accepted = headers.get_all(ACCEPT).iter().filter_map(|accept| accept.to_str().ok());
    let mut kinds = accepted.flat_map(|accept| accept.split(','));
    kinds.any(|kind| kind.split(';').next().unwrap_or_default().trim() == "text/event-stream")
}

fn last_heard(headers: &HeaderMap) -> Result<Option<i64>, Fault> {
    const HEADER: &str = "Last-Event-ID";
    let Some(header) = headers.get(HEADER).filter(|header| !header.is_empty()) else { return Ok(None) };
    let number = header.to_str().ok().and_then(|text| text.parse().ok());
    number.map(Some).ok_or_else(|| Fault::field(HEADER, format!("`{HEADER}` must be the number of an event")))
}

fn worded(news: News) -> Result<Event, Infallible> {
    Ok(match news {
        // Made of strings and numbers, so that it can always be written.
        News::Event(event) => {
            let data = serde_json::to_string(&event).unwrap_or_default();
            Event::default().id(event.seq.to_string()).data(data)
        }
        // Without data it is no event, and yet the number counts for whoever comes back.
        News::Beat(seen) => Event::default().comment("").id(seen.to_string()),
    })
}

/// The number of the last event somebody has seen. A page's `next` is such a number too; of both, the later counts.
fn after(query: &Query) -> Result<Option<i64>, Fault> {
    let number = |name| match query.integer(name)? {
        Some(number) if number < 0 => {
            Err(Fault::field(name, format!("`{name}` must be the number of an event")))
        }
        number => Ok(number),
    };
    Ok(number("after")?.max(number("cursor")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_accepts_a_stream_gets_one() {
        let headers = |name: &'static str, value: &str| {
            HeaderMap::from_iter([(name.parse::<warp::http::HeaderName>().unwrap(), value.parse().unwrap())])
        };
        for (accept, wants) in [
            ("text/event-stream", true),
            ("application/json, text/event-stream;q=0.9", true),
            ("*/*", false),
            ("application/json", false),
        ] {
            assert_eq!(wants_stream(&headers("accept", accept)), wants, "{accept}");
        }
        assert_eq!(last_heard(&headers("last-event-id", "7")), Ok(Some(7)));
        assert_eq!(last_heard(&headers("last-event-id", "")), Ok(None));
        assert_eq!(
            last_heard(&headers("last-event-id", "x")).unwrap_err().field.as_deref(),
            Some("Last-Event-ID")
        );
    }

    #[test]
    fn a_cursor_is_the_number_of_an_event() {
        let read = |raw: &str| after(&Query::parse(raw).unwrap());
        assert_eq!((read(""), read("after=7"), read("cursor=8")), (Ok(None), Ok(Some(7)), Ok(Some(8))));
        assert_eq!(read("after=7&cursor=8"), Ok(Some(8)));
        assert_eq!(read("cursor=-1").unwrap_err().field.as_deref(), Some("cursor"));
        assert_eq!(read("cursor=x").unwrap_err().field.as_deref(), Some("cursor"));
    }
}
