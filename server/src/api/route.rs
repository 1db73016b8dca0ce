//! What a route is, said once: from it come the filter, the index, the header `allow`, the label of its requests in the
//! metrics, who may, and its part of the document.

use super::answer::Answers;
use super::auth::shown;
use super::body::{Body, NoBody, Pieces};
use super::error::{Failure, Fault};
use super::events::Stop;
use super::header::{idempotency_key, token};
use super::parameter::Parameter;
use super::path::{Segment, places};
use super::peer::{Peer, peer};
use super::query::Query;
use super::schemas::Schemas;
use super::{Routes, error};

use crate::app::{App, Desk, Refusal, Shown};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use model::auth::Deed;
use std::sync::Arc;
use utoipa::openapi::path::Operation;
use warp::Filter;
use warp::http::{HeaderMap, Method, StatusCode};
use warp::reply::Response;

/// What there is to know of a route without serving it.
pub(super) struct Description {
    pub(super) method: Method,
    /// With `{name}` or `{id}` where a segment may be anything.
    pub(super) path: &'static str,
    /// For the index: half a line.
    pub(super) what: &'static str,
    pub(super) access: Access,
    /// Of the query; no others are taken.
    pub(super) parameters: &'static [&'static Parameter],
    pub(super) is_lenient: bool,
    pub(super) is_keyed: bool,
    /// It is of somebody, and not there for others.
    pub(super) is_owned: bool,
    /// A `GET` that changes something, for older clients' sake, and so is no `HEAD`.
    pub(super) is_unsafe: bool,
    /// How it may be refused beside what follows from the rest.
    pub(super) refusals: &'static [StatusCode],
    /// In the words of an older system; `None` for problem+json.
    pub(super) wording: Option<Wording>,
}

/// Who gets in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    Anybody,
    /// Whoever knows a password, which is in the body.
    LogIn,
    /// Whoever may do this.
    Holder(Deed),
    /// The same; a number and a password in the body do as well as a credential in the header.
    HolderByBody(Deed),
    /// Whoever brings a join token, at the agents' door.
    Newcomer,
    /// The agent of a machine, at the agents' door.
    Agent,
}

impl Access {
    pub(super) fn is_of_agents(self) -> bool {
        matches!(self, Self::Newcomer | Self::Agent)
    }
}

/// How an older system says no.
#[derive(Clone, Copy)]
pub(super) struct Wording {
    pub(super) refuse: fn(Failure) -> Response,
    pub(super) describe: fn(&mut Schemas) -> utoipa::openapi::RefOr<utoipa::openapi::Schema>,
    /// Statuses of its own, for ours.
    pub(super) statuses: &'static [StatusCode],
}

/// A route, ready to be served and to be documented.
pub(super) struct Route {
    pub(super) description: Arc<Description>,
    /// The body it takes and the answers it gives.
    pub(super) document: fn(&mut Schemas, Operation) -> Operation,
    handle: Handle,
}

type Handle = Arc<dyn Fn(App, Arc<Description>, Arrived) -> BoxFuture<'static, Response> + Send + Sync>;

/// A request as it comes in.
struct Arrived {
    place: Segment,
    headers: HeaderMap,
    shown: Result<Shown, Refusal>,
    query: String,
    body: Pieces,
    stop: Stop,
}

/// What a handler is given, beside who asks.
pub(super) struct Request<B = NoBody> {
    /// What stands for `{name}` or `{id}`; empty without.
    pub(super) place: String,
    pub(super) query: Query,
    pub(super) key: Option<String>,
    pub(super) headers: HeaderMap,
    pub(super) body: B,
    /// For what would go on for long.
    pub(super) stop: Stop,
}

/// A route of which it is not said yet who answers. `W` is who asks, as the handler gets to know them.
pub(super) struct Draft<W> {
    description: Description,
    admit: Admit<W>,
}

type Admit<W> = fn(App, Access, &HeaderMap, Result<Shown, Refusal>) -> BoxFuture<'static, Result<W, Failure>>;

