//! Queries, read strictly: a parameter nobody knows is a mistake worth telling.

use super::error::Fault;
use super::path::decode;
use super::route::Description;
use model::phase::{MachineState, Phase};
use model::{Labels, ReservationId, Timestamp};
use serde::Deserialize;
use serde::de::{IntoDeserializer, value::Error};
use std::ops::RangeInclusive;

/// The most items on one page.
pub(super) const LIMITS: RangeInclusive<u32> = 1..=1000;
pub(super) const LIMIT: u32 = 100;
/// Seconds somebody may wait for an answer.
pub(super) const WAITS: RangeInclusive<u32> = 0..=60;

/// As many as a machine may have.
const MOST_LABELS: usize = 32;
/// Characters of one value, but for labels, which may come many in one, and keys.
pub(super) const LONGEST: usize = 1024;

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Query(Vec<(String, String)>);

impl Query {
    pub(super) fn parse(raw: &str) -> Result<Self, Fault> {
        let pairs =
            raw.split('&').filter(|pair| !pair.is_empty()).map(pair).collect::<Result<Vec<_>, _>>()?;
        for (at, (name, _)) in pairs.iter().enumerate() {
            if name != "label" && pairs[..at].iter().any(|(earlier, _)| earlier == name) {
                return Err(Fault::field(name, format!("the parameter `{}` comes twice", shown(name))));
            }
        }
        Ok(Self(pairs))
    }

    /// Of a route that takes these parameters.
    pub(super) fn known_to(self, route: &Description) -> Result<Self, Fault> {
        let known: Vec<_> = route.parameters.iter().map(|parameter| parameter.name).collect();
        if route.is_lenient { Ok(self) } else { self.only(&known) }
    }

    fn only(self, known: &[&str]) -> Result<Self, Fault> {
        let Some((name, _)) = self.0.iter().find(|(name, _)| !known.contains(&name.as_str())) else {
            return Ok(self);
        };
        let known = if known.is_empty() { "none".to_owned() } else { format!("`{}`", known.join("`, `")) };
        Err(Fault::field(name, format!("unknown parameter `{}`; this path takes {known}", shown(name))))
    }

    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    pub(super) fn owned(&self, name: &str) -> Option<String> {
        self.text(name).map(str::to_owned)
    }

    pub(super) fn reservation(&self) -> Result<Option<String>, Fault> {
        let odd = |_| Fault::field("reservation", "`reservation` must be the id of one");
        let id =
            self.text("reservation").map(|text| text.parse::<ReservationId>().map_err(odd)).transpose()?;
        Ok(id.map(|id| id.to_string()))
    }

    pub(super) fn integer(&self, name: &str) -> Result<Option<i64>, Fault> {
        let parse = |text: &str| {
            text.parse().map_err(|_| {
                Fault::field(name, format!("`{name}` must be a whole number, not `{}`", shown(text)))
            })
        };
        self.text(name).map(parse).transpose()
    }

    /// `?label=os=debian&label=size=large`, or both in one, with a comma.
    pub(super) fn labels(&self) -> Result<Labels, Fault> {
        let asked: Vec<&str> =
            self.0.iter().filter(|(name, _)| name == "label").map(|(_, value)| value.as_str()).collect();
        if asked.len() > MOST_LABELS {
            return Err(Fault::field("label", format!("at most {MOST_LABELS}")));
        }
        if asked.iter().flat_map(|pairs| pairs.split(',')).any(str::is_empty) {
            return Err(Fault::field("label", "leave `label` out, or give it as `key=value`"));
        }
        asked.join(",").parse().map_err(|why: String| Fault::field("label", why))
    }

    pub(super) fn state(&self) -> Result<Option<String>, Fault> {
        let state = self.owned("state");
        let Some(unknown) = state.as_deref().filter(|state| !MachineState::NAMES.contains(state)) else {
            return Ok(state);
        };
        let known = MachineState::NAMES.join("`, `");
        Err(Fault::field("state", format!("no state `{}`; there are `{known}`", shown(unknown))))
    }

    pub(super) fn time(&self, name: &str) -> Result<Option<Timestamp>, Fault> {
        let odd = |_| Fault::field(name, format!("`{name}` must be a time such as `2026-01-31T18:00:00Z`"));
        self.text(name).map(|text| text.parse().map_err(odd)).transpose()
    }

    pub(super) fn flag(&self, name: &str) -> Result<bool, Fault> {
        match self.text(name) {
            None | Some("false") => Ok(false),
            Some("true") => Ok(true),
            Some(_) => Err(Fault::field(name, format!("`{name}` must be `true` or `false`"))),
        }
    }

