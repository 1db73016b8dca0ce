//! From a refusal to a status: the one place that decides, in problem+json (RFC 9457).

use crate::app::Refusal;
use model::wire::Problem;
use warp::http::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use warp::http::{HeaderMap, StatusCode};
use warp::reject::Reject;
use warp::reply::Response;
use warp::{Rejection, Reply};

#[derive(Debug)]
pub(super) enum Failure {
    /// The request was understood, and refused.
    Refused(Refusal),
    /// It never came so far.
    Fault(Fault),
}

/// A request that is wrong as such: its path, its headers, its query, its body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) status: StatusCode,
    pub(super) field: Option<String>,
    pub(super) detail: String,
}

impl Reject for Fault {}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<Fault> for Failure {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

impl Failure {
    pub(super) fn status(&self) -> StatusCode {
        match self {
            Self::Refused(refusal) => status_and_kind(refusal).0,
            Self::Fault(fault) => fault.status,
        }
    }

    /// What went wrong and what to do about it, fit for strangers.
    pub(super) fn detail(&self) -> String {
        match self {
            Self::Refused(Refusal::Internal(_)) => {
                "something failed inside the server; try again, and if it persists look into the server's log"
                    .to_owned()
            }
            Self::Refused(Refusal::Unavailable(_)) => {
                "the server is busy, or cannot reach its database; try again".to_owned()
            }
            Self::Refused(refusal) => refusal.to_string(),
            Self::Fault(fault) => fault.detail.clone(),
        }
    }

    fn problem(&self) -> Problem {
        let status = self.status();
        let (kind, field) = match self {
            Self::Refused(refusal) => (status_and_kind(refusal).1, field(refusal)),
            Self::Fault(fault) => ("about:blank", fault.field.clone()),
        };
        let title = status.canonical_reason().unwrap_or("Error").to_owned();
        Problem { kind: kind.to_owned(), title, status: status.as_u16(), detail: self.detail(), field }
    }

