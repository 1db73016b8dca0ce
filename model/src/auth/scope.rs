//! How far a token reaches.

use super::deed::Level;
use crate::allocate::Want;
use crate::{Invalid, Labels};
use jiff::SignedDuration;
use serde::{Deserialize, Serialize};

/// What a token is good for, of what its account may do.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Scope {
    pub level: Level,
    /// Only machines that carry these.
    #[serde(default, skip_serializing_if = "Labels::is_empty")]
    pub labels: Labels,
    /// So many machines in one reservation at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub machines: Option<u32>,
    /// No reservation is longer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub longest: Option<SignedDuration>,
}

impl Scope {
    /// Limited otherwise than by its level.
    pub fn is_narrow(&self) -> bool {
        !self.labels.is_empty() || self.machines.is_some() || self.longest.is_some()
    }

    /// Narrows what is wanted to what is allowed, or says what is not.
    pub fn narrow(&self, want: Want, lasts: SignedDuration) -> Result<Want, Invalid> {
        self.allow(lasts)?;
        if let Some(most) = self.machines.filter(|most| want.count() > *most) {
            return Err(Invalid::unfit(
                "count",
                format!("this token is for at most {most} machines at a time"),
            ));
        }
        match want {
            want if self.labels.is_empty() => Ok(want),
            Want::Count { count, labels } => match labels.with(&self.labels) {
                Some(labels) => Ok(Want::Count { count, labels }),
                None => Err(Invalid::unfit(
                    "labels",
                    format!("this token is for machines with {} only", self.labels),
                )),
            },
            Want::Named(_) => Err(Invalid::unfit(
                "machines",
                format!("this token is for machines with {}: ask by `count`, not by name", self.labels),
            )),
        }
    }

    /// Whether a reservation may last so long.
    pub fn allow(&self, lasts: SignedDuration) -> Result<(), Invalid> {
        match self.longest.filter(|longest| lasts > *longest) {
            Some(longest) => Err(Invalid::unfit(
                "duration",
                format!("this token is for reservations of at most {longest:#}"),
            )),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(text: &str) -> Labels {
        text.parse().unwrap()
    }

    #[test]
    fn a_narrow_token_gets_what_it_is_for() {
        let hour = SignedDuration::from_hours(1);
        let count = |count, text: &str| Want::Count { count, labels: labels(text) };
        let narrow =
            Scope { labels: labels("lab=1"), machines: Some(2), longest: Some(hour), ..Scope::default() };
        let refused = |want, lasts| narrow.narrow(want, lasts).unwrap_err().field;
        assert!(matches!(
            narrow.narrow(count(2, "os=debian"), hour).unwrap(),
            Want::Count { count: 2, labels: got } if got == labels("lab=1,os=debian")
        ));
        assert_eq!(refused(count(3, "lab=1"), hour), "count");
        assert_eq!(refused(count(1, "lab=2"), hour), "labels");
        assert_eq!(refused(count(1, "lab=1"), hour * 2), "duration");
        assert_eq!(refused(Want::Named(vec!["m1".parse().unwrap()]), hour), "machines");
        let wide = Scope::default();
        assert!(matches!(
            wide.narrow(Want::Named(vec!["m1".parse().unwrap()]), hour * 100),
            Ok(Want::Named(_))
        ));
    }
}
