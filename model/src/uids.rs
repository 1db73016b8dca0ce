//! Which UIDs a machine's accounts are numbered from.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// Both ends are part of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct UidRange {
    pub first: u32,
    pub last: u32,
}

/// Lower ones belong to the system and to people's own accounts.
const LOWEST: u32 = 10_000;
/// systemd's dynamic users and nobody.
const TAKEN: UidRange = UidRange { first: 61_184, last: 65_535 };
/// Beyond, a UID is negative to programs that take it for an `int`.
const HIGHEST: u32 = 2_147_483_647;

impl Default for UidRange {
    /// Above login.defs' UID_MAX and systemd's ranges, below the first subordinate ids.
    fn default() -> Self {
        Self { first: crate::machine::FIRST_UID, last: crate::machine::LAST_UID }
    }
}

impl UidRange {
    pub fn contains(self, uid: u32) -> bool {
        (self.first..=self.last).contains(&uid)
    }

    /// Whether some range may hold it: every other UID is somebody else's, whatever anybody says.
    pub fn may_hold(uid: u32) -> bool {
        (LOWEST..=HIGHEST).contains(&uid) && !TAKEN.contains(uid)
    }
}

impl FromStr for UidRange {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parse = |text: &str| text.trim().parse::<u32>().ok();
        let (first, last) = text
            .split_once('-')
            .and_then(|(first, last)| parse(first).zip(parse(last)))
            .ok_or("must be two numbers, such as `20000-60000`")?;
        if first > last {
            return Err(format!("must begin below its end: {first} is more than {last}"));
        }
        if first < LOWEST || last > HIGHEST {
            return Err(format!("must lie between {LOWEST} and {HIGHEST}"));
        }
        if first <= TAKEN.last && TAKEN.first <= last {
            return Err(format!("must leave out {TAKEN}, which systemd and nobody use"));
        }
        Ok(Self { first, last })
    }
}

impl fmt::Display for UidRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.first, self.last)
    }
}

impl TryFrom<String> for UidRange {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<UidRange> for String {
    fn from(range: UidRange) -> Self {
        range.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_keeps_clear_of_what_others_use() {
        let range: UidRange = "20000-60000".parse().unwrap();
        assert!(range.contains(20_000) && range.contains(60_000) && !range.contains(60_001));
        assert_eq!(range.to_string(), "20000-60000");
        assert_eq!(UidRange::default().to_string().parse(), Ok(UidRange::default()));
        for bad in ["", "1", "0-70000", "20000-10000", "60000-70000", "66000-4000000000", "a-b"] {
            assert!(bad.parse::<UidRange>().is_err(), "{bad}");
        }
    }
}
