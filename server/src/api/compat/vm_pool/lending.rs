//! Checking VMs out and in, and what is done with them in between.

use super::super::{WAIT, live_seats, reserve};
use super::users::{email_of, name_of};
use super::vms::{Row, Standing, Vm, find, kind, rows, standings};
use super::{Auth, MAINTAINED, Number, OWNED, OWNER, Rows, WORDS, no, none, numbered, people};
use crate::api::answer::Made;
use crate::api::body::MayBody;
use crate::api::error::{Failure, Fault};
use crate::api::route::{Asker, Request, Route, get, post};
use crate::app::{Desk, Refusal, VM_POOL};
use model::Labels;
use model::auth::Deed;
use model::wire::{AccountView, DurationText, MachinePatch, ReservationCreate, ReservationView};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use warp::http::StatusCode;

pub(super) fn routes() -> Vec<Route> {
    vec![
        post("/checkout_vm", "get a VM, with an account of one's own on it")
            .deed_by_body(Deed::Reserve)
            .leniently()
            .worded(WORDS)
            .by(check_out),
        get("/checkout_vm/user/{number}", "a user's VMs")
            .deed(Deed::Look)
            .leniently()
            .worded(WORDS)
            .by(of_user),
        get("/checkout_vm/vm/{number}", "who has a VM").deed(Deed::Look).leniently().worded(WORDS).by(of_vm),
        post("/checkin_vm", "give a VM back")
            .deed_by_body(Deed::Reserve)
            .leniently()
            .worded(WORDS)
            .by(check_in),
        post("/maintenance", "let a VM be given again")
            .deed_by_body(Deed::Machines)
            .leniently()
            .worded(WORDS)
            .by(maintained),
        get("/maintenance", "VMs that nobody gets")
            .deed(Deed::Look)
            .leniently()
            .worded(WORDS)
            .by(maintenance),
    ]
}

#[derive(Default, Deserialize, ToSchema)]
#[schema(as = VmMeant)]
pub(super) struct Meant {
    auth: Option<Auth>,
    #[schema(schema_with = super::id)]
    vmid: Option<Number>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = VmOwner)]
struct User {
    #[serde(rename = "User-name")]
    name: String,
    #[serde(rename = "user-Id")]
    id: i64,
    #[serde(rename = "user-email")]
    email: String,
}

impl User {
    fn of(account: &AccountView) -> Self {
        Self { name: name_of(account), id: account.number, email: email_of(account) }
    }
}

#[derive(Serialize, ToSchema)]
#[schema(as = VmBrief)]
struct Brief {
    hostname: String,
    #[serde(rename = "ip-address")]
    address: String,
    #[serde(rename = "vm type")]
    kind: String,
    #[serde(rename = "vm-Id")]
    id: i64,
    #[serde(rename = "VM tagged to", skip_serializing_if = "Option::is_none")]
    tagged: Option<&'static str>,
}

impl Brief {
    fn of(vm: &Vm) -> Self {
        Self {
            hostname: vm.machine.name.to_string(),
            address: vm.machine.host.clone(),
            kind: kind(&vm.machine),
            id: vm.id,
            tagged: None,
        }
    }
}

// --- out

#[derive(Serialize, ToSchema)]
#[schema(as = VmCheckedOut)]
struct CheckedOut {
    #[serde(rename = "User Details")]
    user: User,
    #[serde(rename = "VM Details")]
    vm: Brief,
    message: &'static str,
}

async fn check_out(asker: Asker, request: Request<MayBody<Meant>>) -> Result<Made<CheckedOut>, Failure> {
    let Meant { auth, vmid } = request.body.0.unwrap_or_default();
    let (app, password) = (asker.app.clone(), auth.as_ref().map(|auth| auth.password.expose().to_owned()));
    let number = auth.as_ref().map(|auth| auth.userid.read("auth.userid")).transpose()?;
    let desk = match (asker.desk(auth).await, number) {
        (Err(Failure::Refused(Refusal::Unauthorised(why))), Some(number)) => {
            let is_known = app.is_numbered(number).await?;
            return Err(if is_known { Refusal::Unauthorised(why).into() } else { invalid_user() });
        }
        (desk, _) => desk?,
    };
    let own = desk.me().account.ok_or_else(invalid_user)?;
    let wanted = match vmid {
        None => None,
        Some(vmid) => Some(free(&desk, vmid.read("vmid")?).await?),
    };
    let made = reserve(&desk, ask(&desk, &own, password, wanted.as_ref()).await?).await;
    let made = made.map_err(|failure| match (failure, &wanted) {
        (Failure::Refused(Refusal::Shortage(_) | Refusal::Conflict(_)), Some(_)) => not_free(),
        (failure, _) => failure,
    })?;
    let vm = standings(&desk).await?.into_iter().find(|vm| has(&made, vm));
    let vanished = || Refusal::Failed(format!("the VM of reservation {} has vanished", made.id));
    let vm = Brief::of(&vm.ok_or_else(vanished)?);
    Ok(Made(CheckedOut { user: User::of(&own), vm, message: "VM checkout complete." }))
}

fn invalid_user() -> Failure {
    no(StatusCode::BAD_REQUEST, "Invalid User")
}

fn not_free() -> Failure {
    no(StatusCode::BAD_REQUEST, "VM not available for use,Please select another VM.")
}

fn has(made: &ReservationView, vm: &Vm) -> bool {
    live_seats(made).any(|seat| seat.name == vm.machine.name)
}

async fn free(desk: &Desk, number: i64) -> Result<Vm, Failure> {
    let vm = find(desk, number).await?.ok_or_else(|| no(StatusCode::BAD_REQUEST, "Invalid VM"))?;
    if matches!(vm.standing, Standing::Idle) { Ok(vm) } else { Err(not_free()) }
}

