//! `/v1/machines`

use super::error::{Answer, Fault};
use super::path::Segment;
use super::query::{Query, query};
use super::{Routes, answered, any_of, body, created, get, header, ok, with};
use crate::app::{App, MachineFilter};
use model::wire::{MachineAdopt, MachineCreate, MachinePatch};
use warp::Filter;

pub(super) fn routes(app: &App) -> Routes {
    let create = warp::path!("machines")
        .and(warp::post())
        .and(with(app))
        .and(query(&[]))
        .and(header::idempotency_key())
        .and(body::json())
        .then(create)
        .map(answered(app, "POST /v1/machines"))
        .boxed();
    let list = warp::path!("machines")
        .and(get())
        .and(with(app))
        .and(query(&["label", "state", "cursor", "limit"]))
        .then(list)
        .map(answered(app, "GET /v1/machines"))
        .boxed();
    let one = warp::path!("machines" / Segment)
        .and(get())
        .and(with(app))
        .and(query(&[]))
        .then(one)
        .map(answered(app, "GET /v1/machines/{name}"))
        .boxed();
    let patch = warp::path!("machines" / Segment)
        .and(warp::patch())
        .and(with(app))
        .and(query(&[]))
        .and(body::json())
        .then(patch)
        .map(answered(app, "PATCH /v1/machines/{name}"))
        .boxed();
    let retire = warp::path!("machines" / Segment)
        .and(warp::delete())
        .and(with(app))
        .and(query(&[]))
        .then(retire)
        .map(answered(app, "DELETE /v1/machines/{name}"))
        .boxed();
    let cleanings = warp::path!("machines" / Segment / "cleanings")
        .and(get())
        .and(with(app))
        .and(query(&["cursor", "limit"]))
        .then(cleanings)
        .map(answered(app, "GET /v1/machines/{name}/cleanings"))
        .boxed();
    let clean = warp::path!("machines" / Segment / "clean")
        .and(warp::post())
        .and(with(app))
        .and(query(&[]))
        .then(clean)
        .map(answered(app, "POST /v1/machines/{name}/clean"))
        .boxed();
    let adopt = warp::path!("machines" / Segment / "adopt")
        .and(warp::post())
        .and(with(app))
        .and(query(&[]))
        .and(body::json())
        .then(adopt)
        .map(answered(app, "POST /v1/machines/{name}/adopt"))
        .boxed();
    let release_agent = warp::path!("machines" / Segment / "release-agent")
        .and(warp::post())
        .and(with(app))
        .and(query(&[]))
        .then(release_agent)
        .map(answered(app, "POST /v1/machines/{name}/release-agent"))
        .boxed();
    any_of(list, [create, one, patch, retire, cleanings, clean, adopt, release_agent])
}

async fn create(
    app: App,
    query: Result<Query, Fault>,
    key: Result<Option<String>, Fault>,
    body: Result<MachineCreate, Fault>,
) -> Answer {
    query?;
    let made = app.machine_create(body?, key?).await?;
    created(format!("/v1/machines/{}", made.machine.name), made)
}

async fn list(app: App, query: Result<Query, Fault>) -> Answer {
    let query = query?;
    let filter = MachineFilter {
        labels: query.labels()?,
        state: query.state()?,
        cursor: query.owned("cursor"),
        limit: query.limit()?,
    };
    ok(app.machine_list(filter).await?)
}

async fn one(name: Segment, app: App, query: Result<Query, Fault>) -> Answer {
    query?;
    ok(app.machine_get(&name.0).await?)
}

async fn patch(
    name: Segment,
    app: App,
    query: Result<Query, Fault>,
    body: Result<MachinePatch, Fault>,
) -> Answer {
    query?;
    ok(app.machine_patch(&name.0, body?).await?)
}

async fn retire(name: Segment, app: App, query: Result<Query, Fault>) -> Answer {
    query?;
    ok(app.machine_retire(&name.0).await?)
}

async fn cleanings(name: Segment, app: App, query: Result<Query, Fault>) -> Answer {
    let query = query?;
    ok(app.cleaning_list(&name.0, query.owned("cursor"), query.limit()?).await?)
}

async fn clean(name: Segment, app: App, query: Result<Query, Fault>) -> Answer {
    query?;
    ok(app.machine_clean(&name.0).await?)
}

async fn adopt(
    name: Segment,
    app: App,
    query: Result<Query, Fault>,
    body: Result<MachineAdopt, Fault>,
) -> Answer {
    query?;
    ok(app.machine_adopt(&name.0, body?).await?)
}

async fn release_agent(name: Segment, app: App, query: Result<Query, Fault>) -> Answer {
    query?;
    ok(app.machine_release_agent(&name.0).await?)
}
