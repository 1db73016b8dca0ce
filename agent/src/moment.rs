//! What time it is, as far as a machine can tell.

use model::Timestamp;
use std::time::Duration;

/// One look at the clocks. What is decided in one convergence is decided by this.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// Since boot; nobody can set it.
    pub boottime: Duration,
    /// By the server's clock, as well as is known. Leases end by this.
    pub now: Timestamp,
    /// By the machine's own clock, which sshd and shadow go by.
    pub wall: Timestamp,
    /// It is at least so late: whatever ended before may be taken away for good. Earlier than `now` on a machine that was
    /// down, and whose clock has made a leap that may be a wrong one.
    pub sure: Timestamp,
    /// The machine was down, and its clock says now that it is earlier than it was before. How much later than `now` it
    /// is, nobody here knows.
    pub is_lost: bool,
}

impl Moment {
    /// Whether nobody may log in to an account with this end, although it is too early to take it away for good.
    pub fn locks(&self, not_after: Timestamp) -> bool {
        self.is_lost || not_after <= self.now
    }

    /// Where the machine's own clock will stand when the server's says `at`. To the minute, so that a clock that drifts
    /// does not change it all the time.
    pub fn on_the_wall(&self, at: Timestamp) -> Timestamp {
        let ahead = self.wall.as_second().saturating_sub(self.now.as_second());
        let rounded = (ahead + 30).div_euclid(60) * 60;
        Timestamp::from_second(at.as_second().saturating_add(rounded)).unwrap_or(at)
    }
}

/// A machine whose clock is right.
impl From<Timestamp> for Moment {
    fn from(now: Timestamp) -> Self {
        Self { boottime: Duration::ZERO, now, wall: now, sure: now, is_lost: false }
    }
}
