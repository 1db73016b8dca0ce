//! `GET /docs`: the document as a page to read. It is made here, with nothing from elsewhere and no script in it.

use super::answer::{Answers, described_text, text};
use super::document;
use super::schemas::Schemas;
use maud::{DOCTYPE, Markup, PreEscaped, html};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::sync::LazyLock;
use utoipa::openapi::path::Operation;
use warp::http::header::{CONTENT_SECURITY_POLICY, HeaderValue, REFERRER_POLICY};
use warp::reply::Response;

const STYLE: &str = include_str!("docs.css");
const HTML: &str = "text/html; charset=utf-8";

static HTML_TEXT: LazyLock<String> = LazyLock::new(|| render(&document::value()).into_string());

pub(super) struct Page;

pub(super) fn page() -> Page {
    Page
}

impl Answers for Page {
    fn respond(self) -> Response {
        let mut response = text(HTML, HTML_TEXT.as_str());
        let headers = response.headers_mut();
        // Styles of its own, which stand in the page; nothing else is loaded, sent or framed.
        let policy = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
        headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy));
        headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
        response
    }

    fn describe(_: &mut Schemas, operation: Operation) -> Operation {
        described_text(operation, &[HTML])
    }
}

fn render(document: &Value) -> Markup {
    let about = document["info"]["description"].as_str().unwrap_or_default();
    let sections = sections(document);
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { "Berth: the API" }
                style { (PreEscaped(STYLE)) }
            }
            body { main {
                h1 { "Berth" }
                @for paragraph in about.split("\n\n") { p { (prose(paragraph)) } }
                p { "The same for programs: " a href="/openapi.json" { "openapi.json" } }
                nav {
                    @for (tag, _) in &sections { a href={ "#" (tag) } { (tag) } }
                    a href="#schemas" { "schemas" }
                }
                @for (tag, operations) in &sections {
                    h2 id=(tag) { (tag) }
                    @for operation in operations { (route(operation)) }
                }
                h2 id="schemas" { "schemas" }
                @for (name, schema) in object(&document["components"]["schemas"]) { (named(name, schema)) }
            } }
        }
    }
}

/// One operation, with its method and path.
struct Shown<'a> {
    method: &'a str,
    path: &'a str,
    says: &'a Value,
}

/// The operations by tag.
fn sections(document: &Value) -> BTreeMap<&str, Vec<Shown<'_>>> {
    let mut sections: BTreeMap<&str, Vec<Shown<'_>>> = BTreeMap::new();
    for (path, item) in object(&document["paths"]) {
        for (method, says) in object(item) {
            let tag = says["tags"][0].as_str().unwrap_or_default();
            sections.entry(tag).or_default().push(Shown { method, path, says });
        }
    }
    sections
}

fn route(Shown { method, path, says }: &Shown<'_>) -> Markup {
    html! {
        details id=[says["operationId"].as_str()] {
            summary {
                span class={ "method " (method) } { (method.to_uppercase()) }
                span.path { (path) }
                span.what { (word(&says["summary"])) }
            }
            div.inside {
                p.who { (who(says)) }
                @if let Some(parameters) = says["parameters"].as_array() {
                    h4 { "Parameters" }
                    table { @for parameter in parameters { (row(word(&parameter["name"]), parameter, &parameter["schema"], parameter["required"] == true)) } }
                }
                @if let Some(body) = says["requestBody"]["content"].get("application/json") {
                    h4 { "Body" }
                    p { (kind(&body["schema"])) }
                }
                h4 { "Answers" }
                table { @for (status, answer) in object(&says["responses"]) { (answered(status, answer)) } }
            }
        }
    }
}

fn answered(status: &str, answer: &Value) -> Markup {
    html! {
        tr {
            td { code { (status) } " " (word(&answer["description"])) }
            td colspan="2" {
                @for (media, content) in object(&answer["content"]) {
                    div { code { (media) } " " (kind(&content["schema"])) }
                }
            }
        }
    }
}

