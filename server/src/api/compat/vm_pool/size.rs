//! How many VMs there are.

use super::users::Asking;
use super::vms::{Standing, standings};
use super::{Auth, Message, Number, WORDS, no, people};
use crate::api::answer::Made;
use crate::api::body::MayBody;
use crate::api::error::{Failure, Fault};
use crate::api::route::{Asker, Request, Route, get, post};
use crate::app::{Desk, Refusal};
use model::auth::Deed;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa::openapi::{RefOr, Schema};
use warp::http::StatusCode;

const MOST: i64 = 10_000;

pub(super) fn routes() -> Vec<Route> {
    vec![
        get("/truncate_tables", "empty the pool, delete other users")
            .deed_by_body(Deed::Accounts)
            .no_head()
            .leniently()
            .worded(WORDS)
            .by(truncate),
        post("/create_resource_pool", "make the pool of VMs, or change how many there are")
            .deed_by_body(Deed::Machines)
            .leniently()
            .worded(WORDS)
            .by(create),
        post("/resizevmpool", "change how many VMs there are")
            .deed_by_body(Deed::Machines)
            .leniently()
            .worded(WORDS)
            .by(resize),
        get("/vmpoolsize", "how many VMs there are").deed(Deed::Look).leniently().worded(WORDS).by(size),
        get("/create_resource_pool/basicstats", "how many VMs are free, in use and in maintenance")
            .deed(Deed::Look)
            .leniently()
            .worded(WORDS)
            .by(stats),
    ]
}

#[derive(Default, Deserialize, ToSchema)]
#[schema(as = VmPoolAsked)]
pub(super) struct Asked {
    auth: Option<Auth>,
    #[schema(schema_with = most, required = true)]
    pool_size: Option<Number>,
}

fn most() -> RefOr<Schema> {
    super::number::up_to(MOST)
}

impl Asked {
    pub(super) fn size(&self) -> Result<u32, Fault> {
        let given = self.pool_size.as_ref().ok_or_else(|| Fault::field("pool_size", "give `pool_size`"))?;
        let fits =
            u32::try_from(given.read("pool_size")?).ok().filter(|size| (1..=MOST as u32).contains(size));
        fits.ok_or_else(|| Fault::field("pool_size", format!("`pool_size` must be 1 to {MOST}")))
    }
}

async fn create(asker: Asker, request: Request<MayBody<Asked>>) -> Result<Made<Message>, Failure> {
    let asked = request.body.0.unwrap_or_default();
    let size = asked.size();
    let desk = asker.desk(asked.auth).await?;
    if desk.me().account.is_none() {
        return Err(no(StatusCode::BAD_REQUEST, "Please create user first."));
    }
    let is_new = desk.vm_pool().await?.is_none_or(|pool| pool.size == 0);
    set(&desk, size?).await?;
    Ok(Made(Message { message: if is_new { "Resources Created." } else { "Pool resources recreated." } }))
}

async fn resize(asker: Asker, request: Request<MayBody<Asked>>) -> Result<Message, Failure> {
    let asked = request.body.0.unwrap_or_default();
    let size = asked.size();
    let desk = asker.desk(asked.auth).await?;
    let missing = || no(StatusCode::BAD_REQUEST, "Please create pool first.");
    let pool = desk.vm_pool().await?.ok_or_else(missing)?;
    let size = size?;
    if pool.size == size {
        return Ok(Message { message: "Nothing to Update" });
    }
    set(&desk, size).await?;
    Ok(Message { message: "Pool size updated successfully" })
}

/// What somebody uses, or is being looked after, stays in any case: the pool goes no further down than that.
async fn set(desk: &Desk, size: u32) -> Result<(), Failure> {
    let in_use = || {
        let says = "Cannot resize as , currently in used VM > expected pool resize value";
        no(StatusCode::BAD_REQUEST, says)
    };
    let used = standings(desk).await?.iter().filter(|vm| !matches!(vm.standing, Standing::Idle)).count();
    if used > size as usize {
        return Err(in_use());
    }
    match desk.vm_pool_set(size).await {
        // Somebody checked one out at this moment.
        Err(Refusal::Conflict(_)) => Err(in_use()),
        outcome => Ok(outcome.map(drop)?),
    }
}

#[derive(Serialize, ToSchema)]
#[schema(as = VmPoolSize)]
struct Size {
    #[serde(rename = "vm pool size")]
    size: String,
}

async fn wanted(desk: &Desk) -> Result<String, Failure> {
    Ok(desk.vm_pool().await?.map_or(0, |pool| pool.size).to_string())
}

async fn size(desk: Desk, _: Request) -> Result<Size, Failure> {
    Ok(Size { size: wanted(&desk).await? })
}

#[derive(Serialize, ToSchema)]
#[schema(as = VmPoolStats)]
struct Stats {
    #[serde(rename = "Pool Stats")]
    stats: Counts,
}

#[derive(Serialize, ToSchema)]
#[schema(as = VmPoolCounts)]
struct Counts {
    #[serde(rename = "VM_under_maintenance_in_Pool")]
    maintained: usize,
    #[serde(rename = "allocated_VM_in_Pool")]
    taken: usize,
    #[serde(rename = "free_VM_in_pool")]
    free: usize,
    #[serde(rename = "total_VM_count_in_pool")]
    total: String,
}

async fn stats(desk: Desk, _: Request) -> Result<Stats, Failure> {
    let vms = standings(&desk).await?;
    let count = |is_it: fn(&Standing) -> bool| vms.iter().filter(|vm| is_it(&vm.standing)).count();
    let stats = Counts {
        maintained: count(|standing| matches!(standing, Standing::Maintenance)),
        taken: count(|standing| matches!(standing, Standing::Taken(_))),
        free: count(|standing| matches!(standing, Standing::Idle)),
        total: wanted(&desk).await?,
    };
    Ok(Stats { stats })
}

/// Whoever asks stays, or nobody could ask for anything afterwards.
async fn truncate(asker: Asker, request: Request<MayBody<Asking>>) -> Result<Made<Message>, Failure> {
    let desk = asker.desk(request.body.0.unwrap_or_default().auth).await?;
    for vm in standings(&desk).await? {
        if let Standing::Taken(Some(reservation)) = vm.standing {
            desk.reservation_release(&reservation.id.to_string(), Some(0)).await?;
        }
    }
    let own = desk.me().account.map(|own| own.number);
    for account in people(&desk).await?.iter().filter(|account| Some(account.number) != own) {
        desk.account_delete(account.name.as_str(), true).await?;
    }
    if desk.vm_pool().await?.is_some() {
        desk.vm_pool_set(0).await?;
    }
    Ok(Made(Message { message: "Tables Created" }))
}
