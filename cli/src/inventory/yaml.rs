//! YAML as it is read here: positions in every error, nothing of the file in any, bounded work.

use super::Malformed;
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_saphyr::{DuplicateKeyPolicy, Error, MessageFormatter, Options, Spanned, UserMessageFormatter};
use std::fmt;
use std::marker::PhantomData;

/// Values by name, in the order of the file.
pub(super) struct Pairs<T>(pub(super) Vec<(Spanned<String>, T)>);

pub(super) fn parse<T: for<'de> Deserialize<'de>>(text: &str) -> Result<T, Malformed> {
    serde_saphyr::from_str_with_options(text, options()).map_err(|error| malformed(&error))
}

fn options() -> Options {
    serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_nodes: 500_000,
            max_depth: 64,
            max_documents: 1,
        },
        alias_limits: serde_saphyr::alias_limits! { max_total_replayed_events: 500_000 },
        duplicate_keys: DuplicateKeyPolicy::Error,
        // It would draw the line, and the password in it.
        with_snippet: false,
    }
}

fn malformed(error: &Error) -> Malformed {
    let place = error.location().filter(|place| place.line() > 0);
    let line = place.map_or(1, |place| place.line());
    Malformed { line, column: place.map(|place| place.column()), why: words(error) }
}

/// The library's words, unless they repeat what was found.
fn words(error: &Error) -> String {
    match error {
        Error::AliasError { error, .. } | Error::WithSnippet { error, .. } => words(error),
        Error::SerdeInvalidType { expected, .. } | Error::SerdeInvalidValue { expected, .. } => {
            format!("expected {expected}")
        }
        Error::Unexpected { expected: "mapping start", .. } => {
            "expected names with what belongs to them, `name: …`".to_owned()
        }
        Error::Unexpected { expected: "sequence start", .. } => "expected a list, `- …`".to_owned(),
        Error::NonFiniteFloat { .. } | Error::QuotingRequired { .. } => "quote this value".to_owned(),
        Error::Budget { .. } | Error::AliasReplayLimitExceeded { .. } => {
            "is too large or refers to itself too often".to_owned()
        }
        other => UserMessageFormatter.format_message(other).into_owned(),
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Pairs<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(PairsVisitor(PhantomData))
    }
}

struct PairsVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for PairsVisitor<T> {
    type Value = Pairs<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("names with what belongs to them, `name: …`")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Pairs<T>, A::Error> {
        let mut pairs = Vec::new();
        while let Some(pair) = map.next_entry()? {
            pairs.push(pair);
        }
        Ok(Pairs(pairs))
    }
}

/// A list at the top, or one below `machines:`; else it is Ansible's.
pub(super) fn is_list_of_machines(text: &str) -> Result<bool, Malformed> {
    match parse::<Shape>(text)? {
        Shape::List | Shape::Nothing => Ok(true),
        Shape::Map { machines } => Ok(machines),
    }
}

/// As little of a file as tells what it is.
enum Shape {
    Nothing,
    List,
    /// Whether a list, or nothing, stands below `machines`.
    Map {
        machines: bool,
    },
}

impl<'de> Deserialize<'de> for Shape {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ShapeVisitor)
    }
}

struct ShapeVisitor;

impl<'de> Visitor<'de> for ShapeVisitor {
    type Value = Shape;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of machines, or an inventory of Ansible's")
    }

    fn visit_unit<E>(self) -> Result<Shape, E> {
        Ok(Shape::Nothing)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Shape, A::Error> {
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Shape::List)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Shape, A::Error> {
        let mut machines = false;
        while let Some(key) = map.next_key::<String>()? {
            if key == "machines" {
                machines = matches!(map.next_value()?, Shape::List | Shape::Nothing);
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(Shape::Map { machines })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bomb_is_refused() {
        let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for level in 1..9 {
            let below = format!("*a{}, ", level - 1).repeat(10);
            bomb += &format!("a{level}: &a{level} [{below}]\n");
        }
        let refused = is_list_of_machines(&bomb).unwrap_err();
        assert_eq!(refused.why, "is too large or refers to itself too often");
        let deep = "[".repeat(100_000);
        assert!(is_list_of_machines(&deep).is_err());
    }

    #[test]
    fn an_error_has_its_place_and_shows_nothing() {
        for (text, place) in [
            ("machines:\n  - name: a\n\tpassword: hunter2", "line 2, column 11: "),
            ("a: 1\nb: \"hunter2", "line 2, column "),
            ("password: hunter2\npassword: hunter2", "line 2, column 1: "),
            ("hunter2", "line 1: expected a list"),
            ("--- []\n--- hunter2\n", "line 2, column "),
            ("a: *hunter", "line 1, column 4: "),
        ] {
            let said = is_list_of_machines(text).unwrap_err().to_string();
            assert!(said.starts_with(place) && !said.contains("hunter2"), "{text}: {said}");
        }
    }
}
