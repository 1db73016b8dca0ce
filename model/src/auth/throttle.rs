//! How fast somebody may ask, and how soon again after failures.

use jiff::{SignedDuration, Timestamp};

/// Log-ins that failed in a row.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Failures {
    count: u32,
    last: Option<Timestamp>,
}

/// People mistype.
const FREE: u32 = 5;
const LONGEST: i64 = 60;
/// Then it is forgotten.
const REMEMBERED: SignedDuration = SignedDuration::from_mins(15);

impl Failures {
    pub fn failed(&mut self, now: Timestamp) {
        if self.is_over(now) {
            self.count = 0;
        }
        self.count = self.count.saturating_add(1);
        self.last = Some(now);
    }

    /// How long to wait before the next try: nothing for the first few, then twice as long each time, up to a minute.
    pub fn wait(&self, now: Timestamp) -> Option<SignedDuration> {
        let over = self.count.checked_sub(FREE).filter(|_| !self.is_over(now))?;
        let pause = SignedDuration::from_secs(1_i64.checked_shl(over.min(6)).unwrap_or(LONGEST).min(LONGEST));
        let left = pause.saturating_sub(now.duration_since(self.last?));
        (left > SignedDuration::ZERO).then_some(left)
    }

    /// Whether nothing of it counts any longer.
    pub fn is_over(&self, now: Timestamp) -> bool {
        self.last.is_none_or(|last| now.duration_since(last) > REMEMBERED)
    }
}

/// A bucket that fills at a steady rate; each request takes one out.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bucket {
    left: f64,
    at: Timestamp,
}

impl Bucket {
    pub fn full(size: u32, now: Timestamp) -> Self {
        Self { left: f64::from(size), at: now }
    }

    /// Takes one, or says after how long there is one again.
    pub fn take(&mut self, per_second: u32, size: u32, now: Timestamp) -> Result<(), SignedDuration> {
        let rate = f64::from(per_second.max(1));
        let since = now.duration_since(self.at).as_secs_f64().max(0.0);
        self.left = (self.left + since * rate).min(f64::from(size));
        self.at = now;
        if self.left >= 1.0 {
            self.left -= 1.0;
            return Ok(());
        }
        Err(SignedDuration::from_secs_f64((1.0 - self.left) / rate))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn who_fails_often_waits_longer_and_longer() {
        let mut failures = Failures::default();
        let mut waits = Vec::new();
        for _ in 0..14 {
            failures.failed(at(100));
            waits.push(failures.wait(at(100)).map_or(0, |wait| wait.as_secs()));
        }
        assert_eq!(waits, [0, 0, 0, 0, 1, 2, 4, 8, 16, 32, 60, 60, 60, 60]);
        assert_eq!(failures.wait(at(130)), Some(SignedDuration::from_secs(30)));
        assert_eq!((failures.wait(at(160)), failures.wait(at(1100))), (None, None));
        failures.failed(at(1100));
        assert_eq!(failures.wait(at(1100)), None, "what is long ago does not count");
    }

    #[test]
    fn a_bucket_runs_dry_and_fills_again() {
        let mut bucket = Bucket::full(3, at(0));
        let mut take = |second| bucket.take(2, 3, at(second)).is_ok();
        assert_eq!([0, 0, 0, 0, 1, 1, 1].map(&mut take), [true, true, true, false, true, true, false]);
        assert_eq!([9, 9, 9, 9].map(&mut take), [true, true, true, false], "it holds no more than its size");
        let wait = bucket.take(2, 3, at(9)).unwrap_err();
        assert_eq!(wait, SignedDuration::from_millis(500));
    }
}
