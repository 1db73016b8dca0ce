//! APIs of older systems, so that their clients go on working: thin adapters over the same app.

mod machine_manager;
mod users;

use super::route::Route;

pub(super) fn routes() -> Vec<Route> {
    [machine_manager::routes(), users::routes()].into_iter().flatten().collect()
}

/// What holds of any body in the words of any of them.
#[cfg(any(test, fuzzing))]
pub(super) fn law(bytes: &[u8]) {
    machine_manager::law(bytes);
    users::law(bytes);
}
