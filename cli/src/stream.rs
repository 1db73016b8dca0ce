//! Events as they happen: what the server writes as `text/event-stream`.

use crate::{Answer, Error};
use model::wire::EventView;
use reqwest::Response;
use std::time::Duration;

/// The server says something every 15 seconds.
const SILENCE: Duration = Duration::from_secs(45);

pub struct EventStream {
    base: String,
    response: Response,
    /// Received, and not yet read.
    buffer: Vec<u8>,
    seen: Option<i64>,
}

impl EventStream {
    pub(crate) fn new(base: &str, response: Response) -> Self {
        Self { base: base.to_owned(), response, buffer: vec![], seen: None }
    }

    /// The number of the last event that the server has looked at, whether it was for us or not: where to go on.
    pub fn seen(&self) -> Option<i64> {
        self.seen
    }

    /// The next event; nothing when the server has ended the stream, as it does when it stops.
    pub async fn next(&mut self) -> Result<Option<Answer<EventView>>, Error> {
        loop {
            while let Some(block) = self.block() {
                let Block { id, data } = Block::read(&block);
                self.seen = id.or(self.seen);
                if !data.is_empty() {
                    return Answer::of_text(data).map(Some);
                }
            }
            match tokio::time::timeout(SILENCE, self.response.chunk()).await {
                Ok(Ok(Some(bytes))) => self.buffer.extend_from_slice(&bytes),
                Ok(Ok(None)) => return Ok(None),
                Ok(Err(failed)) => return Err(Error::unreachable(&self.base, &failed)),
                Err(_) => {
                    let why = format!("nothing for {} seconds; is the server overloaded?", SILENCE.as_secs());
                    return Err(Error::Unreachable { url: self.base.clone(), why });
                }
            }
        }
    }

    /// Up to the next empty line.
    fn block(&mut self) -> Option<String> {
        let end = self.buffer.windows(2).position(|two| two == b"\n\n")?;
        let block = self.buffer.drain(..end + 2).collect::<Vec<_>>();
        Some(String::from_utf8_lossy(&block).into_owned())
    }
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Block {
    id: Option<i64>,
    data: String,
}

impl Block {
    fn read(text: &str) -> Self {
        let mut block = Self::default();
        for line in text.lines() {
            let (field, value) = line.split_once(':').unwrap_or((line, ""));
            let value = value.strip_prefix(' ').unwrap_or(value);
            match field {
                "id" => block.id = value.parse().ok().or(block.id),
                "data" => block.data += value,
                _ => {}
            }
        }
        block
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_read() {
        let event = Block { id: Some(7), data: "{}".to_owned() };
        assert_eq!(Block::read("id:7\ndata:{}\n"), event);
        assert_eq!(Block::read("data: {}\nid: 7\nretry: 5\n"), event);
        assert_eq!(Block::read(":\nid:7\n"), Block { id: Some(7), data: String::new() });
        assert_eq!(Block::read(": beat\n"), Block::default());
    }
}
