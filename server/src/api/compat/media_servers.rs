//! The media-server registry, in its own words: `/server/create`, `/server/get`, `/server/getAll` and `/server/delete`.
//! Everything is answered in one envelope, and its `GET` reads a body.

use super::{refusal, status};
use crate::api::answer::{Answers, described_text, text};
use crate::api::body::MayBody;
use crate::api::error::{Failure, Fault};
use crate::api::parameter::OLD_IP;
use crate::api::query::Query;
use crate::api::route::{Request, Route, Wording, delete, get, post};
use crate::api::schemas::Schemas;
use crate::app::{Desk, Refusal};
use jiff::tz::Offset;
use model::auth::Deed;
use model::listing::{self, MediaServer};
use model::wire::MachineView;
use model::{MachineId, Timestamp};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa::openapi::path::Operation;
use warp::http::StatusCode;
use warp::reply::Response;

const NO_IP: &str = "Must have a Server Ip";
const INCOMPLETE: &str = "An error occured";
const TAKEN: &str = "Server with that Ip already exists";
const UNKNOWN: &str = "A server with that ip was not found";

pub(super) fn routes() -> Vec<Route> {
    vec![
        post("/server", "whether media servers are listed here")
            .deed(Deed::Look)
            .leniently()
            .worded(ENVELOPE)
            .by(greet),
        post("/server/create", "list a media server")
            .deed(Deed::Machines)
            .leniently()
            .worded(ENVELOPE)
            .by(create),
        get("/server/get", "one, by `ip` in the query or in a JSON body")
            .deed(Deed::Look)
            .leniently()
            .takes(&[&OLD_IP])
            .worded(ENVELOPE)
            .by(find),
        get("/server/getAll", "all media servers").deed(Deed::Look).leniently().worded(ENVELOPE).by(list),
        delete("/server/delete", "take one off the list, by `ip` likewise")
            .deed(Deed::Machines)
            .leniently()
            .takes(&[&OLD_IP])
            .worded(ENVELOPE)
            .by(remove),
    ]
}

struct Greeting;

const PLAIN: &str = "text/plain; charset=utf-8";

impl Answers for Greeting {
    fn respond(self) -> Response {
        text(
            PLAIN,
            "media servers are listed here: POST /server/create adds one, GET /server/getAll shows all\n",
        )
    }

    fn describe(_: &mut Schemas, operation: Operation) -> Operation {
        described_text(operation, &[PLAIN])
    }
}

async fn greet(_: Desk, _: Request) -> Result<Greeting, Failure> {
    Ok(Greeting)
}

#[derive(Deserialize, ToSchema)]
#[schema(as = OldServerCreate)]
struct Wanted {
    #[schema(value_type = model::text::ListingText)]
    ip: Option<String>,
    #[schema(value_type = model::text::ListingText)]
    country: Option<String>,
    #[schema(value_type = model::text::ListingText)]
    region: Option<String>,
    /// `SFU` or `MCU`; others are kept as they come.
    #[serde(rename = "type")]
    #[schema(value_type = model::text::ListingText)]
    kind: Option<String>,
}

impl Wanted {
    fn read(self) -> Result<MediaServer, Fault> {
        let given = |text: Option<String>| text.filter(|text| !text.is_empty());
        let ip = given(self.ip).ok_or_else(|| Fault::field("ip", NO_IP))?;
        let incomplete = |field| move || Fault::field(field, INCOMPLETE);
        Ok(MediaServer {
            ip,
            country: given(self.country).ok_or_else(incomplete("country"))?,
            region: given(self.region).ok_or_else(incomplete("region"))?,
            kind: given(self.kind).ok_or_else(incomplete("type"))?,
        })
    }
}

/// Its word that all went well.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = OldServerListed)]
struct Listed {
    is_success: bool,
    error_name: Option<String>,
    payload: Entry,
}

/// A media server as it was asked for.
#[derive(Serialize, ToSchema)]
#[schema(as = OldServerEntry)]
struct Entry {
    country: String,
    region: String,
    #[serde(rename = "type")]
    kind: String,
    ip: String,
    #[serde(rename = "timeCreated")]
    #[schema(value_type = Timestamp)]
    time_created: String,
}

impl Entry {
    fn new(server: MediaServer, created_at: Timestamp) -> Self {
        let MediaServer { ip, country, region, kind } = server;
        // It wrote the offset in digits, also where that is nought.
        let time_created = created_at.display_with_offset(Offset::UTC).to_string();
        Self { country, region, kind, ip, time_created }
    }
}

