//! What was asked and what was answered, on disk before anything else happens.

use model::Timestamp;
use model::wire::ReservationView;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use tests::container::now;

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Entry {
    pub(super) at: Timestamp,
    /// Each is asked for once.
    pub(super) username: String,
    pub(super) what: What,
    /// Absent: it is about to be asked.
    pub(super) answer: Option<Answer>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum What {
    Create,
    Extend,
    Release,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) enum Answer {
    Done(Box<ReservationView>),
    /// With this status: nothing was done.
    Refused(u16),
    /// No answer, or one that says that nobody knows, and when to come again.
    Unknown(String),
    /// What nobody can make anything of.
    Odd(String),
}

pub(super) struct Pen {
    file: Mutex<File>,
    path: PathBuf,
}

impl Pen {
    pub(super) fn new(folder: &Path) -> Self {
        let path = folder.join("journal");
        Self { file: Mutex::new(File::create(&path).unwrap()), path }
    }

    /// On the disk when it returns.
    pub(super) fn write(&self, username: &str, what: What, answer: Option<Answer>) -> Timestamp {
        let at = now();
        let entry = Entry { at, username: username.to_owned(), what, answer };
        let mut line = serde_json::to_vec(&entry).unwrap();
        line.push(b'\n');
        let mut file = self.file.lock().unwrap();
        file.write_all(&line).unwrap();
        file.sync_data().unwrap();
        at
    }

    pub(super) fn read(&self) -> Journal {
        let text = std::fs::read_to_string(&self.path).unwrap();
        Journal { entries: text.lines().map(|line| serde_json::from_str(line).unwrap()).collect() }
    }
}

pub(super) struct Journal {
    pub(super) entries: Vec<Entry>,
}

impl Journal {
    pub(super) fn answers(&self) -> impl Iterator<Item = (&Entry, &Answer)> {
        self.entries.iter().filter_map(|entry| entry.answer.as_ref().map(|answer| (entry, answer)))
    }

    /// Answers that should never be given, whatever is broken.
    pub(super) fn odd(&self) -> Vec<&str> {
        let odd = self.answers().filter_map(|(_, answer)| match answer {
            Answer::Odd(why) => Some(why.as_str()),
            Answer::Done(_) | Answer::Refused(_) | Answer::Unknown(_) => None,
        });
        odd.collect()
    }

    /// The load, in words.
    pub(super) fn reached(&self) -> String {
        let asked = self.entries.iter().filter(|entry| entry.answer.is_none()).count();
        let count = |of: fn(&Answer) -> bool| self.answers().filter(|(_, answer)| of(answer)).count();
        let lasted = self.entries.last().unwrap().at.duration_since(self.entries[0].at).as_secs_f64();
        format!(
            "load: {asked} requests in {lasted:.1} s ({:.0} a second): {} done, {} refused, {} unknown",
            asked as f64 / lasted,
            count(|answer| matches!(answer, Answer::Done(_))),
            count(|answer| matches!(answer, Answer::Refused(_))),
            count(|answer| matches!(answer, Answer::Unknown(_))),
        )
    }
}
