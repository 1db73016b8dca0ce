//! The document of the API, OpenAPI 3.1: put together from what the routes say of themselves.

use super::answer::{Answers, answered, text};
use super::auth::SESSION;
use super::parameter::{key, place};
use super::route::{Access, Description, Route};
use super::schemas::Schemas;
use super::{compat, every_route};
use model::auth::Level;
use model::wire::Problem;
use serde_json::{Value, json};
use std::sync::LazyLock;
use utoipa::openapi::extensions::Extensions;
use utoipa::openapi::path::{Operation, OperationBuilder};
use utoipa::openapi::security::{
    ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme,
};
use utoipa::openapi::{
    ComponentsBuilder, ContentBuilder, HttpMethod, InfoBuilder, LicenseBuilder, ObjectBuilder,
    OpenApiBuilder, PathItem, PathsBuilder, ResponseBuilder,
};
use warp::http::{Method, StatusCode};
use warp::reply::Response;

/// As it is served, and as `openapi.json` at the top of the tree has it.
static TEXT: LazyLock<String> = LazyLock::new(|| format!("{:#}\n", value()));

pub(super) struct Document;

impl Answers for Document {
    fn respond(self) -> Response {
        text("application/json", TEXT.as_str())
    }

    fn describe(_: &mut Schemas, operation: Operation) -> Operation {
        let content = ContentBuilder::new().schema(Some(ObjectBuilder::new())).build();
        let document =
            ResponseBuilder::new().description("this document").content("application/json", content);
        answered(operation, StatusCode::OK, document.build())
    }
}

const ABOUT: &str = "\
Berth lends machines: so many, to one person, until a time.

Until there is an account, the server answers everybody on its own computer and nobody else. From then on a credential is \
needed wherever `security` says so: a token (`Authorization: Bearer berth_…`), name and password by HTTP Basic, or a \
browser's session (`POST /v1/session`). `x-berth-access` says what it takes: the least role of the account, the least level \
of its token. What belongs to somebody (`x-berth-owned`) is not there for others, admins apart.

Errors are `application/problem+json` (RFC 9457). 400: the request is wrong by this document alone. 422: it is not, and still \
nobody could do it. 409: it does not fit how things stand. A path that exists answers other methods with 405 and `Allow`; `GET` stands for `HEAD`, too.

Operations under `/v1/agent` are served at the agents' door (`--agent-listen`) only, and everything else elsewhere only.";

pub(super) fn value() -> Value {
    let mut schemas = Schemas::default();
    schemas.of::<Problem>();
    let paths = every_route().iter().fold(PathsBuilder::new(), |paths, route| {
        let description = &route.description;
        let method = http_method(&description.method);
        paths.path(description.path, PathItem::new(method, operation(route, &mut schemas)))
    });
    let info = InfoBuilder::new()
        .title("Berth")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some(ABOUT))
        .license(Some(
            LicenseBuilder::new().name("MIT OR Apache-2.0").identifier(Some("MIT OR Apache-2.0")).build(),
        ));
    let document =
        OpenApiBuilder::new().info(info.build()).paths(paths).components(Some(components(schemas)));
    // Its types are made to be serialised.
    let mut value = serde_json::to_value(document.build()).unwrap_or_default();
    for (name, rule) in model::text::rules().into_iter().chain(compat::rules()) {
        add_rule(&mut value["components"]["schemas"][name], rule);
    }
    add_bounds(&mut value);
    value.sort_all_objects();
    value
}

fn operation(route: &Route, schemas: &mut Schemas) -> Operation {
    let description = &*route.description;
    let mut operation = OperationBuilder::new()
        .summary(Some(description.what))
        .operation_id(Some(name(description)))
        .tag(tag(description.path))
        .extensions(Some(extensions(description)))
        .securities(Some(security(description.access)));
    for open in description.path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}')) {
        operation = operation.parameter(place(description.path, open));
    }
    for parameter in description.parameters {
        operation = operation.parameter(parameter.describe());
    }
    if description.is_keyed {
        operation = operation.parameter(key());
    }
    let operation = (route.document)(schemas, operation.build());
    let has_body = operation.request_body.is_some();
    refusals(description, has_body).into_iter().fold(operation, |operation, status| {
        answered(operation, status, refusal(description, status, schemas))
    })
}

