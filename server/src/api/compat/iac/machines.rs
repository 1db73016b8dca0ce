//! Machines: admins see and change all of them, others see which there are.

use super::super::number::{self, Number};
use super::{DELETED, Deleted, NO};
use crate::api::answer::Created;
use crate::api::error::{Failure, Fault};
use crate::api::parameter::{OLD_ELIGIBLE, OLD_FLAGS, OLD_NAME, OLD_RESERVED};
use crate::api::query::Query;
use crate::api::route::{Request, Route, delete, get, patch, post};
use crate::app::{Desk, Stock};
use model::auth::Deed;
use model::phase::MachineState;
use model::ssh::{Secret, SshAccess};
use model::text::{absent, given};
use model::wire::{MachineCreate, MachinePatch, ssh_port};
use model::{Labels, MachineName, Timestamp, text};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;
use warp::http::StatusCode;

pub(super) fn routes() -> Vec<Route> {
    const CLASH: &[StatusCode] = &[StatusCode::CONFLICT];
    vec![
        get("/iac/machines", "list machines")
            .deed(Deed::Look)
            .leniently()
            .takes(&[&OLD_ELIGIBLE, &OLD_RESERVED, &OLD_NAME])
            .worded(NO)
            .by(list),
        post("/iac/machines", "register a machine")
            .deed(Deed::Machines)
            .leniently()
            .refuses(CLASH)
            .worded(NO)
            .by(create),
        get("/iac/machines/{name}", "one machine").deed(Deed::Look).leniently().worded(NO).by(one),
        patch("/iac/machines/{name}", "change it, disable it")
            .deed(Deed::Machines)
            .leniently()
            .refuses(CLASH)
            .worded(NO)
            .by(change),
        delete("/iac/machines/{name}", "retire it: it goes when nobody is on it any longer")
            .deed(Deed::Machines)
            .leniently()
            .worded(NO)
            .by(remove),
    ]
}

/// A machine, to admins and to others.
#[derive(Serialize, ToSchema)]
#[schema(as = IacMachine)]
#[serde(untagged)]
enum Shown {
    Whole(Box<Whole>),
    Part(Part),
}

/// What others see of a machine.
#[derive(Serialize, ToSchema)]
#[schema(as = IacMachinePart)]
#[serde(deny_unknown_fields)]
struct Part {
    name: MachineName,
    reserved: bool,
    reserved_until: Option<Timestamp>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = IacMachineWhole)]
struct Whole {
    name: MachineName,
    host: String,
    port: u16,
    user: String,
    reserved: bool,
    /// Whose reservation it is in.
    reserved_by: Option<String>,
    reserved_until: Option<Timestamp>,
    /// May be given to somebody.
    enabled: bool,
    /// Was heard of.
    online: bool,
    last_seen_at: Option<Timestamp>,
    /// How often in a row it could not be made ready.
    reserve_fail_count: u32,
    /// Until when it is kept back for that.
    quarantine_until: Option<Timestamp>,
    /// Its pool keeps it back, for one that fails.
    spare_pool: bool,
    /// What its agent enrols with: of a machine that was registered just now, and that nobody logs in to.
    #[serde(skip_serializing_if = "Option::is_none")]
    join_token: Option<String>,
}

fn whole(stock: Stock, join_token: Option<String>) -> Whole {
    let Stock { machine, is_heard, is_spare, held_until, held_by, .. } = stock;
    Whole {
        name: machine.name,
        host: machine.host,
        port: machine.port,
        user: machine.ssh.map_or_else(|| "root".to_owned(), |ssh| ssh.user),
        reserved: held_until.is_some(),
        reserved_by: held_by,
        reserved_until: held_until,
        enabled: machine.cordoned_at.is_none(),
        online: is_heard,
        last_seen_at: machine.seen_at,
        reserve_fail_count: machine.failures,
        quarantine_until: machine.set_aside.map(|aside| aside.until),
        spare_pool: is_spare,
        join_token,
    }
}

fn shown(desk: &Desk, stock: Stock) -> Shown {
    if desk.looks_after_all() {
        return Shown::Whole(Box::new(whole(stock, None)));
    }
    let (reserved, reserved_until) = (stock.held_until.is_some(), stock.held_until);
    Shown::Part(Part { name: stock.machine.name, reserved, reserved_until })
}

#[derive(Serialize, ToSchema)]
#[schema(as = IacMachines)]
struct Machines(Vec<Shown>);

/// Which machines to list.
struct Wanted {
    eligible: Option<bool>,
    reserved: Option<bool>,
    prefix: String,
}

impl Wanted {
    fn read(query: &Query) -> Result<Self, Fault> {
        let prefix = query.owned("name").unwrap_or_default();
        Ok(Self { eligible: flag(query, "eligible")?, reserved: flag(query, "reserved")?, prefix })
    }

    fn fits(&self, stock: &Stock) -> bool {
        let is_eligible = stock.state == MachineState::Free && !stock.is_spare;
        self.eligible.is_none_or(|eligible| eligible == is_eligible)
            && self.reserved.is_none_or(|reserved| reserved == stock.held_until.is_some())
            && stock.machine.name.as_str().starts_with(&self.prefix)
    }
}

fn flag(query: &Query, name: &str) -> Result<Option<bool>, Fault> {
    let Some(text) = query.text(name) else { return Ok(None) };
    if OLD_FLAGS.contains(&text) {
        return Ok(Some(matches!(text, "true" | "1")));
    }
    Err(Fault::field(name, format!("`{name}` must be `true` or `false`")))
}

