//! JSON bodies: bounded, and with errors that name the field.

use super::error::Fault;
use super::schemas::Schemas;
use bytes::{Buf, Bytes};
use futures_util::{Stream, StreamExt};
use serde::de::DeserializeOwned;
use std::pin::{Pin, pin};
use std::time::Duration;
use tokio::time::{error::Elapsed, timeout};
use utoipa::ToSchema;
use utoipa::openapi::Required;
use utoipa::openapi::path::Operation;
use utoipa::openapi::request_body::RequestBodyBuilder;
use warp::http::header::CONTENT_TYPE;
use warp::http::{HeaderMap, StatusCode};
use warp::{Filter, Rejection};

/// A thousand machines by name and a hundred keys fit in well.
const LARGEST: usize = 256 * 1024;
/// Of a body that is too large, so much is read and thrown away: whoever is still sending when the connection is
/// closed may never see the answer that says why.
const DISCARDED: usize = 64 << 20;
/// Somebody who sends slower than this, in all or from one piece to the next, keeps a connection from others.
const SLOWEST: Duration = Duration::from_secs(30);
const LONGEST_SILENCE: Duration = Duration::from_secs(10);

/// What arrives, in pieces.
pub(super) type Pieces = Pin<Box<dyn Stream<Item = Result<Bytes, warp::Error>> + Send>>;

pub(super) fn pieces() -> impl Filter<Extract = (Pieces,), Error = Rejection> + Copy {
    warp::body::stream().map(|stream| -> Pieces { Box::pin(whole_pieces(stream)) })
}

fn whole_pieces<B: Buf>(
    stream: impl Stream<Item = Result<B, warp::Error>>,
) -> impl Stream<Item = Result<Bytes, warp::Error>> {
    stream.map(|piece| piece.map(|mut piece| piece.copy_to_bytes(piece.remaining())))
}

/// A body that a handler takes.
pub(super) trait Body: Sized + Send + 'static {
    fn receive(headers: &HeaderMap, pieces: Pieces) -> impl Future<Output = Result<Self, Fault>> + Send;
    fn describe(schemas: &mut Schemas, operation: Operation) -> Operation;
}

/// Whatever comes is not read.
pub(super) struct NoBody;

impl Body for NoBody {
    async fn receive(_: &HeaderMap, _: Pieces) -> Result<Self, Fault> {
        Ok(Self)
    }

    fn describe(_: &mut Schemas, operation: Operation) -> Operation {
        operation
    }
}

/// JSON, or nothing at all.
pub(super) struct MayBody<T>(pub(super) Option<T>);

impl<T: DeserializeOwned + ToSchema + Send + 'static> Body for MayBody<T> {
    async fn receive(headers: &HeaderMap, pieces: Pieces) -> Result<Self, Fault> {
        let body = arrived(headers, pieces).await?;
        if body.trim_ascii().is_empty() { Ok(Self(None)) } else { parse(&body).map(|read| Self(Some(read))) }
    }

    fn describe(schemas: &mut Schemas, operation: Operation) -> Operation {
        described::<T>(schemas, operation, Required::False)
    }
}

/// JSON. Any content type will do that does not announce something else: curl's `-d` says it sends a form.
impl<T: DeserializeOwned + ToSchema + Send + 'static> Body for T {
    async fn receive(headers: &HeaderMap, pieces: Pieces) -> Result<Self, Fault> {
        parse(&arrived(headers, pieces).await?)
    }

    fn describe(schemas: &mut Schemas, operation: Operation) -> Operation {
        described::<T>(schemas, operation, Required::True)
    }
}

fn described<T: ToSchema>(schemas: &mut Schemas, mut operation: Operation, required: Required) -> Operation {
    let body = RequestBodyBuilder::new().required(Some(required));
    operation.request_body = Some(body.content("application/json", schemas.content::<T>()).build().into());
    operation
}

async fn arrived(headers: &HeaderMap, pieces: Pieces) -> Result<Bytes, Fault> {
    receive(headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()), pieces).await
}

async fn receive<B: Buf>(
    kind: Option<&str>,
    stream: impl Stream<Item = Result<B, warp::Error>>,
) -> Result<Bytes, Fault> {
    if kind.is_some_and(|kind| kind.trim_start().to_ascii_lowercase().starts_with("multipart/")) {
        let detail = "this is no place for files; send JSON: `content-type: application/json`";
        return Err(Fault::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, detail));
    }
    timeout(SLOWEST, collect(stream)).await.map_err(slow)?
}

fn slow(_: Elapsed) -> Fault {
    Fault::new(StatusCode::REQUEST_TIMEOUT, "the body took too long to arrive; send it again")
}

