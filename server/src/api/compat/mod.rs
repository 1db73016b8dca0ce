//! APIs of older systems, so that their clients go on working: thin adapters over the same app.

mod machine_manager;
mod media_servers;

use super::route::Route;
#[cfg(any(test, fuzzing))]
pub(super) use machine_manager::law;

pub(super) fn routes() -> Vec<Route> {
    [machine_manager::routes(), media_servers::routes()].into_iter().flatten().collect()
}