    /// What the answer hides is logged, once and here.
    pub(super) fn log(&self) {
        match self {
            Self::Refused(Refusal::Internal(why)) => tracing::error!(%why, "a request failed"),
            Self::Refused(Refusal::Unavailable(why)) => tracing::warn!(%why, "a request was put off"),
            Self::Refused(_) | Self::Fault(_) => {}
        }
    }
}

fn field(refusal: &Refusal) -> Option<String> {
    match refusal {
        Refusal::Invalid(invalid) => Some(invalid.field.to_owned()),
        _ => None,
    }
}

/// The kind tells apart what shares a status; `about:blank` says no more than the status does.
fn status_and_kind(refusal: &Refusal) -> (StatusCode, &'static str) {
    match refusal {
        Refusal::Invalid(invalid) if invalid.is_unfit => {
            (StatusCode::UNPROCESSABLE_ENTITY, "urn:berth:unfit")
        }
        Refusal::Invalid(_) => (StatusCode::BAD_REQUEST, "about:blank"),
        Refusal::NotFound(_) => (StatusCode::NOT_FOUND, "about:blank"),
        Refusal::Conflict(_) => (StatusCode::CONFLICT, "urn:berth:conflict"),
        Refusal::KeyReused(_) => (StatusCode::UNPROCESSABLE_ENTITY, "urn:berth:key-reused"),
        Refusal::Shortage(_) => (StatusCode::CONFLICT, "urn:berth:shortage"),
        Refusal::OverQuota(_) => (StatusCode::FORBIDDEN, "urn:berth:quota"),
        Refusal::NotAllowed(_) | Refusal::Forbidden(_) => (StatusCode::FORBIDDEN, "about:blank"),
        Refusal::TooMany { .. } => (StatusCode::TOO_MANY_REQUESTS, "about:blank"),
        Refusal::Anonymous(_) | Refusal::Unauthorised(_) => (StatusCode::UNAUTHORIZED, "about:blank"),
        Refusal::Gone(_) => (StatusCode::GONE, "about:blank"),
        Refusal::Failed(_) => (StatusCode::SERVICE_UNAVAILABLE, "urn:berth:failed"),
        Refusal::Unavailable(_) => (StatusCode::SERVICE_UNAVAILABLE, "about:blank"),
        Refusal::Internal(_) => (StatusCode::INTERNAL_SERVER_ERROR, "about:blank"),
    }
}

/// The end of a request that failed.
pub(super) fn respond(failure: Failure) -> Response {
    failure.into_response()
}

impl Reply for Failure {
    fn into_response(self) -> Response {
        self.log();
        let mut response = warp::reply::json(&self.problem()).into_response();
        *response.status_mut() = self.status();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        self.mark(headers);
        response
    }
}

impl Failure {
    /// What the head of the answer says of it, in whose words ever the body is.
    pub(super) fn mark(&self, headers: &mut HeaderMap) {
        let retry_after = match self {
            Self::Refused(Refusal::Unavailable(_)) => Some(1),
            // Rounded up.
            Self::Refused(Refusal::TooMany { wait, .. }) => Some(wait.as_secs() + 1),
            _ => None,
        };
        if let Some(seconds) = retry_after {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.status() == StatusCode::UNAUTHORIZED {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
    }
}

impl Reply for Fault {
    fn into_response(self) -> Response {
        Failure::Fault(self).into_response()
    }
}

impl Fault {
    pub(super) fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self { status, field: None, detail: detail.into() }
    }

    /// Status 400, for one field of the request.
    pub(super) fn field(field: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { status: StatusCode::BAD_REQUEST, field: Some(field.into()), detail: detail.into() }
    }

    pub(super) fn wrong_method() -> Self {
        let detail = "this path has no such method; the header `allow` lists those it has";
        Self::new(StatusCode::METHOD_NOT_ALLOWED, detail)
    }

    /// Our own rejections first: they are more precise than what warp says of the routes it tried beside.
    pub(super) fn of(rejection: &Rejection) -> Self {
        if let Some(fault) = rejection.find::<Self>() {
            return fault.clone();
        }
        let (status, detail) = if rejection.is_not_found() {
            (StatusCode::NOT_FOUND, "there is nothing at this path; `GET /` lists the paths there are")
        } else {
            tracing::error!(?rejection, "a rejection without a wording");
            (StatusCode::INTERNAL_SERVER_ERROR, "the request was rejected for a reason nobody thought of")
        };
        Self::new(status, detail)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::Invalid;
    use model::allocate::Shortage;

    fn seen(refusal: Refusal) -> (u16, Problem, Option<String>) {
        let failure = Failure::from(refusal);
        let problem = failure.problem();
        let response = failure.into_response();
        assert_eq!(response.headers()["content-type"], "application/problem+json");
        let retry = response.headers().get("retry-after").map(|after| after.to_str().unwrap().to_owned());
        (response.status().as_u16(), problem, retry)
    }

    #[test]
    fn every_refusal_has_its_status() {
        let text = || "text".to_owned();
        let shortage = Shortage::TooFew { wanted: 3, free: 1 };
        for (refusal, status) in [
            (Refusal::Invalid(Invalid::new("count", "must be 1 or more")), 400),
            (Refusal::Invalid(Invalid::unfit("until", "has passed")), 422),
            (Refusal::NotFound(text()), 404),
            (Refusal::Conflict(text()), 409),
            (Refusal::KeyReused(text()), 422),
            (Refusal::Shortage(shortage), 409),
            (Refusal::Unauthorised(text()), 401),
            (Refusal::Anonymous(text()), 401),
            (Refusal::Forbidden(text()), 403),
            (Refusal::Gone(text()), 410),
            (Refusal::Failed(text()), 503),
            (Refusal::Unavailable(text()), 503),
            (Refusal::Internal(text()), 500),
        ] {
            let (code, problem, _) = seen(refusal);
            assert_eq!((code, problem.status), (status, status));
        }
    }

    #[test]
    fn a_problem_names_its_field_and_says_when_to_come_back() {
        let (_, problem, retry) = seen(Refusal::Invalid(Invalid::new("count", "must be 1 or more")));
        assert_eq!((problem.field.as_deref(), retry), (Some("count"), None));
        let (_, problem, retry) = seen(Refusal::Unavailable("busy".to_owned()));
        assert_eq!((problem.field, retry.as_deref()), (None, Some("1")));
    }

    #[test]
    fn what_failed_inside_stays_inside() {
        for hidden in [Refusal::Internal, Refusal::Unavailable] {
            let (_, problem, _) = seen(hidden("10.0.0.5: table `machine` is on fire".to_owned()));
            assert!(!problem.detail.contains("machine"), "{}", problem.detail);
            assert!(problem.detail.contains("try again"), "{}", problem.detail);
        }
    }
}