/// Counts what arrives, because a chunked body announces no length.
async fn collect<B: Buf>(stream: impl Stream<Item = Result<B, warp::Error>>) -> Result<Bytes, Fault> {
    let mut stream = pin!(stream);
    let (mut body, mut length) = (Vec::new(), 0);
    while let Some(chunk) = timeout(LONGEST_SILENCE, stream.next()).await.map_err(slow)? {
        let mut chunk =
            chunk.map_err(|_| Fault::new(StatusCode::BAD_REQUEST, "the body broke off; send it again"))?;
        length += chunk.remaining();
        if length > DISCARDED {
            break;
        }
        if length <= LARGEST {
            body.extend_from_slice(&chunk.copy_to_bytes(chunk.remaining()));
        }
    }
    if length > LARGEST {
        let detail = format!("the body is larger than {} KiB; ask for less at once", LARGEST / 1024);
        return Err(Fault::new(StatusCode::PAYLOAD_TOO_LARGE, detail));
    }
    Ok(body.into())
}

pub(super) fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Fault> {
    match body.trim_ascii_start().first() {
        None => {
            return Err(unreadable("the body is empty; send a JSON object, such as `{\"name\": \"value\"}`"));
        }
        // Serde would take an array for an object, its items in the order of our fields.
        Some(first) if *first != b'{' => {
            return Err(unreadable("the body must be a JSON object: `{\"name\": \"value\"}`"));
        }
        Some(_) => {}
    }
    if has_nul(body) {
        return Err(unreadable("a text in the body has a NUL (`\\u0000`); leave it out"));
    }
    read(body).or_else(|fault| {
        let whole = whole_numbers(body);
        if whole == body { Err(fault) } else { read(&whole) }
    })
}

fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, Fault> {
    let mut json = serde_json::Deserializer::from_slice(body);
    let value = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let path = error.path().to_string();
        named(&path, &error.into_inner().to_string())
    })?;
    json.end().map_err(|error| unreadable(format!("something follows the JSON object: {error}")))?;
    Ok(value)
}

/// JSON has it as an escape only. No text of ours has one, and PostgreSQL keeps none.
fn has_nul(body: &[u8]) -> bool {
    let mut is_escaped = false;
    body.iter().enumerate().any(|(at, byte)| {
        let begins = *byte == b'\\' && !is_escaped;
        is_escaped = begins;
        begins && body[at + 1..].starts_with(b"u0000")
    })
}

/// To JSON `2.0` and `2` are one number, to serde they are not: the first is written as the second. Hardly anybody writes
/// so, and nobody else pays for it.
fn whole_numbers(body: &[u8]) -> Vec<u8> {
    let (mut out, mut rest) = (Vec::with_capacity(body.len()), body);
    while let Some(first) = rest.first() {
        let length = match first {
            b'"' => text_length(rest),
            b'-' | b'0'..=b'9' => rest.iter().take_while(|byte| b"+-.eE0123456789".contains(byte)).count(),
            _ => 1,
        };
        let (token, after) = rest.split_at(length);
        let is_number = *first != b'"' && length > 1;
        match is_number.then(|| whole(token)).flatten() {
            Some(number) => out.extend_from_slice(number.to_string().as_bytes()),
            None => out.extend_from_slice(token),
        }
        rest = after;
    }
    out
}

/// From quote to quote, both of them included; to the end, if the second is missing.
fn text_length(body: &[u8]) -> usize {
    let mut is_escaped = false;
    let end = body.iter().skip(1).position(|byte| {
        let ends = *byte == b'"' && !is_escaped;
        is_escaped = *byte == b'\\' && !is_escaped;
        ends
    });
    end.map_or(body.len(), |end| end + 2)
}

/// A number written with a fraction or an exponent that is a whole one, as far as it can be told exactly.
fn whole(token: &[u8]) -> Option<i64> {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    let text = std::str::from_utf8(token).ok().filter(|text| text.contains(['.', 'e', 'E']))?;
    // By JSON's own rules: `01.0` and `1.` are none.
    let number: f64 = serde_json::from_str(text).ok()?;
    (number.fract() == 0.0 && number.abs() <= EXACT).then_some(number as i64)
}

fn unreadable(detail: impl Into<String>) -> Fault {
    Fault::new(StatusCode::BAD_REQUEST, detail)
}

