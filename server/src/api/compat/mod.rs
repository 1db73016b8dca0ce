//! APIs of older systems, so that their clients go on working: thin adapters over the same app.

mod every;
mod machine_manager;
mod number;
mod vm_pool;

use super::route::Route;
pub(super) fn routes() -> Vec<Route> {
    [machine_manager::routes(), vm_pool::routes()].into_iter().flatten().collect()
}

/// What holds of any request in their words.
#[cfg(any(test, fuzzing))]
pub(super) fn law(bytes: &[u8]) {
    machine_manager::law(bytes);
    vm_pool::law(bytes);
}
