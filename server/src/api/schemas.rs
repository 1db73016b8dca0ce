//! The schemas that the document has gathered, each once and by its name.

use std::collections::BTreeMap;
use utoipa::ToSchema;
use utoipa::openapi::{ContentBuilder, Ref, RefOr, Schema};

#[derive(Default)]
pub(super) struct Schemas(pub(super) BTreeMap<String, RefOr<Schema>>);

impl Schemas {
    /// Takes a type and all that it is made of; returns how to refer to it.
    pub(super) fn of<T: ToSchema>(&mut self) -> RefOr<Schema> {
        let mut parts = Vec::new();
        T::schemas(&mut parts);
        parts.push((T::name().into_owned(), T::schema()));
        for (name, schema) in parts {
            let same = self.0.get(&name).is_none_or(|known| *known == schema);
            debug_assert!(same, "two schemas are called `{name}`");
            self.0.insert(name, schema);
        }
        Ref::from_schema_name(T::name()).into()
    }

    pub(super) fn content<T: ToSchema>(&mut self) -> utoipa::openapi::Content {
        ContentBuilder::new().schema(Some(self.of::<T>())).build()
    }
}