/// What may stand in the way, as far as it follows from what the route is.
fn refusals(description: &Description, has_body: bool) -> Vec<StatusCode> {
    let mut all = description.refusals.to_vec();
    let mut when = |holds: bool, statuses: &[StatusCode]| {
        all.extend_from_slice(if holds { statuses } else { &[] });
    };
    let takes_something = has_body || description.is_keyed || !description.is_lenient;
    when(takes_something, &[StatusCode::BAD_REQUEST]);
    let is_held = matches!(description.access, Access::Holder(_) | Access::HolderByBody(_));
    when(is_held, &[StatusCode::UNAUTHORIZED, StatusCode::FORBIDDEN]);
    when(!description.access.is_of_agents(), &[StatusCode::TOO_MANY_REQUESTS]);
    when(description.path.contains('{') || description.access.is_of_agents(), &[StatusCode::NOT_FOUND]);
    when(
        has_body,
        &[StatusCode::REQUEST_TIMEOUT, StatusCode::PAYLOAD_TOO_LARGE, StatusCode::UNSUPPORTED_MEDIA_TYPE],
    );
    when(has_body || description.is_keyed, &[StatusCode::UNPROCESSABLE_ENTITY]);
    let has_long_head = description.is_keyed || !description.parameters.is_empty();
    when(has_long_head, &[StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE]);
    when(!description.is_lenient || is_held || has_body, &[StatusCode::SERVICE_UNAVAILABLE]);
    all.extend(description.wording.iter().flat_map(|own| own.statuses));
    all
}

fn refusal(
    description: &Description,
    status: StatusCode,
    schemas: &mut Schemas,
) -> utoipa::openapi::Response {
    let reason = status.canonical_reason().unwrap_or_default();
    if status == StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE {
        // Of a request that nobody read.
        return ResponseBuilder::new().description(reason).build();
    }
    let (kind, schema) = match description.wording {
        None => ("application/problem+json", schemas.of::<Problem>()),
        Some(own) => ("application/json", (own.describe)(schemas)),
    };
    let content = ContentBuilder::new().schema(Some(schema)).build();
    ResponseBuilder::new().description(reason).content(kind, content).build()
}

/// `machines_name_cleanings_get`
fn name(description: &Description) -> String {
    let words = description.path.split('/').map(|word| word.trim_matches(['{', '}']));
    let words = words.filter(|word| !word.is_empty() && *word != "v1");
    let older = if tag(description.path) == "older clients" { Some("older") } else { None };
    let method = description.method.as_str().to_ascii_lowercase();
    let all: Vec<_> = older.into_iter().chain(words).chain([method.as_str()]).collect();
    all.join("_").replace(['-', '.'], "_")
}

pub(super) fn tag(path: &str) -> &str {
    let mut words = path.split('/').skip(1);
    match (words.next(), words.next()) {
        (Some("v1"), Some("login" | "session" | "me")) => "log in",
        (Some("v1"), Some("version" | "availability")) => "server",
        (Some("v1"), Some(noun)) => noun,
        (Some("" | "docs" | "openapi.json" | "healthz" | "metrics"), _) => "server",
        _ => "older clients",
    }
}

fn security(access: Access) -> Vec<SecurityRequirement> {
    let schemes: &[&str] = match access {
        Access::Anybody | Access::LogIn | Access::Newcomer => &[],
        Access::Holder(_) | Access::HolderByBody(_) => &["token", "password", "session"],
        Access::Agent => &["agent"],
    };
    schemes.iter().map(|scheme| SecurityRequirement::new(*scheme, [""; 0])).collect()
}

fn extensions(description: &Description) -> Extensions {
    let access = match description.access {
        Access::Anybody => json!({"who": "anybody"}),
        Access::LogIn => json!({"who": "whoever knows a password"}),
        Access::Newcomer => json!({"who": "whoever has a join token"}),
        Access::Agent => json!({"who": "agent"}),
        Access::Holder(deed) | Access::HolderByBody(deed) => {
            let (role, level) = deed.takes();
            // Whoever could give away more than they have may do so with a token without limits only.
            let wide = level == Level::Admin;
            let by_body = matches!(description.access, Access::HolderByBody(_));
            let (deed, who) = (deed.name(), "account");
            json!({"who": who, "deed": deed, "role": role, "level": level, "wide": wide, "by_body": by_body})
        }
    };
    let owned = description.is_owned.then(|| ("x-berth-owned".to_owned(), Value::from(true)));
    [("x-berth-access".to_owned(), access)].into_iter().chain(owned).collect()
}