    pub(super) fn phase(&self) -> Result<Option<Phase>, Fault> {
        let parse = |text: &str| {
            Phase::deserialize(text.into_deserializer())
                .map_err(|why: Error| Fault::field("phase", why.to_string()))
        };
        self.text("phase").map(parse).transpose()
    }

    pub(super) fn limit(&self) -> Result<u32, Fault> {
        Ok(self.within("limit", LIMITS)?.unwrap_or(LIMIT))
    }

    pub(super) fn wait(&self) -> Result<Option<u32>, Fault> {
        self.within("wait", WAITS)
    }

    fn within(&self, name: &str, range: RangeInclusive<u32>) -> Result<Option<u32>, Fault> {
        let Some(number) = self.integer(name)? else { return Ok(None) };
        let fits = u32::try_from(number).ok().filter(|number| range.contains(number));
        let refused = || Fault::field(name, format!("`{name}` must be {} to {}", range.start(), range.end()));
        fits.ok_or_else(refused).map(Some)
    }
}

fn pair(raw: &str) -> Result<(String, String), Fault> {
    let (name, value) = raw.split_once('=').unwrap_or((raw, ""));
    let read = |text: &str| decode(&text.replace('+', " "));
    match (read(name), read(value)) {
        (Some(name), Some(value)) if value.contains(char::is_control) => {
            Err(Fault::field(&name, format!("the value of `{}` has control characters", shown(&name))))
        }
        (Some(name), Some(value))
            if !matches!(name.as_str(), "label" | "ssh_key") && value.chars().count() > LONGEST =>
        {
            Err(Fault::field(
                &name,
                format!("the value of `{}` has more than {LONGEST} characters", shown(&name)),
            ))
        }
        (Some(name), Some(value)) => Ok((name, value)),
        (Some(name), None) => {
            Err(Fault::field(&name, format!("the value of `{}` is badly encoded", shown(&name))))
        }
        (None, _) => Err(Fault::field("query", "a parameter's name is badly encoded")),
    }
}

/// Strangers' text in an answer: not too much of it, and nothing that a terminal obeys.
fn shown(text: &str) -> String {
    text.chars().take(40).flat_map(char::escape_debug).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(raw: &str) -> Query {
        Query::parse(raw).unwrap()
    }

    fn field_of<T>(outcome: Result<T, Fault>) -> String {
        outcome.err().and_then(|fault| fault.field).expect("an error that names its field")
    }

    #[test]
    fn unknown_and_repeated_parameters_are_named() {
        let fault = read("stat=free").only(&["state", "limit"]).unwrap_err();
        assert_eq!(fault.detail, "unknown parameter `stat`; this path takes `state`, `limit`");
        assert_eq!(field_of(read("x").only(&[])), "x");
        assert_eq!(field_of(Query::parse("limit=1&limit=2")), "limit");
        assert_eq!(field_of(Query::parse("state=%f")), "state");
        assert_eq!(field_of(Query::parse("actor=a%00")), "actor");
        assert!(read("").only(&[]).is_ok());
    }

    #[test]
    fn labels_repeat_or_come_in_one() {
        let both: Labels = "os=debian,size=large".parse().unwrap();
        for raw in [
            "label=os=debian&label=size=large",
            "label=os=debian,size=large",
            "label=os%3Ddebian%2Csize=large",
        ] {
            assert_eq!(read(raw).labels(), Ok(both.clone()), "{raw}");
        }
        assert!(read("").labels().unwrap().is_empty());
        assert_eq!(field_of(read("label=debian").labels()), "label");
        let many = |count| field_of(read(&vec!["label=a=b"; count].join("&")).labels().map(drop));
        assert_eq!(many(33), "label");
        for empty in ["label=", "label=,", "label=a=b&label="] {
            assert_eq!(field_of(read(empty).labels()), "label", "{empty}");
        }
    }

    #[test]
    fn numbers_have_bounds() {
        assert_eq!((read("").limit(), read("limit=1000").limit()), (Ok(100), Ok(1000)));
        assert_eq!((read("").wait(), read("wait=0").wait()), (Ok(None), Ok(Some(0))));
        for raw in ["limit=0", "limit=1001", "limit=-1", "limit=", "limit=ten", "limit=99999999999999999999"]
        {
            assert_eq!(field_of(read(raw).limit()), "limit", "{raw}");
        }
        assert_eq!(field_of(read("wait=61").wait()), "wait");
    }

    #[test]
    fn states_and_phases_are_checked() {
        assert_eq!(read("state=free").state(), Ok(Some("free".to_owned())));
        assert_eq!(field_of(read("state=Free").state()), "state");
        assert_eq!(read("phase=ready").phase(), Ok(Some(Phase::Ready)));
        let fault = read("phase=done").phase().unwrap_err();
        assert!(fault.detail.contains("`pending`"), "{}", fault.detail);
    }
}
