//! Its VMs: which there are, of which type, and whose.

use super::super::{every, live_seats};
use super::users::{Asking, email_of};
use super::{LoudMessage, Rows, WORDS, no, numbered, people, word};
use crate::api::body::MayBody;
use crate::api::error::Failure;
use crate::api::route::{Asker, Request, Route, delete, get};
use crate::app::{Desk, Refusal};
use model::auth::Deed;
use model::wire::{MachineView, ReservationView};
use serde::Serialize;
use std::collections::HashMap;
use std::sync::Arc;
use utoipa::ToSchema;
use warp::http::StatusCode;

pub(super) fn routes() -> Vec<Route> {
    let looking = |path, what| get(path, what).deed(Deed::Look).leniently().worded(WORDS);
    vec![
        looking("/vmdetails", "VMs by id").by(list),
        looking("/vmdetails/id/{number}", "one VM").by(by_id),
        looking("/vmdetails/type/{word}", "VMs of a type").by(by_type),
        looking("/vmdetails/status/{word}", "VMs of a status").by(by_status),
        looking("/vmdetails/maped_to/{word}", "VMs of an e-mail, or `idle`, or in `maintenance`")
            .by(by_owner),
        looking("/vmdetails/types/all", "which types there are").by(types),
        delete("/vmdetails/id/{number}", "take an idle VM out of the pool")
            .deed_by_body(Deed::Machines)
            .leniently()
            .worded(WORDS)
            .by(remove),
    ]
}

/// A VM, and what is known of whoever has it.
pub(super) struct Vm {
    pub(super) id: i64,
    pub(super) machine: MachineView,
    pub(super) standing: Standing,
}

pub(super) enum Standing {
    Idle,
    /// Nobody gets it: it was given back, or is not as it should be.
    Maintenance,
    /// Somebody has it; who, is known to themselves and to admins.
    Taken(Option<Arc<ReservationView>>),
}

pub(super) async fn standings(desk: &Desk) -> Result<Vec<Vm>, Refusal> {
    let mut taken = HashMap::new();
    for reservation in every::live(desk).await?.into_iter().map(Arc::new) {
        let names = live_seats(&reservation).map(|seat| (seat.name.clone(), reservation.clone()));
        taken.extend(names);
    }
    let vm = |(number, machine): (u32, MachineView)| {
        let reservation = taken.remove(&machine.name);
        let standing = match machine.state.as_str() {
            _ if reservation.is_some() => Standing::Taken(reservation),
            "held" => Standing::Taken(None),
            _ if machine.cordoned => Standing::Maintenance,
            "free" => Standing::Idle,
            // It is being made.
            "unreachable" if machine.seen_at.is_none() => Standing::Idle,
            _ => Standing::Maintenance,
        };
        Vm { id: number.into(), machine, standing }
    };
    Ok(desk.vms().await?.into_iter().map(vm).collect())
}

#[derive(Serialize, ToSchema)]
#[schema(as = Vms)]
struct Details {
    #[serde(rename = "VM_details")]
    details: Rows<Row>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = VmRow)]
pub(super) struct Row {
    date_created: String,
    id: i64,
    #[serde(rename = "vm_Status")]
    status: &'static str,
    vm_ip: String,
    vm_map_to: String,
    vm_name: String,
    vm_type: String,
}

const RUNNING: &str = "running";
const MAINTENANCE: &str = "maintenance";

impl Row {
    pub(super) fn id(&self) -> i64 {
        self.id
    }

    pub(super) fn is_maintained(&self) -> bool {
        self.vm_map_to == MAINTENANCE
    }
}

