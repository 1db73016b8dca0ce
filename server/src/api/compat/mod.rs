//! APIs of older systems, so that their clients go on working: thin adapters over the same app.

mod machine_manager;
mod number;
mod vm_pool;

use super::route::Route;
#[cfg(any(test, fuzzing))]
pub(super) use machine_manager::law;

pub(super) fn routes() -> Vec<Route> {
    [machine_manager::routes(), vm_pool::routes()].into_iter().flatten().collect()
}
