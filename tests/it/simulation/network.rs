//! Letters under way. Which of them arrives next, and whether, is up to the dice.

use jiff::{SignedDuration, Timestamp};
use model::wire::{SyncAnswer, SyncRequest};

/// An agent gives up waiting after the server's hold and ten seconds more; a request may turn up any time later.
const LONGEST_ANSWER: SignedDuration = SignedDuration::from_secs(30);

#[derive(Clone)]
pub(super) struct Letter {
    pub(super) number: u32,
    /// Whose agent wrote it, or is to read it.
    pub(super) machine: usize,
    pub(super) text: Text,
    sent_at: Timestamp,
}

#[derive(Clone)]
pub(super) enum Text {
    Report(SyncRequest),
    Answer(SyncAnswer),
}

#[derive(Default)]
pub(super) struct Network {
    pub(super) letters: Vec<Letter>,
    sent: u32,
}

impl Network {
    /// The number of the letter.
    pub(super) fn send(&mut self, machine: usize, text: Text, now: Timestamp) -> u32 {
        self.sent += 1;
        self.letters.push(Letter { number: self.sent, machine, text, sent_at: now });
        self.sent
    }

    /// Nobody waits for these any longer.
    pub(super) fn give_up(&mut self, now: Timestamp) {
        let is_late = |letter: &Letter| {
            matches!(letter.text, Text::Answer(_)) && now.duration_since(letter.sent_at) > LONGEST_ANSWER
        };
        self.letters.retain(|letter| !is_late(letter));
    }
}
