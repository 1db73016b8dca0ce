//! What the document of the API says of texts. Of what a parser takes, a pattern says as much as a pattern can, and never
//! more: whatever fits it is taken.

use crate::account::{PasswordHash, Shell, SshKey};
use crate::auth::{Email, Sha1Digest};
use crate::name::{CLAIMED, ROOTLIKE};
use crate::ssh::Secret;
use crate::wire::Page;
use crate::{AccountName, GroupName, Labels, MachineName, PoolName, UidRange, UserName};
use serde_json::{Value, json};
use std::borrow::Cow;
use utoipa::openapi::extensions::Extensions;
use utoipa::openapi::schema::{ArrayBuilder, Object, ObjectBuilder, Type};
use utoipa::openapi::{Ref, RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

/// One of the texts below, by its pattern and the most characters it has.
fn text(pattern: &str, most: usize) -> ObjectBuilder {
    let object = ObjectBuilder::new().schema_type(Type::String).max_length(Some(most));
    object.pattern(Some(pattern))
}

/// Keywords of JSON Schema that the builder does not know.
fn also(object: ObjectBuilder, keyword: &str, says: Value) -> ObjectBuilder {
    object.extensions(Some(Extensions::from_iter([(keyword, says)])))
}

macro_rules! texts {
    ($($(#[$doc:meta])* $type:ty, $name:literal, $object:expr;)*) => {$(
        impl PartialSchema for $type {
            fn schema() -> RefOr<Schema> {
                let object: Object = $object.build();
                object.into()
            }
        }
        impl ToSchema for $type {
            fn name() -> Cow<'static, str> {
                $name.into()
            }
        }
    )*};
}

/// Texts that are no types of their own.
macro_rules! words {
    ($($name:ident)*) => {$(
        #[derive(Debug)]
        pub struct $name;
    )*};
}

words!(
    Certificates DialText Digest EmailOrNone Environment Host HostKey Image IpAddress LabelPair Line ListingText Password Path
    PortText PrivateKey ProviderName Session SizeName SshPassword SshUser State TokenName Uids UnixPassword Word
);

const HOST: &str = "^[a-z0-9]((-|\\.-)*\\.?[a-z0-9])*$";
const NO_CONTROLS: &str = "^[^\\u0000-\\u001f\\u007f-\\u009f]*$";
const EMAIL: &str = "^[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(\\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*@[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?\
                     (\\.[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?)*$";
/// Keys as `ssh-keygen` makes them, whose length is known. RSA keys of other sizes and exponents are taken, too.
const KEY: &str = "^(\
    ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI[A-P][A-Za-z0-9+/]{42}|\
    ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABB[A-Za-z0-9+/]{86}[AEIMQUYcgkosw048]=|\
    ecdsa-sha2-nistp384 AAAAE2VjZHNhLXNoYTItbmlzdHAzODQAAAAIbmlzdHAzODQAAABh[A-Za-z0-9+/]{129}[AQgw]==|\
    ecdsa-sha2-nistp521 AAAAE2VjZHNhLXNoYTItbmlzdHA1MjEAAAAIbmlzdHA1MjEAAACF[A-Za-z0-9+/]{177}[AQgw]==|\
    ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAABA[Q-Za-f][A-Za-z0-9+/]{342}|\
    ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAABg[Q-Za-f][A-Za-z0-9+/]{512}[AEIMQUYcgkosw048]=|\
    ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAACA[Q-Za-f][A-Za-z0-9+/]{683}[AQgw]==|\
    sk-ssh-ed25519@openssh\\.com AAAAGnNrLXNzaC1lZDI1NTE5QG9wZW5zc2guY29tAAAAI[A-P][A-Za-z0-9+/]{42}AAAABHNzaDo=|\
    sk-ecdsa-sha2-nistp256@openssh\\.com AAAAInNrLWVjZHNhLXNoYTItbmlzdHAyNTZAb3BlbnNzaC5jb20AAAAIbmlzdHAyNTYAAABB\
    [A-Za-z0-9+/]{86}[AEIMQUYcgkosw048]AAAAEc3NoOg==\
    )( [ -~]{0,200})?$";
/// A number of minutes, and the plainest of what else is read: `90m`, `1d 12h`, `PT1H`.
const DURATION: &str = "^([1-9][0-9]{0,4}m?|[1-9][0-9]{0,5}s|[1-9][0-9]{0,2}h|[1-9][0-9]?d|[1-9][0-9]?d [1-9][0-9]?h|[1-9][0-9]{0,2}h \
                        [1-9][0-9]?m|P[1-9][0-9]?D|PT[1-9][0-9]{0,2}H|PT[1-9][0-9]{0,3}M)$";

texts! {
    AccountName, "AccountName", text("^[a-z][a-z0-9._-]*$", 63);
    MachineName, "MachineName", text(HOST, 63);
    PoolName, "PoolName", text(HOST, 63);
    GroupName, "GroupName", text("^[a-z_][a-z0-9_-]*$", 31);
    UserName, "UserName", also(text("^[a-z][a-z0-9_-]*$", 31), "not", json!({"anyOf": [{"enum": CLAIMED}, {"pattern": "^systemd-"}]}));
    Email, "Email", also(text(EMAIL, 254), "allOf", json!([{"pattern": "^.{1,64}@"}]));
    PasswordHash, "PasswordHash", text("^\\$(6|5|y|2b)\\$[A-Za-z0-9./=,]*\\$[A-Za-z0-9./$=,]*$", 256).min_length(Some(20));
    Shell, "Shell", also(text("^/[A-Za-z0-9/._+-]*[A-Za-z0-9._+-]$", 128), "not", json!({"pattern": "/\\.\\./"}));
    SshKey, "SshKey", text(KEY, 16 * 1024);
    Sha1Digest, "Sha1Digest", text("^[0-9a-fA-F]{40}$", 40);
    Secret, "Secret", ObjectBuilder::new().schema_type(Type::String);
    UidRange, "UidRange", text("^[0-9]+-[0-9]+$", 21);

    Certificates, "Certificates", text("^-----BEGIN CERTIFICATE-----\\n[A-Za-z0-9+/=\\n]+-----END CERTIFICATE-----\\n$", 64 * 1024);
    DialText, "DialText", text("^(unix:/[A-Za-z0-9/._-]{0,100}|https://[a-z0-9]([a-z0-9.-]{0,60}[a-z0-9])?(:[1-9][0-9]{0,3})?|\
                                http://(localhost|127\\.0\\.0\\.1|\\[::1\\]):[1-9][0-9]{0,3})$", 200);
    Digest, "Digest", text("^[0-9a-f]{64}$", 64);
    EmailOrNone, "EmailOrNone", also(ObjectBuilder::new().schema_type(Type::String), "anyOf",
        json!([{"const": ""}, {"pattern": EMAIL, "maxLength": 254, "allOf": [{"pattern": "^.{1,64}@"}]}]));
    Environment, "Environment", also(ObjectBuilder::new().max_properties(Some(32)), "additionalProperties",
        json!({"type": "string", "pattern": NO_CONTROLS, "maxLength": 1024}))
        .property_names(Some(text("^[A-Za-z_][A-Za-z0-9_]*$", 63).build()));
    Host, "Host", text("^[A-Za-z0-9.:-]+$", 253);
    HostKey, "HostKey", text("^(accept-new|SHA256:[A-Za-z0-9+/]{43})$", 50);
    Image, "Image", text(NO_CONTROLS, 255);
    IpAddress, "IpAddress", text("^(0|[1-9][0-9]?|1[0-9]{2}|2[0-4][0-9]|25[0-5])(\\.(0|[1-9][0-9]?|1[0-9]{2}|2[0-4][0-9]|25[0-5])){3}$", 39);
    LabelPair, "LabelPair", text("^[A-Za-z0-9_./-]{1,63}=[A-Za-z0-9_./-]{0,63}$", 127);
    Line, "Line", text(NO_CONTROLS, 1024);
    ListingText, "ListingText", text("^[^\\u0000-\\u001f\\u007f-\\u009f]+$", 255);
    // 10 to 71 bytes.
    Password, "Password", also(ObjectBuilder::new().schema_type(Type::String), "anyOf",
        json!([{"pattern": "^[ -~]{10,71}$"}, {"pattern": NO_CONTROLS, "minLength": 10, "maxLength": 17}]));
    Path, "Path", text("^/[A-Za-z0-9/._+-]*$", 1000);
    PortText, "PortText", text("^[1-9][0-9]{0,3}/(tcp|udp)$", 9);
    PrivateKey, "PrivateKey", text("^-----BEGIN [A-Z ]+-----\\n[A-Za-z0-9+/=\\n]+-----END [A-Z ]+-----\\n$", 16 * 1024);
    ProviderName, "ProviderName", text("^(docker|simulated)$", 9);
    Session, "Session", text("^[A-Za-z0-9-]*$", crate::session::LONGEST);
    SizeName, "SizeName", text("^[A-Za-z0-9._-]+$", 63);
    SshPassword, "SshPassword", text("^[ -~]+$", 512);
    SshUser, "SshUser", text("^[A-Za-z0-9._@\\\\][A-Za-z0-9._@\\\\-]*$", 32);
    State, "State", text("^(free|held|cleaning|maintenance|unreachable|retiring|listed)$", 11);
    TokenName, "TokenName", text("^[^\\u0000-\\u001f\\u007f-\\u009f]*[!-~][^\\u0000-\\u001f\\u007f-\\u009f]*$", 100);
    Uids, "Uids", text("^(fleet|[12][0-9]{4}-[3-5][0-9]{4}|6[6-9][0-9]{3}-[7-9][0-9]{4}|[1-9][0-9]{5}-[1-9][0-9]{6})$", 21);
    UnixPassword, "UnixPassword", text("^[^\\u0000-\\u001f\\u007f-\\u009f]+$", 128);
    Word, "Word", text("^[!-.0-\\[\\]-~]*[!-,0-\\[\\]-~-][!-.0-\\[\\]-~]*$", 100);
    crate::wire::DurationText, "Duration", also(ObjectBuilder::new().schema_type(utoipa::openapi::schema::SchemaType::AnyValue), "anyOf",
        json!([{"type": "integer", "minimum": 1, "maximum": 527_040}, {"type": "string", "pattern": DURATION}]));
    Labels, "Labels", also(ObjectBuilder::new().max_properties(Some(32)), "additionalProperties",
        json!({"type": "string", "pattern": "^[A-Za-z0-9_./-]*$", "maxLength": 63}))
        .property_names(Some(text("^[A-Za-z0-9_./-]+$", 63).build()));
}

/// Named after what is on it, since each kind of page is a schema of its own.
impl<T: ToSchema> ToSchema for Page<T> {
    fn name() -> Cow<'static, str> {
        format!("{}Page", T::name()).into()
    }

    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        schemas.push((T::name().into_owned(), T::schema()));
        T::schemas(schemas);
    }
}

