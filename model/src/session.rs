//! Whether the agent that speaks for a machine is the only one that does: a cloned machine has the same key.
//!
//! Each process of an agent names a session of its own. A letter may be late, doubled or out of order, so a letter of
//! an earlier process is no sign of a clone. What no late letter can do is repeat a challenge that was made up after
//! another session had taken over: whoever does is alive now.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// Of so many earlier sessions we know that they are not new.
const FORMERS: usize = 8;
/// The longest name of a session.
pub(crate) const LONGEST: usize = 64;

/// Who speaks for a machine, as far as we know.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Claim {
    /// Whose reports count.
    pub session: Option<String>,
    /// Those before, the newest first.
    pub formers: Vec<String>,
    /// To be repeated by a former session that is alive; made up after it had become one.
    pub challenge: Option<u64>,
    /// The session was a former one and has shown that it is alive, whatever came after it.
    pub has_returned: bool,
}

/// What a letter comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Counts,
    /// Perhaps it is late, and its writer dead: it does not count, and is answered with this.
    Challenged(u64),
    /// Two are alive at the same time.
    Cloned,
}

impl Claim {
    /// Hears a letter of `session`, which repeats the newest challenge it heard. Without a session (from older agents)
    /// nothing can be told.
    ///
    /// A session never seen takes over at once, so that an agent that was restarted loses no time; if its letter was
    /// late, the living one comes back by repeating a challenge. When the one it then displaces does the same in turn,
    /// it was there before the other came back, and is there after: both are alive.
    pub fn hear(&mut self, session: &str, repeated: Option<u64>, fresh: u64) -> Verdict {
        if session.is_empty() || self.session.as_deref() == Some(session) {
            return Verdict::Counts;
        }
        if !self.formers.iter().any(|former| former == session) {
            self.take_over(session);
            self.has_returned = false;
            return Verdict::Counts;
        }
        match self.challenge {
            Some(asked) if repeated == Some(asked) && self.has_returned => Verdict::Cloned,
            Some(asked) if repeated == Some(asked) => {
                self.take_over(session);
                self.has_returned = true;
                Verdict::Counts
            }
            asked => Verdict::Challenged(*self.challenge.insert(asked.unwrap_or(fresh))),
        }
    }

    fn take_over(&mut self, session: &str) {
        self.formers.retain(|former| former != session);
        self.formers.splice(0..0, self.session.replace(session.to_owned()));
        self.formers.truncate(FORMERS);
        self.challenge = None;
    }
}

/// Whether this may be the name of a session; anybody may send anything.
pub fn is_session(text: &str) -> bool {
    text.len() <= LONGEST && text.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'-')
}

/// Why nothing that a machine says is believed any longer. Only retiring it ends that, or another host key, or after a
/// restore that it is empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Quarantine {
    /// Two machines use its key.
    Cloned,
    /// It was told more than this database knows.
    Ahead,
    /// It was told more than the backup knows that this database was restored from. It comes back by itself once nobody is
    /// on it, and nobody is to be.
    Restored,
    /// Another machine answers in its place, or it was made anew.
    HostKey,
}

impl Quarantine {
    pub fn name(self) -> &'static str {
        match self {
            Self::Cloned => "cloned",
            Self::Ahead => "ahead",
            Self::Restored => "restored",
            Self::HostKey => "host_key",
        }
    }

    /// Taking away has to work on both of two clones; a database that has forgotten would take away what is wanted.
    pub fn is_told(self) -> bool {
        match self {
            Self::Cloned => true,
            Self::Ahead | Self::Restored | Self::HostKey => false,
        }
    }
}

impl fmt::Display for Quarantine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Cloned => "two machines use its key: was it cloned? retire it, and make it anew",
            Self::Ahead => {
                "it was told more than this database knows: was a backup restored? retire it, and make it anew"
            }
            Self::Restored => {
                "it was told more than the backup knows that was restored: it is lent again when nobody is on it any longer; \
                 or retire it, and make it anew"
            }
            Self::HostKey => {
                "its SSH host key is another than the one pinned: if that is right, confirm the one it offers"
            }
        })
    }
}

