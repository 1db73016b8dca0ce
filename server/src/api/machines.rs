//! `/v1/machines`

use super::error::{Answer, Fault};
use super::path::Segment;
use super::query::{Query, query};
use super::{Routes, answered, any_of, body, created, desk, get, header, ok};
use crate::app::{App, Desk, MachineFilter};
use model::auth::Deed;
use model::wire::{MachineAdopt, MachineCreate, MachinePatch, Page};
use warp::Filter;

pub(super) fn routes(app: &App) -> Routes {
    let create = warp::path!("machines")
        .and(warp::post())
        .and(desk(app, Deed::Machines))
        .and(query(&[]))
        .and(header::idempotency_key())
        .and(body::json())
        .then(create)
        .map(answered(app, "POST /v1/machines"))
        .boxed();
    let list = warp::path!("machines")
        .and(get())
        .and(desk(app, Deed::Look))
        .and(query(&["label", "state", "cursor", "limit"]))
        .then(list)
        .map(answered(app, "GET /v1/machines"))
        .boxed();
    let one = warp::path!("machines" / Segment)
        .and(get())
        .and(desk(app, Deed::Look))
        .and(query(&[]))
        .then(one)
        .map(answered(app, "GET /v1/machines/{name}"))
        .boxed();
    let patch = warp::path!("machines" / Segment)
        .and(warp::patch())
        .and(desk(app, Deed::Machines))
        .and(query(&[]))
        .and(body::json())
        .then(patch)
        .map(answered(app, "PATCH /v1/machines/{name}"))
        .boxed();
    let retire = warp::path!("machines" / Segment)
        .and(warp::delete())
        .and(desk(app, Deed::Machines))
        .and(query(&[]))
        .then(retire)
        .map(answered(app, "DELETE /v1/machines/{name}"))
        .boxed();
    let cleanings = warp::path!("machines" / Segment / "cleanings")
        .and(get())
        .and(desk(app, Deed::Audit))
        .and(query(&["cursor", "limit"]))
        .then(cleanings)
        .map(answered(app, "GET /v1/machines/{name}/cleanings"))
        .boxed();
    let access = warp::path!("machines" / Segment / "access")
        .and(get())
        .and(desk(app, Deed::Audit))
        .and(query(&["at"]))
        .then(access)
        .map(answered(app, "GET /v1/machines/{name}/access"))
        .boxed();
    let clean = warp::path!("machines" / Segment / "clean")
        .and(warp::post())
        .and(desk(app, Deed::Machines))
        .and(query(&[]))
        .then(clean)
        .map(answered(app, "POST /v1/machines/{name}/clean"))
        .boxed();
    let adopt = warp::path!("machines" / Segment / "adopt")
        .and(warp::post())
        .and(desk(app, Deed::Machines))
        .and(query(&[]))
        .and(body::json())
        .then(adopt)
        .map(answered(app, "POST /v1/machines/{name}/adopt"))
        .boxed();
    let release_agent = warp::path!("machines" / Segment / "release-agent")
        .and(warp::post())
        .and(desk(app, Deed::Machines))
        .and(query(&[]))
        .then(release_agent)
        .map(answered(app, "POST /v1/machines/{name}/release-agent"))
        .boxed();
    any_of(list, [create, one, patch, retire, cleanings, access, clean, adopt, release_agent])
}

async fn create(
    desk: Desk,
    query: Result<Query, Fault>,
    key: Result<Option<String>, Fault>,
    body: Result<MachineCreate, Fault>,
) -> Answer {
    query?;
    let made = desk.machine_create(body?, key?).await?;
    created(format!("/v1/machines/{}", made.machine.name), made)
}

async fn list(desk: Desk, query: Result<Query, Fault>) -> Answer {
    let query = query?;
    let filter = MachineFilter {
        labels: query.labels()?,
        state: query.state()?,
        cursor: query.owned("cursor"),
        limit: query.limit()?,
    };
    ok(desk.machine_list(filter).await?)
}

async fn one(name: Segment, desk: Desk, query: Result<Query, Fault>) -> Answer {
    query?;
    ok(desk.machine_get(&name.0).await?)
}

async fn patch(
    name: Segment,
    desk: Desk,
    query: Result<Query, Fault>,
    body: Result<MachinePatch, Fault>,
) -> Answer {
    query?;
    ok(desk.machine_patch(&name.0, body?).await?)
}

async fn retire(name: Segment, desk: Desk, query: Result<Query, Fault>) -> Answer {
    query?;
    ok(desk.machine_retire(&name.0).await?)
}

async fn cleanings(name: Segment, desk: Desk, query: Result<Query, Fault>) -> Answer {
    let query = query?;
    ok(desk.cleaning_list(&name.0, query.owned("cursor"), query.limit()?).await?)
}

async fn access(name: Segment, desk: Desk, query: Result<Query, Fault>) -> Answer {
    let at = query?.time("at")?;
    ok(Page { items: desk.could_log_in(&name.0, at).await?, next: None })
}

async fn clean(name: Segment, desk: Desk, query: Result<Query, Fault>) -> Answer {
    query?;
    ok(desk.machine_clean(&name.0).await?)
}

async fn adopt(
    name: Segment,
    desk: Desk,
    query: Result<Query, Fault>,
    body: Result<MachineAdopt, Fault>,
) -> Answer {
    query?;
    ok(desk.machine_adopt(&name.0, body?).await?)
}

async fn release_agent(name: Segment, desk: Desk, query: Result<Query, Fault>) -> Answer {
    query?;
    ok(desk.machine_release_agent(&name.0).await?)
}