/// Somebody who is about to log in.
pub(super) struct Stranger {
    pub(super) app: App,
    pub(super) shown: Shown,
}

/// Somebody whose credential may be in the body.
pub(super) struct Asker {
    pub(super) app: App,
    pub(super) shown: Shown,
    pub(super) deed: Deed,
}

/// What an agent shows.
pub(super) struct Visitor {
    pub(super) app: App,
    pub(super) credential: String,
}

pub(super) fn get(path: &'static str, what: &'static str) -> Draft<App> {
    draft(Method::GET, path, what)
}

pub(super) fn post(path: &'static str, what: &'static str) -> Draft<App> {
    draft(Method::POST, path, what)
}

pub(super) fn put(path: &'static str, what: &'static str) -> Draft<App> {
    draft(Method::PUT, path, what)
}

pub(super) fn patch(path: &'static str, what: &'static str) -> Draft<App> {
    draft(Method::PATCH, path, what)
}

pub(super) fn delete(path: &'static str, what: &'static str) -> Draft<App> {
    draft(Method::DELETE, path, what)
}

fn draft(method: Method, path: &'static str, what: &'static str) -> Draft<App> {
    let description = Description {
        method,
        path,
        what,
        access: Access::Anybody,
        parameters: &[],
        is_lenient: false,
        is_keyed: false,
        is_owned: false,
        is_unsafe: false,
        refusals: &[],
        wording: None,
    };
    Draft { description, admit: |app, _, _, _| std::future::ready(Ok(app)).boxed() }
}

impl Draft<App> {
    pub(super) fn deed(self, deed: Deed) -> Draft<Desk> {
        self.admitting(Access::Holder(deed), |app, access, _, shown| {
            async move {
                match access {
                    Access::Holder(deed) => Ok(app.admit(shown?, deed).await?),
                    other => Err(Refusal::Internal(format!("{other:?} is no holder")).into()),
                }
            }
            .boxed()
        })
    }

    pub(super) fn deed_by_body(self, deed: Deed) -> Draft<Asker> {
        self.admitting(Access::HolderByBody(deed), |app, access, _, shown| {
            std::future::ready(match access {
                Access::HolderByBody(deed) => {
                    shown.map(|shown| Asker { app, shown, deed }).map_err(Failure::from)
                }
                other => Err(Refusal::Internal(format!("{other:?} has no deed")).into()),
            })
            .boxed()
        })
    }

    pub(super) fn log_in(self) -> Draft<Stranger> {
        self.admitting(Access::LogIn, |app, _, _, shown| {
            std::future::ready(shown.map(|shown| Stranger { app, shown }).map_err(Failure::from)).boxed()
        })
    }

    pub(super) fn newcomer(self) -> Draft<App> {
        self.admitting(Access::Newcomer, |app, _, _, _| std::future::ready(Ok(app)).boxed())
    }

    pub(super) fn agent(self) -> Draft<Visitor> {
        self.admitting(Access::Agent, |app, _, headers, _| {
            let credential = token(headers).map(|credential| Visitor { app, credential });
            std::future::ready(credential.map_err(Failure::from)).boxed()
        })
    }

    fn admitting<W>(self, access: Access, admit: Admit<W>) -> Draft<W> {
        Draft { description: Description { access, ..self.description }, admit }
    }
}