impl FromStr for Quarantine {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        [Self::Cloned, Self::Ahead, Self::Restored, Self::HostKey]
            .into_iter()
            .find(|quarantine| quarantine.name() == text)
            .ok_or_else(|| format!("`{text}` is no quarantine"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Processes of agents over one claim; each repeats what it heard last.
    #[derive(Default)]
    struct Story {
        claim: Claim,
        heard: std::collections::HashMap<String, u64>,
        made_up: u64,
    }

    impl Story {
        fn letter(&self, session: &str) -> (String, Option<u64>) {
            (session.to_owned(), self.heard.get(session).copied())
        }

        /// A letter arrives; its writer may be dead by then, and hears nothing.
        fn arrives(&mut self, (session, repeated): &(String, Option<u64>)) -> Verdict {
            self.made_up += 1;
            self.claim.hear(session, *repeated, self.made_up)
        }

        fn sync(&mut self, session: &str) -> Verdict {
            let letter = self.letter(session);
            let verdict = self.arrives(&letter);
            if let Verdict::Challenged(challenge) = verdict {
                self.heard.insert(session.to_owned(), challenge);
            }
            verdict
        }
    }

    #[test]
    fn a_restarted_agent_counts_at_once_and_its_former_self_no_longer() {
        let mut story = Story::default();
        assert_eq!(story.sync("a"), Verdict::Counts);
        let late = story.letter("a");
        assert_eq!(story.sync("b"), Verdict::Counts);
        assert_eq!(story.arrives(&late), Verdict::Challenged(3));
        assert_eq!(story.arrives(&late), Verdict::Challenged(3));
        assert_eq!(story.sync("b"), Verdict::Counts);
        assert_eq!(story.sync(""), Verdict::Counts);
    }

    #[test]
    fn the_first_letter_of_a_dead_one_displaces_nobody_for_long() {
        let mut story = Story::default();
        let late = story.letter("dead");
        story.sync("a");
        story.arrives(&late);
        assert!(matches!(story.sync("a"), Verdict::Challenged(_)));
        assert_eq!(story.sync("a"), Verdict::Counts);
        assert!(matches!(story.arrives(&late), Verdict::Challenged(_)));
        assert_eq!(story.sync("a"), Verdict::Counts);
    }

    #[test]
    fn clones_are_found_out_within_a_few_syncs() {
        for count in 2..=FORMERS {
            let mut story = Story::default();
            let names: Vec<String> = (0..count).map(|number| format!("c{number}")).collect();
            let rounds = (0..4).flat_map(|_| &names);
            let found = rounds.map(|name| story.sync(name)).any(|verdict| verdict == Verdict::Cloned);
            assert!(found, "{count} of them");
        }
    }

    #[test]
    fn a_session_is_a_short_word() {
        assert!(is_session("") && is_session("0aF-9"));
        assert!(!is_session("a b") && !is_session(&"a".repeat(65)));
    }

    proptest! {
        /// One process after the other, and letters that come whenever they like, as often as they like.
        #[test]
        fn one_agent_restarted_is_never_two(steps in prop::collection::vec((0u8..10, any::<prop::sample::Index>()), 1..200)) {
            let mut story = Story::default();
            let mut alive = 0;
            let mut letters = vec![story.letter("s0")];
            for (step, index) in steps {
                let session = format!("s{alive}");
                let verdict = match step {
                    0 => { alive += 1; continue; }
                    1..=3 => { letters.push(story.letter(&session)); continue; }
                    4..=6 => { let late = letters[index.index(letters.len())].clone(); story.arrives(&late) }
                    _ => { letters.push(story.letter(&session)); story.sync(&session) }
                };
                prop_assert_ne!(verdict, Verdict::Cloned);
            }
            // Whoever is alive is heard in the end.
            let session = format!("s{alive}");
            story.sync(&session);
            story.sync(&session);
            prop_assert_eq!(story.sync(&session), Verdict::Counts);
        }
    }
}
