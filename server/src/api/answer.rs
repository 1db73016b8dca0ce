//! What handlers answer with, by type, so that the document says what is answered.

use super::schemas::Schemas;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa::openapi::path::Operation;
use utoipa::openapi::schema::{ObjectBuilder, Type};
use utoipa::openapi::{ContentBuilder, HeaderBuilder, Response as Described, ResponseBuilder};
use warp::Reply;
use warp::http::StatusCode;
use warp::http::header::{CONTENT_TYPE, HeaderValue, LOCATION};
use warp::reply::Response;

pub(super) trait Answers: Send + 'static {
    fn respond(self) -> Response;
    /// Adds what is answered, if all goes well, to a route's part of the document.
    fn describe(schemas: &mut Schemas, operation: Operation) -> Operation;
}

/// 200, in JSON.
impl<T: Serialize + ToSchema + Send + 'static> Answers for T {
    fn respond(self) -> Response {
        warp::reply::json(&self).into_response()
    }

    fn describe(schemas: &mut Schemas, operation: Operation) -> Operation {
        answered(operation, StatusCode::OK, json::<T>(schemas, "what was asked for"))
    }
}

/// 201: it was made, and is there now.
pub(super) struct Created<T> {
    pub(super) location: String,
    pub(super) body: T,
}

impl<T: Serialize + ToSchema + Send + 'static> Answers for Created<T> {
    fn respond(self) -> Response {
        let mut response = warp::reply::with_status(self.body.respond(), StatusCode::CREATED).into_response();
        // Ids and names are plain ASCII, so that this cannot fail; without the header the answer still holds.
        if let Ok(location) = HeaderValue::try_from(self.location) {
            response.headers_mut().insert(LOCATION, location);
        }
        response
    }

    fn describe(schemas: &mut Schemas, operation: Operation) -> Operation {
        let path = ObjectBuilder::new().schema_type(Type::String);
        let location = HeaderBuilder::new().schema(Some(path)).description(Some("where it is")).build();
        let mut made = json::<T>(schemas, "it was made");
        made.headers.insert("Location".to_owned(), location.into());
        answered(operation, StatusCode::CREATED, made)
    }
}

/// 201, and no place of its own.
pub(super) struct Made<T>(pub(super) T);

impl<T: Serialize + ToSchema + Send + 'static> Answers for Made<T> {
    fn respond(self) -> Response {
        warp::reply::with_status(self.0.respond(), StatusCode::CREATED).into_response()
    }

    fn describe(schemas: &mut Schemas, operation: Operation) -> Operation {
        answered(operation, StatusCode::CREATED, json::<T>(schemas, "it is done"))
    }
}

/// 200, or 202 while something of it is still to be done.
pub(super) struct Settled<T> {
    pub(super) is_done: bool,
    pub(super) body: T,
}

impl<T: Serialize + ToSchema + Send + 'static> Answers for Settled<T> {
    fn respond(self) -> Response {
        let status = if self.is_done { StatusCode::OK } else { StatusCode::ACCEPTED };
        warp::reply::with_status(self.body.respond(), status).into_response()
    }

    fn describe(schemas: &mut Schemas, operation: Operation) -> Operation {
        let later = json::<T>(schemas, "it is written down; something of it is still to be done");
        answered(T::describe(schemas, operation), StatusCode::ACCEPTED, later)
    }
}

/// 204: it is done.
pub(super) struct Nothing;

impl Answers for Nothing {
    fn respond(self) -> Response {
        StatusCode::NO_CONTENT.into_response()
    }

    fn describe(_: &mut Schemas, operation: Operation) -> Operation {
        answered(operation, StatusCode::NO_CONTENT, Described::new("it is done"))
    }
}

/// 200, as text of its own kind.
pub(super) fn text(content_type: &'static str, body: impl Into<warp::hyper::body::Bytes>) -> Response {
    let mut response = warp::reply::html(body.into()).into_response();
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// What `text` answers with.
pub(super) fn described_text(operation: Operation, kinds: &[&str]) -> Operation {
    let mut described = ResponseBuilder::new().description("what was asked for");
    for kind in kinds {
        let schema = ObjectBuilder::new().schema_type(Type::String);
        described = described.content(*kind, ContentBuilder::new().schema(Some(schema)).build());
    }
    answered(operation, StatusCode::OK, described.build())
}

pub(super) fn json<T: ToSchema>(schemas: &mut Schemas, says: &str) -> Described {
    ResponseBuilder::new().description(says).content("application/json", schemas.content::<T>()).build()
}

pub(super) fn answered(mut operation: Operation, status: StatusCode, response: Described) -> Operation {
    operation.responses.responses.insert(status.as_str().to_owned(), response.into());
    operation
}