impl<W: Send + 'static> Draft<W> {
    /// These parameters of the query, and no others.
    pub(super) fn takes(mut self, parameters: &'static [&'static Parameter]) -> Self {
        self.description.parameters = parameters;
        self
    }

    /// Others than these are left unread, for callers who always sent what they liked.
    pub(super) fn leniently(mut self) -> Self {
        self.description.is_lenient = true;
        self
    }

    /// With the header `Idempotency-Key` it may be repeated.
    pub(super) fn keyed(mut self) -> Self {
        self.description.is_keyed = true;
        self
    }

    pub(super) fn owned(mut self) -> Self {
        self.description.is_owned = true;
        self
    }

    pub(super) fn no_head(mut self) -> Self {
        self.description.is_unsafe = true;
        self
    }

    pub(super) fn refuses(mut self, refusals: &'static [StatusCode]) -> Self {
        self.description.refusals = refusals;
        self
    }

    pub(super) fn worded(mut self, wording: Wording) -> Self {
        self.description.wording = Some(wording);
        self
    }

    /// The route, answered by this function: its types say which body is taken and what is answered.
    pub(super) fn by<B, A, F>(self, handler: fn(W, Request<B>) -> F) -> Route
    where
        B: Body,
        A: Answers,
        F: Future<Output = Result<A, Failure>> + Send + 'static,
    {
        let admit = self.admit;
        let handle: Handle = Arc::new(move |app, description: Arc<Description>, arrived| {
            async move {
                let outcome = async {
                    // Agents of many machines may come from one address; each has a line of its own.
                    if let Some(shown) =
                        arrived.shown.as_ref().ok().filter(|_| !description.access.is_of_agents())
                    {
                        app.count_from(shown)?;
                    }
                    let who = admit(app, description.access, &arrived.headers, arrived.shown).await?;
                    let query = Query::parse(&arrived.query)?.known_to(&description)?;
                    let key = if description.is_keyed { idempotency_key(&arrived.headers)? } else { None };
                    let body = B::receive(&arrived.headers, arrived.body).await?;
                    let (place, headers, stop) = (arrived.place.0, arrived.headers, arrived.stop);
                    handler(who, Request { place, query, key, headers, body, stop }).await
                };
                match outcome.await {
                    Ok(answer) => answer.respond(),
                    Err(failure) => {
                        description.wording.map_or(error::respond as fn(_) -> _, |own| own.refuse)(failure)
                    }
                }
            }
            .boxed()
        });
        let document = |schemas: &mut Schemas, operation| {
            let operation = B::describe(schemas, operation);
            A::describe(schemas, operation)
        };
        Route { description: Arc::new(self.description), document, handle }
    }
}

impl Description {
    /// `GET /v1/machines/{name}`
    pub(super) fn label(&self) -> String {
        format!("{} {}", self.method, self.path)
    }

    /// `HEAD` is answered like `GET`; hyper leaves the body out.
    fn is_meant_by(&self, method: &Method) -> bool {
        self.method == method || (method == Method::HEAD && self.answers_head())
    }

    pub(super) fn answers_head(&self) -> bool {
        self.method == Method::GET && !self.is_unsafe
    }
}

impl Route {
    /// The end of every route: a failure has become its response, so that warp never tries another route after a
    /// handler ran, and the request is counted.
    pub(super) fn serve(self, app: &App) -> Routes {
        let (app, label) = (app.clone(), self.description.label());
        let Self { description, handle, .. } = self;
        at(description.clone())
            .and(warp::header::headers_cloned())
            .and(peer())
            .and(warp::query::raw().or(warp::any().map(String::new)).unify())
            .and(super::body::pieces())
            .and(warp::ext::get::<Stop>())
            .then(move |place, headers: HeaderMap, peer: Peer, query, body, stop| {
                let arrived = Arrived { place, shown: shown(peer, &headers), headers, query, body, stop };
                let (app, label) = (app.clone(), label.clone());
                let answer = handle(app.clone(), description.clone(), arrived);
                async move {
                    let response = answer.await;
                    app.request_seen(&label, response.status().as_u16());
                    response
                }
            })
            .boxed()
    }
}

/// Requests for this path, by this method.
fn at(description: Arc<Description>) -> impl Filter<Extract = (Segment,), Error = warp::Rejection> + Clone {
    let of_path = description.clone();
    let place = warp::path::full().and_then(move |path: warp::path::FullPath| {
        std::future::ready(places(of_path.path, path.as_str()).ok_or_else(warp::reject::not_found))
    });
    let method = warp::method().and_then(move |method: Method| {
        let fits = description.is_meant_by(&method);
        std::future::ready(if fits { Ok(()) } else { Err(warp::reject::custom(Fault::wrong_method())) })
    });
    place.and(method).map(|place, ()| place)
}
