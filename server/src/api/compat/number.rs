//! Numbers, as older clients send them.

use crate::api::error::Fault;
use model::reservation::MOST_MACHINES;
use serde::Deserialize;
use utoipa::openapi::schema::{ObjectBuilder, OneOfBuilder, Type};
use utoipa::openapi::{RefOr, Schema};

/// Of minutes: 366 days.
const LONGEST: i64 = 527_040;

/// A number, or one in quotes: they sent both.
#[derive(Debug, Deserialize)]
#[serde(untagged, expecting = "expected a whole number")]
pub(super) enum Number {
    Number(i64),
    Text(String),
}

/// What the document says of such a number.
fn number(most: i64) -> OneOfBuilder {
    let digits = most.to_string().len() - 1;
    let number = ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(1)).maximum(Some(most));
    let text = ObjectBuilder::new()
        .schema_type(Type::String)
        .pattern(Some(format!("^[1-9][0-9]{{0,{}}}$", digits - 1)));
    OneOfBuilder::new().item(number).item(text)
}

/// `null` says as much as nothing does.
fn or_absent(number: OneOfBuilder) -> RefOr<Schema> {
    number.item(ObjectBuilder::new().schema_type(Type::Null)).into()
}

/// From 1 up to that, or nothing.
pub(super) fn up_to(most: i64) -> RefOr<Schema> {
    or_absent(number(most))
}

pub(super) fn port() -> RefOr<Schema> {
    up_to(65_535)
}

pub(super) fn count() -> RefOr<Schema> {
    up_to(MOST_MACHINES.into())
}

pub(super) fn needed_count() -> RefOr<Schema> {
    number(MOST_MACHINES.into()).into()
}

pub(super) fn minutes() -> RefOr<Schema> {
    up_to(LONGEST)
}

pub(super) fn needed_minutes() -> RefOr<Schema> {
    number(LONGEST).into()
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

    pub(super) fn read_port(&self) -> Result<u16, Fault> {
        let port = u16::try_from(self.read("port")?).ok().filter(|port| *port > 0);
        port.ok_or_else(|| Fault::field("port", "`port` must be 1 to 65535"))
    }

    /// Of minutes that somebody is to have something.
    pub(super) fn read_minutes(&self, field: &str) -> Result<i64, Fault> {
        let minutes = self.read(field)?;
        if minutes < 1 {
            return Err(Fault::field(field, format!("`{field}` must be 1 minute or more")));
        }
        Ok(minutes)
    }
}
