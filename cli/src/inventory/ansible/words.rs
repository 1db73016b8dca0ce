//! Words and values as Ansible reads them: the shell's quotes, then Python's.

/// As Python's `shlex.split` does, with comments: quotes anywhere, and a `#` outside of them ends the line.
pub(super) fn split(text: &str) -> Result<Vec<String>, String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut rest = text.chars();
    while let Some(c) = rest.next() {
        match c {
            '#' => break,
            '\'' | '"' => quoted(&mut rest, c, word.get_or_insert_default())?,
            '\\' => word.get_or_insert_default().extend(rest.next()),
            c if c.is_ascii_whitespace() => words.extend(word.take()),
            c => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    Ok(words)
}

fn quoted(rest: &mut std::str::Chars<'_>, quote: char, word: &mut String) -> Result<(), String> {
    loop {
        match rest.next() {
            None => return Err("a quote is not closed".to_owned()),
            Some(c) if c == quote => return Ok(()),
            Some('\\') if quote == '"' => {
                let next = rest.next();
                word.extend(next.filter(|c| !matches!(c, '"' | '\\')).map(|_| '\\'));
                word.extend(next);
            }
            Some(c) => word.push(c),
        }
    }
}

/// A value that is a Python literal is what that stands for; any other is itself. Numbers stay as they are written.
pub(super) fn literal(text: &str) -> String {
    let text = text.trim();
    if text == "None" {
        return String::new();
    }
    let (number, comment) = text.split_at(text.find('#').unwrap_or(text.len()));
    let number = number.trim_end();
    if !comment.is_empty() && !number.is_empty() && number.bytes().all(|c| c.is_ascii_digit()) {
        return number.to_owned();
    }
    string(text).unwrap_or_else(|| text.to_owned())
}

/// Of `'…'` or `"…"`, with nothing but a comment behind it.
fn string(text: &str) -> Option<String> {
    let mut rest = text.chars();
    let quote = rest.next().filter(|c| matches!(c, '\'' | '"'))?;
    let mut value = String::new();
    loop {
        match rest.next()? {
            c if c == quote => break,
            '\\' => match rest.next()? {
                'n' => value.push('\n'),
                't' => value.push('\t'),
                c @ ('\\' | '\'' | '"') => value.push(c),
                c => value.extend(['\\', c]),
            },
            c => value.push(c),
        }
    }
    let behind = rest.as_str().trim_start();
    (behind.is_empty() || behind.starts_with('#')).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Compared with `shlex.split(text, comments=True)`.
    #[test]
    fn words() {
        for (text, words) in [
            ("a  b\tc", &["a", "b", "c"][..]),
            ("a='x y' b=\"z 'w'\"", &["a=x y", "b=z 'w'"]),
            (r#"a="say \"hi\" \n \\""#, &[r#"a=say "hi" \n \"#]),
            (r"a=x\ y b=\#c", &["a=x y", "b=#c"]),
            ("a '' b", &["a", "", "b"]),
            ("a b#c d", &["a", "b"]),
            ("a '#' # c", &["a", "#"]),
            ("", &[]),
        ] {
            assert_eq!(split(text).unwrap(), words, "{text}");
        }
        assert!(split("a 'b").is_err() && split("a \"b\\").is_err());
    }

    #[test]
    fn literals() {
        for (text, value) in [
            ("deploy", "deploy"),
            ("'de ploy'", "de ploy"),
            ("\"it's\" # so", "it's"),
            (r"'a\'b\\'", r"a'b\"),
            ("'a' 'b", "'a' 'b"),
            ("'a", "'a"),
            ("22 # ssh", "22"),
            ("0123", "0123"),
            ("pa#ss", "pa#ss"),
            ("None", ""),
            ("", ""),
        ] {
            assert_eq!(literal(text), value, "{text}");
        }
    }
}
