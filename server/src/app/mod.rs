//! Use-cases: decide, write a fact, leave a hint for the loops. Nothing here touches a machine.

mod access;
mod agent;
mod machine;
mod meta;
mod pool;
mod reservation;
mod view;

use crate::reconcile::Hub;
use crate::store::{Failure, Key};
use model::allocate::Shortage;
use model::{Invalid, Labels};
use sha2::{Digest, Sha256};
use std::sync::Arc;

/// Everything the API can do. Cheap to clone.
#[derive(Clone)]
pub struct App(Arc<Hub>);

impl App {
    pub fn new(hub: Arc<Hub>) -> Self {
        Self(hub)
    }

    fn hub(&self) -> &Hub {
        &self.0
    }
}

/// Which machines to list.
#[derive(Debug, Clone)]
pub struct MachineFilter {
    pub labels: Labels,
    pub state: Option<String>,
    pub cursor: Option<String>,
    pub limit: u32,
}

/// Which reservations to list.
#[derive(Debug, Clone)]
pub struct ReservationFilter {
    pub username: Option<String>,
    pub phase: Option<model::phase::Phase>,
    pub cursor: Option<String>,
    pub limit: u32,
}

/// Why something was not done, by what the caller can do about it; the text says the remedy.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Refusal {
    #[error(transparent)]
    Invalid(#[from] Invalid),
    #[error("{0}")]
    NotFound(String),
    #[error("{0}")]
    Conflict(String),
    #[error("{0}")]
    KeyReused(String),
    #[error(transparent)]
    Shortage(Shortage),
    #[error("{0}")]
    Unauthorised(String),
    #[error("{0}")]
    Gone(String),
    /// The machines could not do it.
    #[error("{0}")]
    Failed(String),
    #[error("{0}")]
    Unavailable(String),
    #[error("{0}")]
    Internal(String),
}

impl From<Failure> for Refusal {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::NotFound(why) => Self::NotFound(why),
            Failure::Conflict(why) => Self::Conflict(why),
            Failure::KeyReused(why) => Self::KeyReused(why),
            Failure::Shortage(shortage) => Self::Shortage(shortage),
            Failure::Unauthorised(why) => Self::Unauthorised(why),
            Failure::Gone(why) => Self::Gone(why),
            Failure::Race => Self::Unavailable(failure.to_string()),
            Failure::Unavailable(why) => Self::Unavailable(why),
            Failure::Internal(why) => Self::Internal(why),
        }
    }
}

/// A client's idempotency key with a digest of what it asks; secrets are left out of the digest, since a digest of a
/// weak password would give it away.
fn keyed(key: Option<String>, route: &str, request: &impl serde::Serialize) -> Result<Option<Key>, Refusal> {
    let Some(key) = key else { return Ok(None) };
    let body = serde_json::to_vec(request).map_err(|error| Refusal::Internal(error.to_string()))?;
    let request = data_encoding::HEXLOWER.encode(&Sha256::digest(&body));
    Ok(Some(Key { key: format!("{route} {key}"), request }))
}