async fn list(desk: Desk, request: Request) -> Result<Machines, Failure> {
    let wanted = Wanted::read(&request.query)?;
    let stock = desk.stock_list().await?.into_iter().filter(|stock| wanted.fits(stock));
    Ok(Machines(stock.map(|stock| shown(&desk, stock)).collect()))
}

async fn one(desk: Desk, request: Request) -> Result<Shown, Failure> {
    let stock = desk.stock_get(&request.place).await?;
    Ok(shown(&desk, stock))
}

/// With a password the server logs in by SSH; without, an agent enrols with the token of the answer.
#[derive(Deserialize, ToSchema)]
#[schema(as = IacMachineCreate)]
struct New {
    #[schema(value_type = MachineName)]
    name: String,
    #[schema(value_type = text::Host)]
    host: String,
    #[schema(schema_with = number::port, required = false)]
    port: Option<Number>,
    #[schema(value_type = Option<text::SshUser>)]
    user: Option<String>,
    #[schema(value_type = Option<text::SshPassword>)]
    password: Option<Secret>,
    /// Its fingerprint; left out, the first one that it shows is believed, and no other after that.
    #[schema(value_type = Option<text::HostKey>)]
    host_key: Option<String>,
}

impl New {
    fn read(self) -> Result<MachineCreate, Fault> {
        Ok(MachineCreate {
            name: self.name,
            host: self.host,
            port: self.port.map_or(Ok(ssh_port()), |port| port.read_port())?,
            labels: Labels::default(),
            uids: None,
            ssh: access(self.user, self.password, self.host_key)?.map(|ssh| SshAccess {
                host_key: ssh.host_key.or_else(|| Some("accept-new".to_owned())),
                ..ssh
            }),
        })
    }
}

/// User and host key go with a password.
fn with_password() -> Value {
    json!({"anyOf": [given("password"), {"allOf": [absent("user"), absent("host_key")]}]})
}

pub(super) fn rule_of_new() -> (&'static str, Value) {
    ("IacMachineCreate", with_password())
}

pub(super) fn rule_of_change() -> (&'static str, Value) {
    let any = json!({"anyOf": [given("enabled"), given("host"), given("port"), given("password")]});
    ("IacMachinePatch", json!({"allOf": [any, with_password()]}))
}

fn access(
    user: Option<String>,
    password: Option<Secret>,
    host_key: Option<String>,
) -> Result<Option<SshAccess>, Fault> {
    match (user, password, host_key) {
        (None, None, None) => Ok(None),
        (_, None, _) => Err(Fault::field(
            "password",
            "`password`: give it beside `user` and `host_key`, or none of them, and an agent speaks for the machine",
        )),
        (user, password, host_key) => {
            Ok(Some(SshAccess { user, password, host_key, ..SshAccess::default() }))
        }
    }
}

async fn create(desk: Desk, request: Request<New>) -> Result<Created<Whole>, Failure> {
    let made = desk.machine_create(request.body.read()?, None).await?;
    let name = made.machine.name;
    let body = whole(desk.stock_get(name.as_str()).await?, made.join_token);
    Ok(Created { location: format!("/iac/machines/{name}"), body })
}

/// What is left out stays as it is. What the server sees for itself (`online`), or a pool decides (`spare_pool`), cannot
/// be set.
#[derive(Deserialize, ToSchema)]
#[schema(as = IacMachinePatch)]
struct Change {
    /// Whether it may be given to somebody; whoever is on it stays.
    enabled: Option<bool>,
    #[schema(value_type = Option<text::Host>)]
    host: Option<String>,
    #[schema(schema_with = number::port, required = false)]
    port: Option<Number>,
    #[schema(value_type = Option<text::SshUser>)]
    user: Option<String>,
    #[schema(value_type = Option<text::SshPassword>)]
    password: Option<Secret>,
    #[schema(value_type = Option<text::HostKey>)]
    host_key: Option<String>,
}

impl Change {
    fn read(self) -> Result<MachinePatch, Fault> {
        let Self { enabled, host, port, user, password, host_key } = self;
        let patch = MachinePatch {
            cordoned: enabled.map(|enabled| !enabled),
            host,
            port: port.map(|port| port.read_port()).transpose()?,
            ssh: access(user, password, host_key)?,
            ..MachinePatch::default()
        };
        if let MachinePatch { cordoned: None, host: None, port: None, ssh: None, .. } = &patch {
            let detail = "no fields: give `enabled`, `host`, `port`, or `user` and `password`";
            return Err(Fault::new(StatusCode::BAD_REQUEST, detail));
        }
        Ok(patch)
    }
}

async fn change(desk: Desk, request: Request<Change>) -> Result<Whole, Failure> {
    desk.machine_patch(&request.place, request.body.read()?).await?;
    Ok(whole(desk.stock_get(&request.place).await?, None))
}

async fn remove(desk: Desk, request: Request) -> Result<Deleted, Failure> {
    desk.machine_retire(&request.place).await?;
    Ok(DELETED)
}

#[cfg(any(test, fuzzing))]
pub(super) fn law(bytes: &[u8]) {
    use crate::api::{body::parse, laws::is_theirs};
    parse(bytes).and_then(New::read).map_or_else(is_theirs, |create| assert_ne!(create.port, 0));
    parse(bytes).and_then(Change::read).map_or_else(is_theirs, |patch| assert_ne!(patch.port, Some(0)));
    if let Ok(query) = Query::parse(&String::from_utf8_lossy(bytes)) {
        Wanted::read(&query).map_or_else(is_theirs, drop);
    }
}
