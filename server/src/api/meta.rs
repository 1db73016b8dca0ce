//! About the server: what it offers, how it does, how much is free.

use super::answer::{Answers, described_text, text};
use super::docs::Page;
use super::document::Document;
use super::error::Failure;
use super::parameter::LABEL;
use super::route::{Request, Route, get};
use super::schemas::Schemas;
use super::{DESCRIPTIONS, docs};
use crate::app::{App, Desk};
use model::auth::Deed;
use model::wire::{Availability, Health, Version};
use std::fmt::Write;
use utoipa::openapi::path::Operation;
use warp::http::header::ACCEPT;
use warp::reply::Response;

pub(super) fn routes() -> Vec<Route> {
    vec![
        get("/", "this list").leniently().by(index),
        get("/docs", "the manual of this API, to read").leniently().by(manual),
        get("/openapi.json", "the same for programs: OpenAPI 3.1").leniently().by(document),
        get("/healthz", "whether the server works, and how much is stuck").leniently().by(health),
        get("/metrics", "numbers for Prometheus").deed(Deed::Look).leniently().by(metrics),
        get("/v1/version", "version of the server, epoch of its database").deed(Deed::Look).by(version),
        get("/v1/availability", "how many machines are free")
            .deed(Deed::Look)
            .takes(&[&LABEL])
            .by(availability),
    ]
}

async fn availability(desk: Desk, request: Request) -> Result<Availability, Failure> {
    Ok(desk.availability(request.query.labels()?).await?)
}

async fn version(desk: Desk, _: Request) -> Result<Version, Failure> {
    Ok(desk.version())
}

async fn health(app: App, _: Request) -> Result<Health, Failure> {
    Ok(app.health().await?)
}

async fn metrics(desk: Desk, _: Request) -> Result<Metrics, Failure> {
    Ok(Metrics(desk.metrics().await?))
}

async fn manual(_: App, _: Request) -> Result<Page, Failure> {
    Ok(docs::page())
}

async fn document(_: App, _: Request) -> Result<Document, Failure> {
    Ok(Document)
}

async fn index(_: App, request: Request) -> Result<Index, Failure> {
    let wanted = request.headers.get(ACCEPT).and_then(|accept| accept.to_str().ok());
    Ok(if wanted.is_some_and(|accept| accept.contains("json")) { Index::Json } else { Index::Plain })
}

struct Metrics(String);

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

impl Answers for Metrics {
    fn respond(self) -> Response {
        text(OPEN_METRICS, self.0)
    }

    fn describe(_: &mut Schemas, operation: Operation) -> Operation {
        described_text(operation, &[OPEN_METRICS])
    }
}

/// Every route and what it is for.
enum Index {
    Plain,
    Json,
}

/// The same for programs.
#[derive(serde::Serialize, utoipa::ToSchema)]
struct IndexView {
    name: &'static str,
    routes: Vec<IndexRow>,
}

#[derive(serde::Serialize, utoipa::ToSchema)]
struct IndexRow {
    method: String,
    path: &'static str,
    what: &'static str,
}

impl Answers for Index {
    fn respond(self) -> Response {
        match self {
            Self::Plain => text("text/plain; charset=utf-8", plain_index()),
            Self::Json => IndexView { name: "berth", routes: rows().collect() }.respond(),
        }
    }

    fn describe(schemas: &mut Schemas, operation: Operation) -> Operation {
        let mut operation = described_text(operation, &["text/plain; charset=utf-8"]);
        if let Some(utoipa::openapi::RefOr::T(answer)) = operation.responses.responses.get_mut("200") {
            answer.content.insert("application/json".to_owned(), schemas.content::<IndexView>().into());
        }
        operation
    }
}

fn rows() -> impl Iterator<Item = IndexRow> {
    DESCRIPTIONS.iter().map(|route| IndexRow {
        method: route.method.to_string(),
        path: route.path,
        what: route.what,
    })
}

fn plain_index() -> String {
    let mut page = "Berth lends machines. `GET /docs` tells more.\n\n".to_owned();
    for IndexRow { method, path, what } in rows() {
        // Writing to a string cannot fail.
        let _ = writeln!(page, "{method:<7}{path:<35}{what}");
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_index_fits_a_terminal() {
        for line in plain_index().lines() {
            assert!(line.len() <= 100, "{line}");
        }
        assert_eq!(Index::Json.respond().headers()["content-type"], "application/json");
    }
}
