//! Objects that are read from objects only: serde would take a list for one, its items in the order of our fields.

use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use std::fmt;
use std::marker::PhantomData;

/// For `deserialize_with`.
pub(crate) fn needed<'de, D: Deserializer<'de>, T: Deserialize<'de>>(from: D) -> Result<T, D::Error> {
    from.deserialize_map(Object(PhantomData))
}

/// The same, each of a list.
pub(crate) fn list<'de, D, T>(from: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    let strict = Vec::<Strict<T>>::deserialize(from)?;
    Ok(strict.into_iter().map(|item| item.0).collect())
}

struct Strict<T>(T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Strict<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        needed(from).map(Self)
    }
}

/// The same, or nothing.
pub(crate) fn optional<'de, D, T>(from: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    from.deserialize_option(Maybe(PhantomData))
}

struct Object<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for Object<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
        T::deserialize(MapAccessDeserializer::new(map))
    }
}

struct Maybe<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for Maybe<T> {
    type Value = Option<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object or nothing")
    }

    fn visit_none<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_some<D: Deserializer<'de>>(self, from: D) -> Result<Self::Value, D::Error> {
        needed(from).map(Some)
    }
}

#[cfg(test)]
mod tests {
    use crate::wire::{AccountCreate, AccountPatch};

    #[test]
    fn a_list_is_no_object() {
        for quota in ["[1]", "7", "\"x\""] {
            let text = format!(r#"{{"name":"a","quota":{quota}}}"#);
            assert!(serde_json::from_str::<AccountCreate>(&text).is_err(), "{text}");
            assert!(serde_json::from_str::<AccountPatch>(&format!(r#"{{"quota":{quota}}}"#)).is_err());
        }
        let read = |text: &str| {
            serde_json::from_str::<AccountPatch>(text).unwrap().quota.map(|quota| quota.machines)
        };
        assert_eq!(read(r#"{"quota":{"machines":2}}"#), Some(Some(2)));
        assert_eq!((read(r#"{"quota":null}"#), read("{}")), (None, None));
    }
}
