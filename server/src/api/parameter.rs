//! The parameters of queries, each said once: what is taken, and what the document says of it.

use super::query::{LIMIT, LIMITS, WAITS};
use model::phase::{MachineState, Phase};
use model::text::{LabelPair, Line, Word};
use model::{AccountName, PoolName};
use std::ops::RangeInclusive;
use utoipa::PartialSchema;
use utoipa::openapi::path::{ParameterBuilder, ParameterIn};
use utoipa::openapi::schema::{ArrayBuilder, KnownFormat, ObjectBuilder, SchemaFormat, Type};
use utoipa::openapi::{RefOr, Required, Schema};

pub(super) struct Parameter {
    pub(super) name: &'static str,
    what: &'static str,
    schema: fn() -> RefOr<Schema>,
    is_needed: bool,
}

const fn may(name: &'static str, what: &'static str, schema: fn() -> RefOr<Schema>) -> Parameter {
    Parameter { name, what, schema, is_needed: false }
}

pub(super) const LABEL: Parameter = may("label", "only machines with these labels, as `key=value`", || {
    ArrayBuilder::new().items(LabelPair::schema()).max_items(Some(32)).into()
});
pub(super) const STATE: Parameter =
    may("state", "only machines in this state", || one_of(&MachineState::NAMES));
pub(super) const PHASE: Parameter = may("phase", "only reservations in this phase", Phase::schema);
pub(super) const ITEMS: Parameter =
    may("limit", "the most items of one page", || whole(&LIMITS, Some(LIMIT)));
pub(super) const CURSOR: Parameter = may("cursor", "the `next` of the page before", id);
pub(super) const CURSOR_NAME: Parameter = may("cursor", "the `next` of the page before", AccountName::schema);
pub(super) const CURSOR_EVENT: Parameter = may("cursor", "the `next` of the page before", number);
pub(super) const AFTER: Parameter = may("after", "only events with a higher number", number);
pub(super) const WAIT: Parameter =
    may("wait", "seconds to wait for the outcome; 60 when left out", || whole(&WAITS, None));
pub(super) const USERNAME: Parameter = may("username", "only those of this Unix account", Line::schema);
pub(super) const MACHINE: Parameter = may("machine", "only of this machine", Line::schema);
pub(super) const RESERVATION: Parameter = may("reservation", "only of this reservation", id);
pub(super) const ACTOR: Parameter =
    may("actor", "only the doing of these: `account:NAME`, `open`, `server`, …", Line::schema);
pub(super) const KIND: Parameter = may("kind", "only of this kind, or of all that begin so", Line::schema);
pub(super) const AT: Parameter = may("at", "at this time; now, when left out", || {
    ObjectBuilder::new()
        .schema_type(Type::String)
        .format(Some(SchemaFormat::KnownFormat(KnownFormat::DateTime)))
        .into()
});
pub(super) const ACCOUNT: Parameter =
    may("account", "of this account, which takes an admin; your own when left out", AccountName::schema);
pub(super) const END_RESERVATIONS: Parameter =
    may("end_reservations", "end its reservations, too", bool::schema);

// Of an older system.
pub(super) const OLD_USERNAME: Parameter = Parameter {
    name: "username",
    what: "the Unix account to make",
    schema: model::UserName::schema,
    is_needed: true,
};
pub(super) const OLD_PASSWORD: Parameter =
    may("password", "what to log in with", model::text::UnixPassword::schema);
pub(super) const OLD_COUNT: Parameter =
    may("count", "how many machines", || whole(&(1..=model::reservation::MOST_MACHINES), Some(1)));
pub(super) const OLD_DURATION: Parameter =
    may("duration", "for how many minutes", || whole(&(1..=527_040), Some(60)));
pub(super) const OLD_ELIGIBLE: Parameter =
    may("eligible", "only machines that somebody could get now, or only others", || one_of(&OLD_FLAGS));
pub(super) const OLD_RESERVED: Parameter =
    may("reserved", "only machines that somebody has, or only others", || one_of(&OLD_FLAGS));
pub(super) const OLD_NAME: Parameter = may("name", "only machines whose names begin so", Line::schema);
pub(super) const OLD_FLAGS: [&str; 4] = ["true", "1", "false", "0"];
pub(super) const OLD_KEY: Parameter = may("ssh_key", "another way to log in", model::account::SshKey::schema);
pub(super) const OLD_IP: Parameter =
    may("ip", "of which server, if the body does not say", model::text::ListingText::schema);
pub(super) const OLD_LABEL: Parameter = may("label", "only machines with this label", LabelPair::schema);

impl Parameter {
    pub(super) fn describe(&self) -> ParameterBuilder {
        let required = if self.is_needed { Required::True } else { Required::False };
        ParameterBuilder::new()
            .name(self.name)
            .parameter_in(ParameterIn::Query)
            .required(required)
            .description(Some(self.what))
            .schema(Some((self.schema)()))
    }
}

/// What stands in a path for `{name}` or `{id}`.
pub(super) fn place(path: &'static str, name: &str) -> ParameterBuilder {
    let of = path.split('/').take_while(|part| !part.starts_with('{')).last();
    let (schema, what) = match (of, name) {
        (_, "id") => (id(), "its id"),
        (_, "number") => (whole(&(1..=i32::MAX as u32), None), "its number"),
        (_, "word") => (Word::schema(), "which ones"),
        (Some("accounts" | "users"), _) => (AccountName::schema(), "its name"),
        (Some("pools"), _) => (PoolName::schema(), "its name"),
        _ => (model::MachineName::schema(), "its name"),
    };
    ParameterBuilder::new()
        .name(name)
        .parameter_in(ParameterIn::Path)
        .required(Required::True)
        .description(Some(what))
        .schema(Some(schema))
}

/// The header that makes a request one that may be repeated.
pub(super) fn key() -> ParameterBuilder {
    let schema = ObjectBuilder::new()
        .schema_type(Type::String)
        .max_length(Some(128))
        .pattern(Some("^[!-~]([ -~]*[!-~])?$"));
    ParameterBuilder::new()
        .name("Idempotency-Key")
        .parameter_in(ParameterIn::Header)
        .required(Required::False)
        .description(Some("the same key and the same request again get the first one's answer; a UUID does"))
        .schema(Some(schema))
}

fn id() -> RefOr<Schema> {
    ObjectBuilder::new()
        .schema_type(Type::String)
        .format(Some(SchemaFormat::KnownFormat(KnownFormat::Uuid)))
        .into()
}

/// Of an event.
fn number() -> RefOr<Schema> {
    ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(0)).maximum(Some(i64::MAX as f64)).into()
}

fn whole(range: &RangeInclusive<u32>, default: Option<u32>) -> RefOr<Schema> {
    ObjectBuilder::new()
        .schema_type(Type::Integer)
        .minimum(Some(*range.start() as f64))
        .maximum(Some(*range.end() as f64))
        .default(default.map(Into::into))
        .into()
}

fn one_of(names: &[&str]) -> RefOr<Schema> {
    ObjectBuilder::new().schema_type(Type::String).enum_values(Some(names.iter().copied())).into()
}
