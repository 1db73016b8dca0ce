//! How much one account may have.

use jiff::SignedDuration;
use serde::{Deserialize, Serialize};

/// Limits; what is absent is not limited.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Quota {
    /// Machines held at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub machines: Option<u32>,
    /// Hours times machines of all reservations made within seven days.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hours_per_week: Option<u32>,
    /// No single reservation may last longer than so many hours.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub longest_hours: Option<u32>,
}

/// What an account has already.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    pub machines: u32,
    /// Time of machines in reservations made within the last seven days.
    pub spent: SignedDuration,
}

/// What would be too much, and how much is left.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OverQuota {
    #[error("your account may hold {most} machines at once and holds {has}: release some, or ask for fewer")]
    Machines { most: u32, has: u32 },
    #[error(
        "your account has {left} of {most} hours of machines left in seven days: ask for fewer or shorter"
    )]
    Week { most: u32, left: i64 },
    #[error("your account's reservations may last {most} hours at most")]
    Longest { most: u32 },
}

impl Quota {
    /// These limits, and those of `defaults` where there are none.
    pub fn or(self, defaults: Self) -> Self {
        Self {
            machines: self.machines.or(defaults.machines),
            hours_per_week: self.hours_per_week.or(defaults.hours_per_week),
            longest_hours: self.longest_hours.or(defaults.longest_hours),
        }
    }

    pub fn is_unlimited(&self) -> bool {
        *self == Self::default()
    }

    /// Whether an account that has `used` may have so many machines for so long as well.
    pub fn allow(&self, used: Usage, machines: u32, lasts: SignedDuration) -> Result<(), OverQuota> {
        if let Some(most) = self.machines.filter(|most| used.machines + machines > *most) {
            return Err(OverQuota::Machines { most, has: used.machines });
        }
        self.allow_time(used.spent, lasts, lasts.saturating_mul(machines.try_into().unwrap_or(i32::MAX)))
    }

    /// Whether a reservation may last so long, which is so much more time of machines.
    pub fn allow_time(
        &self,
        spent: SignedDuration,
        lasts: SignedDuration,
        more: SignedDuration,
    ) -> Result<(), OverQuota> {
        if let Some(most) = self.longest_hours.filter(|most| lasts > hours(*most)) {
            return Err(OverQuota::Longest { most });
        }
        if let Some(most) = self.hours_per_week.filter(|most| spent.saturating_add(more) > hours(*most)) {
            let left = hours(most).saturating_sub(spent).as_hours().max(0);
            return Err(OverQuota::Week { most, left });
        }
        Ok(())
    }
}

fn hours(count: u32) -> SignedDuration {
    SignedDuration::from_hours(i64::from(count))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_allowed_ends_at_the_limit() {
        let quota = Quota { machines: Some(3), hours_per_week: Some(10), longest_hours: Some(5) };
        let used = |machines, spent| Usage { machines, spent: hours(spent) };
        assert_eq!(quota.allow(used(1, 0), 2, hours(5)), Ok(()));
        assert_eq!(quota.allow(used(2, 0), 2, hours(1)), Err(OverQuota::Machines { most: 3, has: 2 }));
        assert_eq!(quota.allow(used(0, 0), 1, hours(6)), Err(OverQuota::Longest { most: 5 }));
        assert_eq!(quota.allow(used(0, 4), 2, hours(4)), Err(OverQuota::Week { most: 10, left: 6 }));
        assert_eq!(quota.allow(used(0, 12), 1, hours(1)), Err(OverQuota::Week { most: 10, left: 0 }));
        assert_eq!(Quota::default().allow(used(900, 900), 1000, hours(8000)), Ok(()));
        let own = Quota { machines: Some(9), ..Quota::default() };
        assert_eq!(own.or(quota), Quota { machines: Some(9), ..quota });
    }
}
