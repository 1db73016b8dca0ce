//! A number, or one in quotes: older clients send both.

use crate::api::error::Fault;
use serde::Deserialize;
use utoipa::openapi::schema::{ObjectBuilder, OneOfBuilder, Type};
use utoipa::openapi::{RefOr, Schema};

#[derive(Debug, Deserialize)]
#[serde(untagged, expecting = "expected a whole number")]
pub(super) enum Number {
    Number(i64),
    Text(String),
}

impl Number {
    pub(super) fn read(&self, field: &str) -> Result<i64, Fault> {
        match self {
            Self::Number(number) => Ok(*number),
            Self::Text(text) => text
                .trim()
                .parse()
                .map_err(|_| Fault::field(field, format!("`{field}` must be a whole number"))),
        }
    }
}

/// What the document says of one from 1 up, or none.
pub(super) fn schema(most: i64) -> RefOr<Schema> {
    let digits = most.to_string().len() - 1;
    let number = ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(1)).maximum(Some(most));
    let text = ObjectBuilder::new()
        .schema_type(Type::String)
        .pattern(Some(format!("^[1-9][0-9]{{0,{}}}$", digits - 1)));
    let absent = ObjectBuilder::new().schema_type(Type::Null);
    OneOfBuilder::new().item(number).item(text).item(absent).into()
}
