//! How long: `90m`, `2h`, `1d 12h`, `PT1H`, or a number of minutes.

use jiff::{SignedDuration, Span, SpanRelativeTo};
use std::time::Duration;

/// The longest lease.
pub const LONGEST: Duration = Duration::from_secs(366 * 24 * 3600);

/// Parses a duration; a bare number is minutes. Refuses what is not positive or longer than [`LONGEST`].
pub fn parse(text: &str) -> Result<Duration, String> {
    let text = text.trim();
    let signed = match text.parse::<i64>() {
        Ok(minutes) => SignedDuration::from_secs(minutes.saturating_mul(60)),
        Err(_) => text
            .parse::<Span>()
            .and_then(|span| span.to_duration(SpanRelativeTo::days_are_24_hours()))
            .map_err(|_| {
                format!("`{}` is no duration: write `90m`, `2h`, `PT1H` or a number of minutes", shown(text))
            })?,
    };
    bounded(signed)
}

/// Whole minutes, as older clients send them.
pub fn from_minutes(minutes: i64) -> Result<Duration, String> {
    bounded(SignedDuration::from_secs(minutes.saturating_mul(60)))
}

fn bounded(signed: SignedDuration) -> Result<Duration, String> {
    let duration = Duration::try_from(signed).unwrap_or(Duration::ZERO);
    if duration < Duration::from_secs(1) {
        return Err("must be at least one second".to_owned());
    }
    if duration > LONGEST {
        return Err(format!("must be at most {} days", LONGEST.as_secs() / 86_400));
    }
    Ok(duration)
}

fn shown(text: &str) -> String {
    text.chars().take(40).flat_map(char::escape_debug).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_forms_people_write() {
        for (text, seconds) in [
            ("90m", 5400),
            ("2h", 7200),
            ("PT1H", 3600),
            ("60", 3600),
            ("1d", 86_400),
            ("5s", 5),
            ("1h 30m", 5400),
            ("P2D", 172_800),
        ] {
            assert_eq!(parse(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
    }

    #[test]
    fn what_is_refused() {
        for text in [
            "",
            "0",
            "-5",
            "-1h",
            "0s",
            "100ms",
            "9223372036854775807",
            "9223372036854775808",
            "400d",
            "1 month",
            "soon",
            "1e3",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
        assert!(from_minutes(i64::MAX).is_err());
        assert!(from_minutes(i64::MIN).is_err());
    }
}