impl<T: ToSchema> PartialSchema for Page<T> {
    fn schema() -> RefOr<Schema> {
        let items = ArrayBuilder::new().items(Ref::from_schema_name(T::name()));
        let next = ObjectBuilder::new().schema_type(Type::String).description(Some(
            "give it as `?cursor=` to get the page after this one; absent on the last one",
        ));
        let page = ObjectBuilder::new().property("items", items).property("next", next).required("items");
        page.description(Some("One page of a list.")).into()
    }
}

/// What bodies have to heed beside the kinds of their fields, to be added to the schemas of these names.
pub fn rules() -> [(&'static str, Value); 6] {
    let end = json!({"anyOf": [only("duration", "until"), only("until", "duration")]});
    let groups = json!({"anyOf": [
        {"required": ["sudo"], "properties": {"sudo": {"const": true}}},
        {"properties": {"groups": {"items": {"not": {"enum": ROOTLIKE}}}}},
    ]});
    let machines = json!({"anyOf": [
        {"properties": {"machines": {"maxItems": 0}}},
        {"properties": {
            "machines": {"uniqueItems": true}, "count": {"type": "null"}, "labels": {"maxProperties": 0}, "on_failure": {"const": "keep"},
        }},
    ]});
    let access = json!([
        not_both("private_key", "key_file"),
        {"anyOf": [given("password"), given("private_key"), given("key_file")]},
        {"anyOf": [absent("passphrase"), given("private_key"), given("key_file")]},
    ]);
    let image = json!({"anyOf": [
        {"properties": {"provider": {"const": "simulated"}}},
        {"required": ["image"], "properties": {"image": {"minLength": 1}}},
    ]});
    [
        (
            "ReservationCreate",
            json!({"allOf": [end, not_both("password", "password_hash"), groups, machines]}),
        ),
        ("ReservationPatch", end),
        ("SshAccess", json!({"allOf": access})),
        ("PoolPut", image),
        ("AccountPatch", json!({"properties": {"ssh_keys": {"maxItems": 100}}})),
        (
            "MachineAdopt",
            json!({"anyOf": [absent("ca"), {"properties": {"server": {"pattern": "^https://"}}}]}),
        ),
    ]
}

/// `null` says as much as nothing does.
pub fn absent(field: &str) -> Value {
    json!({"properties": {field: {"type": "null"}}})
}

pub fn given(field: &str) -> Value {
    json!({"required": [field], "properties": {field: {"not": {"type": "null"}}}})
}

fn only(field: &str, other: &str) -> Value {
    json!({"required": [field], "properties": {field: {"not": {"type": "null"}}, other: {"type": "null"}}})
}

fn not_both(field: &str, other: &str) -> Value {
    json!({"anyOf": [absent(field), absent(other)]})
}