/// Rows of VMs, with the e-mails of those who have them.
pub(super) async fn rows(desk: &Desk) -> Result<Vec<Row>, Refusal> {
    let people = people(desk).await?;
    let emails: HashMap<_, _> =
        people.iter().map(|account| (account.name.clone(), email_of(account))).collect();
    let owner = |reservation: &ReservationView| {
        let name = reservation.account.as_ref();
        let email = name.and_then(|name| emails.get(name)).filter(|email| !email.is_empty()).cloned();
        email.or(name.map(ToString::to_string)).unwrap_or_else(|| reservation.username.to_string())
    };
    let row = |vm: Vm| Row {
        date_created: vm.machine.created_at.strftime("%a, %d %b %Y 00:00:00 GMT").to_string(),
        id: vm.id,
        status: RUNNING,
        vm_map_to: match &vm.standing {
            Standing::Idle => "idle".to_owned(),
            Standing::Maintenance => MAINTENANCE.to_owned(),
            Standing::Taken(Some(reservation)) => owner(reservation),
            Standing::Taken(None) => "reserved".to_owned(),
        },
        vm_type: kind(&vm.machine),
        vm_ip: vm.machine.host,
        vm_name: vm.machine.name.to_string(),
    };
    Ok(standings(desk).await?.into_iter().map(row).collect())
}

/// As its pool labels it.
pub(super) fn kind(machine: &MachineView) -> String {
    let label = machine.labels.iter().find(|(key, _)| *key == "size");
    label.map_or("small", |(_, value)| value).to_owned()
}

async fn those(desk: &Desk, are_meant: impl Fn(&Row) -> bool) -> Result<Details, Failure> {
    let rows = rows(desk).await?.into_iter().filter(are_meant).map(|row| (row.id, row));
    Ok(Details { details: Rows::of(rows) })
}

async fn list(desk: Desk, _: Request) -> Result<Details, Failure> {
    those(&desk, |_| true).await
}

async fn by_id(desk: Desk, request: Request) -> Result<Details, Failure> {
    let number = numbered(&request.place)?;
    those(&desk, |row| row.id == number).await
}

async fn by_type(desk: Desk, request: Request) -> Result<Details, Failure> {
    let kind = word(request.place)?;
    those(&desk, |row| row.vm_type.eq_ignore_ascii_case(&kind)).await
}

async fn by_status(desk: Desk, request: Request) -> Result<Details, Failure> {
    let status = word(request.place)?;
    those(&desk, |row| row.status.eq_ignore_ascii_case(&status)).await
}

async fn by_owner(desk: Desk, request: Request) -> Result<Details, Failure> {
    let owner = word(request.place)?;
    those(&desk, |row| row.vm_map_to.eq_ignore_ascii_case(&owner)).await
}

#[derive(Serialize, ToSchema)]
#[schema(as = VmTypes)]
struct Types {
    #[serde(rename = "VM_Types")]
    types: Kinds,
}

#[derive(Serialize, ToSchema)]
#[schema(as = VmKinds)]
struct Kinds {
    small: Kind,
    medium: Kind,
    large: Kind,
    xlarge: Kind,
}

#[derive(Serialize, ToSchema)]
#[schema(as = VmKind)]
struct Kind {
    cpu: &'static str,
    memory: &'static str,
}

/// As its clients were always told; what a VM really has of it is a matter of the server's settings.
async fn types(_: Desk, _: Request) -> Result<Types, Failure> {
    let kind = |cpu, memory| Kind { cpu, memory };
    let types = Kinds {
        small: kind("2 core", "8 GB"),
        medium: kind("4 core", "16 GB"),
        large: kind("8 core", "64 GB"),
        xlarge: kind("2 x 8 core", "128 GB"),
    };
    Ok(Types { types })
}

async fn remove(asker: Asker, request: Request<MayBody<Asking>>) -> Result<LoudMessage, Failure> {
    let desk = asker.desk(request.body.0.unwrap_or_default().auth).await?;
    let number = numbered(&request.place)?;
    let invalid = || no(StatusCode::BAD_REQUEST, "Invalid VM.");
    let vm = find(&desk, number).await?.ok_or_else(invalid)?;
    let is_taken = matches!(vm.standing, Standing::Taken(_));
    if is_taken || !desk.vm_discard(vm.machine.id).await? {
        return Err(no(StatusCode::UNAUTHORIZED, "Cannot delete VM which is use."));
    }
    Ok(LoudMessage { message: "VM deleted" })
}

/// The VM that somebody means by a number, if there is one.
pub(super) async fn find(desk: &Desk, number: i64) -> Result<Option<Vm>, Refusal> {
    Ok(standings(desk).await?.into_iter().find(|vm| vm.id == number))
}
