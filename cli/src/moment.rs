//! Times for people: `2026-01-31 18:00:00 UTC (in 58 min)`.

use jiff::Timestamp;

/// `now` is the server's; without it there is only the time itself.
pub(crate) fn with_distance(at: Timestamp, now: Option<Timestamp>) -> String {
    match now {
        Some(now) => format!("{} ({})", absolute(at), distance(at, now)),
        None => absolute(at),
    }
}

/// Only how far away, where room is short.
pub(crate) fn brief(at: Timestamp, now: Option<Timestamp>) -> String {
    now.map_or_else(|| absolute(at), |now| distance(at, now))
}

pub(crate) fn absolute(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M:%S UTC").to_string()
}

fn distance(at: Timestamp, now: Timestamp) -> String {
    let seconds = at.duration_since(now).as_secs();
    let length = length(seconds.unsigned_abs());
    match seconds {
        0 => "now".to_owned(),
        1.. => format!("in {length}"),
        ..0 => format!("{length} ago"),
    }
}

fn length(seconds: u64) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match seconds {
        0..90 => format!("{seconds} s"),
        90..5400 => format!("{minutes} min"),
        5400..172_800 => two(hours, "h", minutes % 60, "min"),
        172_800.. => two(days, "d", hours % 24, "h"),
    }
}

fn two(many: u64, unit: &str, rest: u64, smaller: &str) -> String {
    if rest == 0 { format!("{many} {unit}") } else { format!("{many} {unit} {rest} {smaller}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_far_away() {
        let now: Timestamp = "2026-01-31T12:00:00Z".parse().unwrap();
        for (at, said) in [
            ("2026-01-31T12:00:00.4Z", "now"),
            ("2026-01-31T12:00:45Z", "in 45 s"),
            ("2026-01-31T12:58:59Z", "in 58 min"),
            ("2026-01-31T15:05:00Z", "in 3 h 5 min"),
            ("2026-01-31T15:00:00Z", "in 3 h"),
            ("2026-02-03T13:00:00Z", "in 3 d 1 h"),
            ("2026-01-31T11:50:00Z", "10 min ago"),
        ] {
            assert_eq!(brief(at.parse().unwrap(), Some(now)), said);
        }
        assert_eq!(with_distance(now, None), "2026-01-31 12:00:00 UTC");
    }
}
