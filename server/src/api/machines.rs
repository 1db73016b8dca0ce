//! `/v1/machines`

use super::answer::Created;
use super::error::Failure;
use super::parameter::{AT, CURSOR, ITEMS, LABEL, STATE};
use super::route::{Request, Route, delete, get, patch, post};
use crate::app::{Desk, MachineFilter};
use model::auth::Deed;
use model::wire::{
    CleaningView, CouldLogIn, MachineAdopt, MachineCreate, MachineCreated, MachinePatch, MachineView, Page,
};
use warp::http::StatusCode;

pub(super) fn routes() -> Vec<Route> {
    vec![
        post("/v1/machines", "register a machine")
            .deed(Deed::Machines)
            .keyed()
            .refuses(&[StatusCode::CONFLICT])
            .by(create),
        get("/v1/machines", "list machines")
            .deed(Deed::Look)
            .takes(&[&LABEL, &STATE, &CURSOR, &ITEMS])
            .by(list),
        get("/v1/machines/{name}", "one machine").deed(Deed::Look).by(one),
        patch("/v1/machines/{name}", "change its labels, cordon it")
            .deed(Deed::Machines)
            .refuses(&[StatusCode::CONFLICT])
            .by(change),
        delete("/v1/machines/{name}", "retire it; it goes when nothing is left on it")
            .deed(Deed::Machines)
            .refuses(&[StatusCode::CONFLICT])
            .by(retire),
        get("/v1/machines/{name}/cleanings", "what was taken away, and how long it took")
            .deed(Deed::Audit)
            .takes(&[&CURSOR, &ITEMS])
            .by(cleanings),
        get("/v1/machines/{name}/access", "who could log in on it")
            .deed(Deed::Audit)
            .takes(&[&AT])
            .by(access),
        post("/v1/machines/{name}/clean", "have its agent try again to get clean")
            .deed(Deed::Machines)
            .refuses(&[StatusCode::CONFLICT])
            .by(clean),
        post("/v1/machines/{name}/adopt", "give it an agent of its own")
            .deed(Deed::Machines)
            .refuses(&[StatusCode::CONFLICT])
            .by(adopt),
        post("/v1/machines/{name}/release-agent", "take that away again")
            .deed(Deed::Machines)
            .refuses(&[StatusCode::CONFLICT])
            .by(release_agent),
    ]
}

async fn create(desk: Desk, request: Request<MachineCreate>) -> Result<Created<MachineCreated>, Failure> {
    let body = desk.machine_create(request.body, request.key).await?;
    Ok(Created { location: format!("/v1/machines/{}", body.machine.name), body })
}

async fn list(desk: Desk, request: Request) -> Result<Page<MachineView>, Failure> {
    let query = request.query;
    let filter = MachineFilter {
        labels: query.labels()?,
        state: query.state()?,
        cursor: query.owned("cursor"),
        limit: query.limit()?,
    };
    Ok(desk.machine_list(filter).await?)
}

async fn one(desk: Desk, request: Request) -> Result<MachineView, Failure> {
    Ok(desk.machine_get(&request.place).await?)
}

async fn change(desk: Desk, request: Request<MachinePatch>) -> Result<MachineView, Failure> {
    Ok(desk.machine_patch(&request.place, request.body).await?)
}

async fn retire(desk: Desk, request: Request) -> Result<MachineView, Failure> {
    Ok(desk.machine_retire(&request.place).await?)
}

async fn cleanings(desk: Desk, request: Request) -> Result<Page<CleaningView>, Failure> {
    let query = request.query;
    Ok(desk.cleaning_list(&request.place, query.owned("cursor"), query.limit()?).await?)
}

async fn access(desk: Desk, request: Request) -> Result<Page<CouldLogIn>, Failure> {
    let at = request.query.time("at")?;
    Ok(Page { items: desk.could_log_in(&request.place, at).await?, next: None })
}

async fn clean(desk: Desk, request: Request) -> Result<MachineView, Failure> {
    Ok(desk.machine_clean(&request.place).await?)
}

async fn adopt(desk: Desk, request: Request<MachineAdopt>) -> Result<MachineView, Failure> {
    Ok(desk.machine_adopt(&request.place, request.body).await?)
}

async fn release_agent(desk: Desk, request: Request) -> Result<MachineView, Failure> {
    Ok(desk.machine_release_agent(&request.place).await?)
}