async fn create(desk: Desk, request: Request<Wanted>) -> Result<Listed, Failure> {
    let server = request.body.read()?;
    let made = desk.media_server_create(server.clone()).await.map_err(|refusal| match refusal {
        Refusal::Conflict(_) => Refusal::Conflict(TAKEN.to_owned()),
        other => other,
    })?;
    Ok(Listed { is_success: true, error_name: None, payload: Entry::new(server, made.created_at) })
}

#[derive(Deserialize, ToSchema)]
#[schema(as = OldServerSought)]
struct Sought {
    #[schema(value_type = Option<model::text::ListingText>)]
    ip: Option<String>,
}

/// Which server is meant: by the body, else by the query.
fn meant(body: MayBody<Sought>, query: &Query) -> Result<String, Failure> {
    let given = [body.0.and_then(|sought| sought.ip), query.owned("ip")].into_iter().flatten();
    let given: Vec<String> = given.collect();
    for ip in given.iter().filter(|ip| !ip.is_empty()) {
        listing::check("ip", ip).map_err(Refusal::from)?;
    }
    let is_lacking = given.iter().any(String::is_empty);
    let first = given.into_iter().next().filter(|_| !is_lacking);
    Ok(first.ok_or_else(|| Fault::field("ip", NO_IP))?)
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = OldServerFound)]
struct Found {
    is_success: bool,
    error_name: Option<String>,
    payload: Document,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = OldServersFound)]
struct AllFound {
    is_success: bool,
    error_name: Option<String>,
    payload: Vec<Document>,
}

/// The same as it was stored, with the marks of the database it was stored in.
#[derive(Serialize, ToSchema)]
#[schema(as = OldServer)]
struct Document {
    #[serde(rename = "_id")]
    id: MachineId,
    #[serde(flatten)]
    entry: Entry,
    #[serde(rename = "__v")]
    version: u8,
}

fn document(machine: MachineView) -> Option<Document> {
    let entry = Entry::new(machine.media_server?, machine.created_at);
    Some(Document { id: machine.id, entry, version: 0 })
}

async fn find(desk: Desk, request: Request<MayBody<Sought>>) -> Result<Found, Failure> {
    let ip = meant(request.body, &request.query)?;
    let machine = desk.media_server_get(&ip).await.map_err(unknown)?;
    let payload = document(machine).ok_or_else(|| Refusal::NotFound(UNKNOWN.to_owned()))?;
    Ok(Found { is_success: true, error_name: None, payload })
}

async fn list(desk: Desk, _: Request) -> Result<AllFound, Failure> {
    let machines = desk.media_server_list().await?;
    let payload = machines.into_iter().filter_map(document).collect();
    Ok(AllFound { is_success: true, error_name: None, payload })
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = OldServerRemoved)]
struct Removed {
    is_success: bool,
    error_name: Option<String>,
    payload: bool,
}

async fn remove(desk: Desk, request: Request<MayBody<Sought>>) -> Result<Removed, Failure> {
    let ip = meant(request.body, &request.query)?;
    desk.media_server_delete(&ip).await.map_err(unknown)?;
    Ok(Removed { is_success: true, error_name: None, payload: true })
}

fn unknown(refusal: Refusal) -> Refusal {
    match refusal {
        Refusal::NotFound(_) => Refusal::NotFound(UNKNOWN.to_owned()),
        other => other,
    }
}

// --- its way of saying no

const ENVELOPE: Wording = Wording {
    refuse: refused,
    describe: |schemas: &mut Schemas| schemas.of::<Refused>(),
    statuses: &[StatusCode::BAD_REQUEST],
};

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = OldServerRefused)]
struct Refused {
    is_success: bool,
    error_name: String,
    /// Always `null`.
    payload: Option<String>,
}

fn refused(failure: Failure) -> Response {
    let body = Refused { is_success: false, error_name: failure.detail(), payload: None };
    // It knew 400 for whatever it had thought of.
    let status = match status(&failure) {
        StatusCode::NOT_FOUND => StatusCode::BAD_REQUEST,
        other => other,
    };
    refusal(&failure, status, body)
}

/// What holds of any body in these words.
#[cfg(any(test, fuzzing))]
pub(super) fn law(bytes: &[u8]) {
    let wanted = crate::api::body::parse::<Wanted>(bytes).and_then(Wanted::read);
    wanted.map_or_else(crate::api::laws::is_theirs, |server| {
        let is_kept = server.check().is_err() || server.machine_name().parse::<model::MachineName>().is_ok();
        assert!(is_kept, "{server:?} has no name");
    });
}
