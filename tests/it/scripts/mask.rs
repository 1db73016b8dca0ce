//! What is different each time gets a name: ids, ports, secrets.

use std::collections::BTreeMap;

/// Ids by the names a script knows them by: `R1` is the first reservation it saw.
#[derive(Default)]
pub(super) struct Names {
    of_ids: BTreeMap<String, String>,
    reservations: u32,
}

impl Names {
    pub(super) fn give(&mut self, id: &str, name: &str) {
        self.of_ids.insert(id.to_owned(), name.to_owned());
    }

    /// A typed line with ids in place of names.
    pub(super) fn ids_in(&self, line: &str) -> String {
        let word = |word: &str| {
            let found = self.of_ids.iter().find(|(_, name)| name.as_str() == word);
            found.map_or_else(|| word.to_owned(), |(id, _)| id.clone())
        };
        let is_part = |c: char| c.is_ascii_alphanumeric();
        let mut out = String::new();
        for piece in line.split_inclusive(|c| !is_part(c)) {
            let (name, rest) = piece.split_at(piece.find(|c| !is_part(c)).unwrap_or(piece.len()));
            out += &(word(name) + rest);
        }
        out
    }

    /// An answer with names in place of ids, and nothing in it that differs from one run to the next.
    pub(super) fn masked(&mut self, text: &str) -> String {
        let mut out = String::new();
        let mut rest = text;
        while let Some(first) = rest.chars().next() {
            let (length, mask) = self.mask_of(rest).unwrap_or((first.len_utf8(), first.to_string()));
            out += &mask;
            rest = &rest[length..];
        }
        out
    }

    /// What stands at the beginning of `text`, by its length, and what to write instead.
    fn mask_of(&mut self, text: &str) -> Option<(usize, String)> {
        if let Some(id) = text.get(..36).filter(|id| is_uuid(id)) {
            return Some((36, self.name_of(id)));
        }
        for (start, goes_on) in SECRETS {
            if let Some(rest) = text.strip_prefix(start) {
                let length = rest.find(|c| !goes_on(c)).unwrap_or(rest.len());
                return Some((start.len() + length, format!("{start}…")));
            }
        }
        distance(text).map(|length| (length, "…".to_owned()))
    }

    fn name_of(&mut self, id: &str) -> String {
        let next = &mut self.reservations;
        let name = self.of_ids.entry(id.to_owned()).or_insert_with(|| {
            *next += 1;
            format!("R{next}")
        });
        name.clone()
    }
}

type Goes = fn(char) -> bool;

/// How each begins, and which characters belong to it.
const SECRETS: [(&str, Goes); 4] = [
    ("berth_join_", |c| c.is_ascii_hexdigit()),
    ("(shown this once): ", |c| c.is_ascii_alphanumeric()),
    ("http://127.0.0.1:", |c| c.is_ascii_digit()),
    ("$6$", |c| c.is_ascii_alphanumeric() || "./$=".contains(c)),
];

fn is_uuid(text: &str) -> bool {
    let fits = |(at, c): (usize, char)| match at {
        8 | 13 | 18 | 23 => c == '-',
        _ => c.is_ascii_hexdigit(),
    };
    text.len() == 36 && text.char_indices().all(fits)
}

/// The length of `in 58 min` or `3 h 5 min ago`: the command line measures by the `Date` of an answer, which is the
/// real one.
fn distance(text: &str) -> Option<usize> {
    let words: Vec<&str> = text.split_inclusive(' ').take(6).collect();
    let ahead = usize::from(words.first() == Some(&"in "));
    let amounts = words[ahead..].chunks(2).take_while(|pair| is_amount(pair)).count();
    let told = ahead + 2 * amounts;
    let length = |count: usize| words[..count].concat();
    match (amounts, ahead, words.get(told)) {
        (0, _, _) => None,
        (_, 1, _) => Some(length(told).trim_end_matches(|c: char| !c.is_ascii_alphabetic()).len()),
        (_, _, Some(word)) if word.starts_with("ago") => Some(length(told).len() + "ago".len()),
        _ => None,
    }
}

fn is_amount(pair: &[&str]) -> bool {
    let [number, unit] = pair else { return false };
    let unit = unit.trim_end_matches(|c: char| !c.is_ascii_alphabetic());
    number.trim_end().parse::<u32>().is_ok() && ["s", "min", "h", "d"].contains(&unit)
}