/// Serde reports a missing, unknown or repeated field at the object around it; the message has its name.
fn named(path: &str, message: &str) -> Fault {
    let inner = ["missing field `", "unknown field `", "duplicate field `"]
        .iter()
        .find_map(|start| message.strip_prefix(start)?.split('`').next());
    let field = match (path, inner) {
        (".", None) => return unreadable(message),
        (".", Some(inner)) => inner.to_owned(),
        (path, Some(inner)) if path != inner && !path.ends_with(&format!(".{inner}")) => {
            format!("{path}.{inner}")
        }
        (path, _) => path.to_owned(),
    };
    let detail = if inner.is_some() { message.to_owned() } else { format!("`{field}`: {message}") };
    Fault::field(field, detail)
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::stream;
    use model::wire::{MachineCreate, ReservationCreate, SyncRequest};

    fn wrong<T: DeserializeOwned>(body: &str) -> (Option<String>, String) {
        let fault = parse::<T>(body.as_bytes()).err().expect("an error");
        assert_eq!(fault.status, StatusCode::BAD_REQUEST);
        (fault.field, fault.detail)
    }

    fn field_of<T: DeserializeOwned>(body: &str) -> String {
        let (field, detail) = wrong::<T>(body);
        field.unwrap_or_else(|| panic!("no field: {detail}"))
    }

    #[test]
    fn errors_name_the_field() {
        assert_eq!(field_of::<MachineCreate>(r#"{"name":"a","host":"b","foo":1}"#), "foo");
        assert_eq!(field_of::<MachineCreate>(r#"{"name":"a"}"#), "host");
        assert_eq!(field_of::<MachineCreate>(r#"{"name":"a","name":"b","host":"b"}"#), "name");
        assert_eq!(field_of::<MachineCreate>(r#"{"name":"a","host":"b","port":70000}"#), "port");
        assert_eq!(field_of::<MachineCreate>(r#"{"name":"a","host":"b","labels":{"a b":"c"}}"#), "labels");
        assert_eq!(field_of::<ReservationCreate>(r#"{"username":"a","machines":["x",5]}"#), "machines[1]");
        assert_eq!(field_of::<ReservationCreate>(r#"{"username":"a","duration":{}}"#), "duration");
        let report = r#"{"incarnation":"01900000-0000-7000-8000-000000000000","report":{"accounts":[]}}"#;
        assert_eq!(field_of::<SyncRequest>(report), "report.generation");
    }

    #[test]
    fn what_is_no_object_is_said_to_be_none() {
        for (body, says) in [
            ("", "empty"),
            (" \n", "empty"),
            (r#"["m1","host"]"#, "must be a JSON object"),
            ("name=m1&host=x", "must be a JSON object"),
            ("null", "must be a JSON object"),
            (r#"{"username":"a\\\u0000"}"#, "NUL"),
            (r#"{"username":"a\\u0000"}"#, "unknown field"),
            (r#"{"name":"#, "EOF"),
            (r#"{"name":"a","host":"b"} x"#, "follows"),
        ] {
            let (_, detail) = wrong::<MachineCreate>(body);
            assert!(detail.contains(says), "{body}: {detail}");
        }
    }

    #[test]
    fn whole_numbers_are_whole_however_they_are_written() {
        let read = |text: &str| String::from_utf8(whole_numbers(text.as_bytes())).unwrap();
        assert_eq!(read(r#"{"a":2.0,"b":[-1e3, 5]}"#), r#"{"a":2,"b":[-1000, 5]}"#);
        for same in [
            r#"{"a":"2.0 \" 3.0"}"#,
            r#"{"a":0.5}"#,
            r#"{"a":1e300}"#,
            r#"{"a":"2.0"#,
            "{\"a\":-}",
            "[1.,01.0]",
        ] {
            assert_eq!(read(same), same);
        }
        assert!(parse::<MachineCreate>(br#"{"name":"a","host":"b","port":22.0}"#).is_ok());
    }

    #[test]
    fn depth_is_bounded() {
        let deep = format!(r#"{{"username":{}"#, "[".repeat(100_000));
        assert!(parse::<ReservationCreate>(deep.as_bytes()).is_err());
    }

    #[tokio::test]
    async fn size_is_bounded_whatever_was_announced() {
        let chunks = |count: usize| stream::iter((0..count).map(|_| Ok(Bytes::from_static(&[b' '; 1024]))));
        assert_eq!(collect(chunks(256)).await.map(|body| body.len()), Ok(LARGEST));
        assert_eq!(collect(chunks(257)).await.unwrap_err().status, StatusCode::PAYLOAD_TOO_LARGE);
    }

    /// Such a body in pieces, each so many seconds after the one before.
    async fn sent(pieces: &[&'static str], every: u64) -> Result<serde_json::Value, StatusCode> {
        let body = stream::iter(pieces.to_vec()).then(async |piece| {
            tokio::time::sleep(Duration::from_secs(every)).await;
            Ok(Bytes::from_static(piece.as_bytes()))
        });
        receive(None, body).await.and_then(|body| parse(&body)).map_err(|fault| fault.status)
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_body_is_waited_for_but_not_for_ever() {
        let pieces = ["{", "\"a\"", ":", "1}"];
        assert_eq!(sent(&pieces, 7).await, Ok(serde_json::json!({"a": 1})));
        assert_eq!(sent(&pieces, 9).await, Err(StatusCode::REQUEST_TIMEOUT), "36 seconds in all");
        assert_eq!(sent(&pieces[..2], 11).await, Err(StatusCode::REQUEST_TIMEOUT), "silent for 11 seconds");
    }

    #[tokio::test]
    async fn forms_with_files_are_not_read() {
        let kind = Some("multipart/form-data; boundary=x");
        let body = stream::iter([Ok(Bytes::from_static(b"{}"))]);
        let fault = receive(kind, body).await.err().unwrap();
        assert_eq!(fault.status, StatusCode::UNSUPPORTED_MEDIA_TYPE);
    }
}
