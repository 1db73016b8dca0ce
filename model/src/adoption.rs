//! How a machine that is visited over SSH gets an agent of its own, and how it is visited again.

use crate::visit::{after_failures, later};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

/// An agent that was put on a machine enrols within milliseconds, if it reaches the server at all.
pub const ENROL_WITHIN: SignedDuration = SignedDuration::from_secs(60);

/// What is wanted of a machine's own agent, and how that went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Adoption {
    /// What the agent dials.
    pub server: String,
    /// By which CA it knows the server, in PEM; without one by those its machine trusts.
    pub ca: Option<String>,
    pub stage: Stage,
    /// It was put there and has not enrolled yet.
    pub installed_at: Option<Timestamp>,
    /// Of tries in a row, and what the last one said.
    pub failures: u32,
    pub tried_at: Option<Timestamp>,
    pub error: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// Still visited; its agent is to be put there and to enrol.
    Adopting,
    /// Its agent speaks for it.
    Adopted,
    /// Its agent is to be taken away.
    Releasing,
}

/// As the API shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct AdoptionView {
    pub stage: Stage,
    pub server: String,
    /// Why it has not come to that yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// What there is to do about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    Install,
    /// To write down that the agent did not enrol.
    Overdue,
    Uninstall,
}

impl Adoption {
    /// What comes next, and when.
    pub fn next(&self) -> Option<(Timestamp, Step)> {
        let allowed = after_failures(self.tried_at, self.failures);
        match (self.stage, self.installed_at) {
            (Stage::Adopted, _) => None,
            (Stage::Releasing, _) => Some((allowed, Step::Uninstall)),
            (Stage::Adopting, Some(installed)) => Some((later(installed, ENROL_WITHIN), Step::Overdue)),
            (Stage::Adopting, None) => Some((allowed, Step::Install)),
        }
    }

    /// The same, as far as its time has come.
    pub fn due(&self, now: Timestamp) -> Option<Step> {
        self.next().filter(|(at, _)| *at <= now).map(|(_, step)| step)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn an_agent_is_put_there_and_given_a_minute_to_enrol() {
        let wanted = Adoption {
            server: "unix:/run/berth/agent.sock".to_owned(),
            ca: None,
            stage: Stage::Adopting,
            installed_at: None,
            failures: 0,
            tried_at: None,
            error: None,
        };
        assert_eq!(wanted.due(at(0)), Some(Step::Install));
        let waiting = Adoption { installed_at: Some(at(10)), tried_at: Some(at(10)), ..wanted.clone() };
        assert_eq!((waiting.due(at(69)), waiting.due(at(70))), (None, Some(Step::Overdue)));
        let failed = Adoption { failures: 2, tried_at: Some(at(70)), ..wanted.clone() };
        assert_eq!((failed.due(at(73)), failed.due(at(74))), (None, Some(Step::Install)));
        assert_eq!(Adoption { stage: Stage::Adopted, ..waiting.clone() }.next(), None);
        let leaving = Adoption { stage: Stage::Releasing, ..waiting };
        assert_eq!(leaving.due(at(11)), Some(Step::Uninstall), "whether it has enrolled or not");
    }
}