fn who(says: &Value) -> String {
    let access = &says["x-berth-access"];
    let owned = if says["x-berth-owned"] == true { " Others' are not there." } else { "" };
    match word(&access["who"]) {
        "account" => {
            let wide = if access["wide"] == true { " and without limits" } else { "" };
            format!(
                "Takes an account that is `{}`, and a token of level `{}`{wide}.{owned}",
                word(&access["role"]),
                word(&access["level"])
            )
        }
        "agent" => "For the agent of a machine, at the agents' door.".to_owned(),
        other => format!("For {other}."),
    }
}

/// A schema that is referred to by its name.
fn named(name: &str, schema: &Value) -> Markup {
    let needed = schema["required"].as_array().cloned().unwrap_or_default();
    html! {
        details id={ "schema-" (name) } {
            summary { span.path { (name) } }
            div.inside {
                @if let Some(says) = schema["description"].as_str() { p { (prose(says)) } }
                @if let Some(fields) = schema["properties"].as_object() {
                    table { @for (field, says) in fields { (row(field, says, says, needed.iter().any(|name| name == field))) } }
                } @else {
                    p { (kind(schema)) }
                }
            }
        }
    }
}

fn row(name: &str, says: &Value, schema: &Value, is_needed: bool) -> Markup {
    html! {
        tr {
            td { code { (name) } @if is_needed { span.needed { "needed" } } }
            td { (kind(schema)) }
            td { (prose(word(&says["description"]))) }
        }
    }
}

/// What may stand there, in a few words.
fn kind(schema: &Value) -> Markup {
    if let Some(name) = schema["$ref"].as_str().and_then(|path| path.rsplit('/').next()) {
        return html! { a href={ "#schema-" (name) } { (name) } };
    }
    let either = ["oneOf", "anyOf", "allOf"].iter().find_map(|keyword| schema[*keyword].as_array());
    if let Some(kinds) = either.filter(|_| schema.get("properties").is_none() && schema.get("type").is_none())
    {
        let told = kinds.iter().filter(|kind| kind["type"] != "null");
        return html! { @for (at, kind_of) in told.enumerate() { @if at > 0 { " · " } (kind(kind_of)) } };
    }
    if let Some(values) = schema["enum"].as_array() {
        return html! { @for (at, value) in values.iter().enumerate() { @if at > 0 { " · " } code { (word(value)) } } };
    }
    html! {
        @match schema["type"].as_str().or(schema["type"][0].as_str()) {
            Some("array") => { "list of " (kind(&schema["items"])) },
            Some(simple) => { (schema["format"].as_str().filter(|format| !format.starts_with("int")).unwrap_or(simple)) },
            None => { "any" },
        }
        (bounds(schema))
    }
}

fn bounds(schema: &Value) -> Markup {
    let most = schema["maximum"].as_i64().filter(|most| *most < i64::from(u32::MAX));
    html! {
        @match (schema["minimum"].as_i64(), most) {
            (Some(least), Some(most)) => { ", " (least) " to " (most) },
            (None, Some(most)) => { ", at most " (most) },
            (Some(least), None) if least > 0 => { ", at least " (least) },
            _ => {},
        }
        @if let Some(longest) = schema["maxLength"].as_u64() { ", at most " (longest) " characters" }
    }
}

/// Text with `code` in it.
fn prose(text: &str) -> Markup {
    html! {
        @for (at, part) in text.split('`').enumerate() {
            @if at % 2 == 1 { code { (part) } } @else { (part) }
        }
    }
}

fn word(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn object(value: &Value) -> impl Iterator<Item = (&str, &Value)> {
    let fields = value.as_object();
    fields.into_iter().flat_map(Map::iter).map(|(name, value)| (name.as_str(), value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_tells_of_every_route_and_runs_nothing() {
        let page = &*HTML_TEXT;
        for route in super::super::DESCRIPTIONS.iter() {
            assert!(page.contains(&format!(">{}</span>", route.path)), "{}", route.path);
        }
        assert!(!page.contains("<script") && !page.contains("onclick"));
        let response = Page.respond();
        assert!(
            response.headers()["content-security-policy"].to_str().unwrap().starts_with("default-src 'none'")
        );
    }

    #[test]
    fn text_is_escaped() {
        assert_eq!(prose("a `<b>` & c").into_string(), "a <code>&lt;b&gt;</code> &amp; c");
    }
}
