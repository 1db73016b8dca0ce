//! `/v1/events`

use super::error::{Answer, Fault};
use super::query::{Query, query};
use super::{Routes, answered, desk, get, ok};
use crate::app::{App, Desk};
use crate::store::EventFilter;
use model::auth::Deed;
use warp::Filter;

pub(super) fn routes(app: &App) -> Routes {
    warp::path!("events")
        .and(get())
        .and(desk(app, Deed::Audit))
        .and(query(&["after", "cursor", "limit", "machine", "reservation", "actor", "kind"]))
        .then(list)
        .map(answered(app, "GET /v1/events"))
        .boxed()
}

async fn list(desk: Desk, query: Result<Query, Fault>) -> Answer {
    let query = query?;
    let filter = EventFilter {
        machine: query.owned("machine"),
        reservation: query.owned("reservation"),
        actor: query.owned("actor"),
        kind: query.owned("kind"),
    };
    ok(desk.events(after(&query)?, filter, query.limit()?).await?)
}

/// The number of the last event somebody has seen. A page's `next` is such a number too.
fn after(query: &Query) -> Result<Option<i64>, Fault> {
    let (after, cursor) = (query.integer("after")?, query.integer("cursor")?);
    if after.is_some() && cursor.is_some() {
        return Err(Fault::field("cursor", "give `after` or `cursor`, not both"));
    }
    Ok(after.or(cursor))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_the_number_of_an_event() {
        let read = |raw: &str| after(&Query::parse(raw).unwrap());
        assert_eq!((read(""), read("after=7"), read("cursor=8")), (Ok(None), Ok(Some(7)), Ok(Some(8))));
        assert_eq!(read("after=7&cursor=8").unwrap_err().field.as_deref(), Some("cursor"));
        assert_eq!(read("cursor=x").unwrap_err().field.as_deref(), Some("cursor"));
    }
}
