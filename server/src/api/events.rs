//! `/v1/events`

use super::error::{Failure, Fault};
use super::parameter::{ACTOR, AFTER, CURSOR_EVENT, ITEMS, KIND, MACHINE, RESERVATION};
use super::query::Query;
use super::route::{Request, Route, get};
use crate::app::Desk;
use crate::store::EventFilter;
use model::auth::Deed;
use model::wire::{EventView, Page};

pub(super) fn routes() -> Vec<Route> {
    vec![
        get("/v1/events", "what happened")
            .deed(Deed::Audit)
            .takes(&[&AFTER, &CURSOR_EVENT, &ITEMS, &MACHINE, &RESERVATION, &ACTOR, &KIND])
            .by(list),
    ]
}

async fn list(desk: Desk, request: Request) -> Result<Page<EventView>, Failure> {
    let query = request.query;
    let filter = EventFilter {
        machine: query.owned("machine"),
        reservation: query.reservation()?,
        actor: query.owned("actor"),
        kind: query.owned("kind"),
    };
    Ok(desk.events(after(&query)?, filter, query.limit()?).await?)
}

/// The number of the last event somebody has seen. A page's `next` is such a number too; of both, the later counts.
fn after(query: &Query) -> Result<Option<i64>, Fault> {
    Ok(query.integer("after")?.max(query.integer("cursor")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_the_number_of_an_event() {
        let read = |raw: &str| after(&Query::parse(raw).unwrap());
        assert_eq!((read(""), read("after=7"), read("cursor=8")), (Ok(None), Ok(Some(7)), Ok(Some(8))));
        assert_eq!(read("after=7&cursor=8"), Ok(Some(8)));
        assert_eq!(read("cursor=x").unwrap_err().field.as_deref(), Some("cursor"));
    }
}