/// With the password they have shown; who shows none has keys, or gets in with nothing.
async fn ask(
    desk: &Desk,
    own: &AccountView,
    password: Option<String>,
    wanted: Option<&Vm>,
) -> Result<ReservationCreate, Failure> {
    if password.is_none() && own.ssh_keys.is_empty() {
        let why = "give `auth`: its password opens the VM; or give your account an SSH key";
        return Err(no(StatusCode::BAD_REQUEST, why));
    }
    let labels: Labels = match wanted {
        None => format!("pool={VM_POOL}").parse().map_err(|why: String| Fault::field("vmid", why))?,
        Some(_) => Labels::default(),
    };
    Ok(ReservationCreate {
        username: own.name.as_user().to_string(),
        password,
        ssh_keys: own.ssh_keys.clone(),
        count: wanted.is_none().then_some(1),
        machines: wanted.iter().map(|vm| vm.machine.name.to_string()).collect(),
        labels,
        duration: Some(DurationText::Minutes(desk.longest_minutes().await?)),
        ..ReservationCreate::default()
    })
}

// --- whose

#[derive(Serialize, ToSchema)]
#[schema(as = VmsOfUser)]
struct OfUser {
    #[serde(rename = "User Details")]
    user: User,
    #[serde(rename = "VM owned by user")]
    vms: Rows<Brief>,
}

async fn of_user(desk: Desk, request: Request) -> Result<Made<OfUser>, Failure> {
    let number = numbered(&request.place)?;
    let people = people(&desk).await?;
    let user = people.iter().find(|account| account.number == number).ok_or_else(|| none(OWNED))?;
    let vms = standings(&desk).await?;
    let briefs: Vec<_> = vms
        .iter()
        .filter(
            |vm| matches!(&vm.standing, Standing::Taken(Some(of)) if of.account.as_ref() == Some(&user.name)),
        )
        .map(|vm| (vm.id, Brief::of(vm)))
        .collect();
    if briefs.is_empty() {
        return Err(none(OWNED));
    }
    Ok(Made(OfUser { user: User::of(user), vms: Rows::of(briefs) }))
}

#[derive(Serialize, ToSchema)]
#[schema(as = VmOfSomebody)]
struct OfSomebody {
    #[serde(rename = "User Details")]
    user: User,
    #[serde(rename = "VM owner Details")]
    vm: Brief,
}

async fn of_vm(desk: Desk, request: Request) -> Result<Made<OfSomebody>, Failure> {
    let vm = find(&desk, numbered(&request.place)?).await?.ok_or_else(|| none(OWNER))?;
    let Standing::Taken(Some(of)) = &vm.standing else { return Err(none(OWNER)) };
    let people = people(&desk).await?;
    let user = people.iter().find(|account| Some(&account.name) == of.account.as_ref());
    Ok(Made(OfSomebody { user: User::of(user.ok_or_else(|| none(OWNER))?), vm: Brief::of(&vm) }))
}

// --- in

#[derive(Serialize, ToSchema)]
#[schema(as = VmReturned)]
struct Returned {
    #[serde(rename = "VM Details")]
    vm: Brief,
    message: &'static str,
}

async fn check_in(asker: Asker, request: Request<MayBody<Meant>>) -> Result<Made<Returned>, Failure> {
    let Meant { auth, vmid } = request.body.0.unwrap_or_default();
    let desk = asker.desk(auth).await?;
    let vm = meant(&desk, vmid).await?;
    let Standing::Taken(Some(reservation)) = &vm.standing else {
        return Err(Refusal::Forbidden("nobody here has it".to_owned()).into());
    };
    desk.vm_check_in(&vm.machine.name, reservation, WAIT).await?;
    let vm = Brief { tagged: Some("maintenance"), ..Brief::of(&vm) };
    Ok(Made(Returned { vm, message: "VM checkin complete." }))
}

async fn meant(desk: &Desk, vmid: Option<Number>) -> Result<Vm, Failure> {
    let vmid = vmid.ok_or_else(|| Fault::field("vmid", "give `vmid`"))?.read("vmid")?;
    find(desk, vmid).await?.ok_or_else(|| no(StatusCode::BAD_REQUEST, "Invalid VM"))
}

async fn maintained(asker: Asker, request: Request<MayBody<Meant>>) -> Result<Made<Returned>, Failure> {
    let Meant { auth, vmid } = request.body.0.unwrap_or_default();
    let desk = asker.desk(auth).await?;
    let vm = meant(&desk, vmid).await?;
    if !vm.machine.cordoned {
        return Err(Refusal::Forbidden("it is not in maintenance".to_owned()).into());
    }
    let ready = MachinePatch { cordoned: Some(false), ..MachinePatch::default() };
    desk.machine_patch(vm.machine.name.as_str(), ready).await?;
    Ok(Made(Returned { vm: Brief::of(&vm), message: "VM ready to use and available in pool." }))
}

#[derive(Serialize, ToSchema)]
#[schema(as = VmsMaintained)]
struct Maintained {
    #[serde(rename = "Maintenance_VM_details")]
    details: Rows<Row>,
}

async fn maintenance(desk: Desk, _: Request) -> Result<Maintained, Failure> {
    let kept: Vec<_> =
        rows(&desk).await?.into_iter().filter(Row::is_maintained).map(|row| (row.id(), row)).collect();
    if kept.is_empty() {
        return Err(none(MAINTAINED));
    }
    Ok(Maintained { details: Rows::of(kept) })
}
