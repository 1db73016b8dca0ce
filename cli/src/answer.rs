//! What the server said: parsed, and word for word.

use crate::Error;
use crate::client::Reply;
use jiff::Timestamp;
use jiff::fmt::rfc2822::DateTimeParser;
use serde::de::DeserializeOwned;
use std::{fmt, ops::Deref};

/// A parsed body with the text it came as, for whoever passes it on (`--json`). Reads like the body itself.
#[derive(Clone)]
pub struct Answer<T> {
    pub body: T,
    pub text: String,
    /// When, by the server's clock: the one that leases are measured by.
    pub served_at: Option<Timestamp>,
}

impl<T: DeserializeOwned> Answer<T> {
    pub(crate) fn parse(reply: Reply) -> Result<Self, Error> {
        let served_at =
            reply.date.as_deref().and_then(|date| DateTimeParser::new().parse_timestamp(date).ok());
        match serde_json::from_str(&reply.text) {
            Ok(body) => Ok(Self { body, text: reply.text, served_at }),
            Err(why) => Err(Error::Odd(format!("the answer is not what this version expects: {why}"))),
        }
    }
}

impl<T: DeserializeOwned> Answer<T> {
    /// A part of something larger.
    pub(crate) fn of_text(text: String) -> Result<Self, Error> {
        Self::parse(Reply::of_text(text))
    }
}

impl<T> Deref for Answer<T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.body
    }
}

/// The text may hold a join token, so it is not shown.
impl<T> fmt::Debug for Answer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Answer({} bytes)", self.text.len())
    }
}
