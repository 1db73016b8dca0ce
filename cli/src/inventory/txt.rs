//! `name host port user password`, one machine a line.

use super::{Found, Malformed, Said, lines};
use std::iter::Peekable;
use std::str::Chars;

const FIELDS: usize = 5;

pub(super) fn parse(text: &str) -> Result<Vec<Found>, Malformed> {
    let found = lines(text, &['#']).map(|(number, line)| match fields(line) {
        Ok(fields) => Ok(machine(number, fields)),
        Err(why) => Err(Malformed::at(number, why)),
    });
    found.collect()
}

fn machine(line: u64, fields: Vec<String>) -> Found {
    let mut fields = fields.into_iter();
    let name = fields.next().unwrap_or_default();
    let host = fields.next().unwrap_or_default();
    let mut given = || fields.next().filter(|text| !text.is_empty());
    let mut said = Said { host, port: given(), ..Said::default() };
    said.access.user = given();
    said.access.password = given().map(Into::into);
    Found { line, name, said: Ok(said) }
}

/// Two to five; one that is left out with `-` is empty.
fn fields(line: &str) -> Result<Vec<String>, String> {
    let mut rest = line.chars().peekable();
    let mut fields = Vec::new();
    loop {
        while rest.next_if(char::is_ascii_whitespace).is_some() {}
        match rest.peek() {
            None => break,
            Some('#') if is_comment(fields.len())? => break,
            Some(_) if fields.len() == FIELDS => {
                return Err("has more than five fields: `name host port user password`; quote a password \
                            with spaces"
                    .to_owned());
            }
            Some(&quote @ ('"' | '\'')) => fields.push(quoted(&mut rest, quote)?),
            Some(_) => fields.push(plain(&mut rest)),
        }
    }
    if fields.len() < 2 {
        return Err("needs a name and a host: `name host port user password`".to_owned());
    }
    Ok(fields)
}

/// A `#` may begin a comment or a password: in the password's place nobody can tell.
fn is_comment(fields_before: usize) -> Result<bool, String> {
    if fields_before == FIELDS - 1 {
        return Err(
            "is `#` the password or a comment? quote the password, or put `-` in its place".to_owned()
        );
    }
    Ok(true)
}

fn plain(rest: &mut Peekable<Chars<'_>>) -> String {
    let word: String = std::iter::from_fn(|| rest.next_if(|c| !c.is_ascii_whitespace())).collect();
    if word == "-" { String::new() } else { word }
}

/// Within `"`, a backslash takes the meaning of the next character away; within `'`, everything is meant.
fn quoted(rest: &mut Peekable<Chars<'_>>, quote: char) -> Result<String, String> {
    rest.next();
    let mut word = String::new();
    loop {
        match rest.next() {
            None => return Err("a quote is not closed".to_owned()),
            Some(c) if c == quote => break,
            Some('\\') if quote == '"' => word.extend(rest.next()),
            Some(c) => word.push(c),
        }
    }
    match rest.peek() {
        Some(c) if !c.is_ascii_whitespace() => Err("something stands right after a closing quote".to_owned()),
        _ => Ok(word),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `line name host port user password`, with `~` for what is not given.
    fn told(text: &str) -> String {
        let told = |found: Found| {
            let said = found.said.unwrap();
            let password = said.access.password.map(|password| password.expose().to_owned());
            let given = [said.port, said.access.user, password].map(|text| text.unwrap_or("~".to_owned()));
            format!("{} {} {} {}", found.line, found.name, said.host, given.join(" "))
        };
        match parse(text) {
            Ok(found) => found.into_iter().map(told).collect::<Vec<_>>().join("\n"),
            Err(malformed) => malformed.to_string(),
        }
    }

    #[test]
    fn lines_of_machines() {
        for (text, expected) in [
            ("web1 10.0.0.1 2222 deploy secret", "1 web1 10.0.0.1 2222 deploy secret"),
            ("# ours\r\n\r\nweb1\t10.0.0.1  22\troot\tpw\r\n", "3 web1 10.0.0.1 22 root pw"),
            ("a h\nb h 23\nc h 24 u", "1 a h ~ ~ ~\n2 b h 23 ~ ~\n3 c h 24 u ~"),
            ("a h - - -", "1 a h ~ ~ ~"),
            ("a h 22 root \"-\"", "1 a h 22 root -"),
            ("a h 22 root \"pass word\" # rack 7", "1 a h 22 root pass word"),
            (r#"a h 22 root "say \"hi\" \\ ho""#, r#"1 a h 22 root say "hi" \ ho"#),
            (r"a h 22 root 'it\s \ fine'", r"1 a h 22 root it\s \ fine"),
            (r#"a h 22 root p#a"s's\"#, r#"1 a h 22 root p#a"s's\"#),
            ("a h 22 root pässwörd🔑", "1 a h 22 root pässwörd🔑"),
            ("a h 22 # rack 7", "1 a h 22 ~ ~"),
            ("  a h\n\t# only a comment\n", "1 a h ~ ~ ~"),
            ("", ""),
        ] {
            assert_eq!(told(text), expected, "{text}");
        }
    }

    #[test]
    fn what_cannot_be_made_out() {
        for (text, line, why) in [
            ("a h\nb", 2, "needs a name and a host"),
            ("a # h", 1, "needs a name and a host"),
            ("a h 22 root pass word", 1, "more than five fields"),
            ("a h 22 root #hunter2", 1, "quote the password"),
            ("a h 22 root \"hunter2", 1, "a quote is not closed"),
            ("a h 22 root \"hunter2\\", 1, "a quote is not closed"),
            ("a h 22 root 'hunter2'x", 1, "after a closing quote"),
        ] {
            let said = told(text);
            assert!(said.starts_with(&format!("line {line}: ")) && said.contains(why), "{text}: {said}");
            assert!(!said.contains("hunter2"), "{said}");
        }
    }
}
