//! Which part of a list.

use model::phase::Phase;
use model::{Labels, MachineName, ReservationId, UserName};

pub(crate) type Query = Vec<(&'static str, String)>;

/// One page: from a page's `next` on, so many items. The default is the first page, of the server's size.
#[derive(Debug, Clone, Default)]
pub struct Slice {
    pub cursor: Option<String>,
    pub limit: Option<u32>,
}

#[derive(Debug, Clone, Default)]
pub struct MachineFilter {
    pub labels: Labels,
    /// One of [`model::phase::MachineState::NAMES`].
    pub state: Option<String>,
}

#[derive(Debug, Clone, Default)]
pub struct ReservationFilter {
    pub username: Option<UserName>,
    pub phase: Option<Phase>,
}

/// What events are about.
#[derive(Debug, Clone, Default)]
pub struct EventFilter {
    pub machine: Option<MachineName>,
    pub reservation: Option<ReservationId>,
    /// A kind, or what several begin with: `machine.cordoned`, `machine`.
    pub kind: Option<String>,
    /// `account:NAME`, `agent`, `server` or `open`.
    pub actor: Option<String>,
}

impl EventFilter {
    pub(crate) fn query(&self) -> Query {
        let machine = self.machine.iter().map(|machine| ("machine", machine.to_string()));
        let reservation = self.reservation.iter().map(|id| ("reservation", id.to_string()));
        let kind = self.kind.iter().map(|kind| ("kind", kind.clone()));
        let actor = self.actor.iter().map(|actor| ("actor", actor.clone()));
        machine.chain(reservation).chain(kind).chain(actor).collect()
    }
}

impl Slice {
    pub(crate) fn query(&self) -> Query {
        let cursor = self.cursor.iter().map(|cursor| ("cursor", cursor.clone()));
        cursor.chain(self.limit.map(|limit| ("limit", limit.to_string()))).collect()
    }
}

impl MachineFilter {
    pub(crate) fn query(&self) -> Query {
        let state = self.state.iter().map(|state| ("state", state.clone()));
        label_query(&self.labels).into_iter().chain(state).collect()
    }
}

impl ReservationFilter {
    pub(crate) fn query(&self) -> Query {
        let username = self.username.iter().map(|name| ("username", name.to_string()));
        username.chain(self.phase.map(|phase| ("phase", phase_word(phase).to_owned()))).collect()
    }
}

pub(crate) fn label_query(labels: &Labels) -> Query {
    labels.iter().map(|(key, value)| ("label", format!("{key}={value}"))).collect()
}

/// As it stands in queries and in JSON.
pub fn phase_word(phase: Phase) -> &'static str {
    match phase {
        Phase::Pending => "pending",
        Phase::Ready => "ready",
        Phase::Ending => "ending",
        Phase::Ended => "ended",
    }
}