fn components(schemas: Schemas) -> utoipa::openapi::Components {
    let http = |scheme, says: &str| {
        SecurityScheme::Http(HttpBuilder::new().scheme(scheme).description(Some(says)).build())
    };
    let cookie = ApiKey::Cookie(ApiKeyValue::with_description(SESSION, "of `POST /v1/session`"));
    ComponentsBuilder::new()
        .schemas_from_iter(schemas.0)
        .security_scheme("token", http(HttpAuthScheme::Bearer, "of `POST /v1/login` or `POST /v1/tokens`"))
        .security_scheme("password", http(HttpAuthScheme::Basic, "name or e-mail, and password"))
        .security_scheme("session", SecurityScheme::ApiKey(cookie))
        .security_scheme(
            "agent",
            http(HttpAuthScheme::Bearer, "of an agent, made by itself when it enrolled"),
        )
        .build()
}

fn http_method(method: &Method) -> HttpMethod {
    match method.as_str() {
        "POST" => HttpMethod::Post,
        "PUT" => HttpMethod::Put,
        "PATCH" => HttpMethod::Patch,
        "DELETE" => HttpMethod::Delete,
        _ => HttpMethod::Get,
    }
}

/// Keywords that a schema has already go on to hold beside the rule.
fn add_rule(schema: &mut Value, rule: Value) {
    if let (Some(schema), Value::Object(rule)) = (schema.as_object_mut(), rule) {
        let is_new = rule.keys().all(|keyword| !schema.contains_key(keyword));
        if is_new {
            schema.extend(rule);
        } else {
            schema.insert("allOf".to_owned(), json!([rule]));
        }
    }
}

/// What fits our integers and texts, which the kind of a field alone does not say.
fn add_bounds(value: &mut Value) {
    if let Some(object) = value.as_object_mut() {
        split_null(object);
        let most = match object.get("format").and_then(Value::as_str) {
            Some("int32") => Some(Value::from(u32::MAX)),
            Some("int64") => Some(Value::from(i64::MAX)),
            _ => None,
        };
        if let Some(most) = most {
            object.entry("maximum").or_insert(most);
        }
        // Ours have no sign, which that format has.
        if object.get("format") == Some(&Value::from("int32")) {
            object.remove("format");
        }
        let is_open =
            ["pattern", "format", "enum", "anyOf"].iter().all(|keyword| !object.contains_key(*keyword));
        if is_open && object.get("type") == Some(&Value::from("string")) {
            object.insert("pattern".to_owned(), Value::from("^[^\\u0000]*$"));
        }
        object.values_mut().for_each(add_bounds);
    } else if let Some(items) = value.as_array_mut() {
        items.iter_mut().for_each(add_bounds);
    }
}

/// A format is one of texts: where there may be `null` instead, that is said beside it.
fn split_null(object: &mut serde_json::Map<String, Value>) {
    if object.get("type") == Some(&json!(["string", "null"]))
        && let Some(format) = object.remove("format")
    {
        object.remove("type");
        object.insert("anyOf".to_owned(), json!([{"type": "string", "format": format}, {"type": "null"}]));
    }
}

#[cfg(test)]
mod tests {
    use super::super::DESCRIPTIONS;
    use super::*;

    #[test]
    fn every_route_is_one_operation_of_its_own_name() {
        let document = value();
        let paths = document["paths"].as_object().unwrap();
        let operations: Vec<_> = paths.values().flat_map(|path| path.as_object().unwrap().values()).collect();
        assert_eq!(operations.len(), DESCRIPTIONS.len());
        let names: std::collections::BTreeSet<_> =
            operations.iter().map(|operation| operation["operationId"].as_str().unwrap()).collect();
        assert_eq!(names.len(), operations.len());
    }

    #[test]
    fn every_reference_leads_somewhere() {
        let document = value();
        let text = document.to_string();
        let names = text.split("\"#/components/schemas/").skip(1).filter_map(|rest| rest.split('"').next());
        for name in names {
            assert!(document["components"]["schemas"][name].is_object(), "{name}");
        }
    }
}
