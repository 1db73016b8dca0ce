//! `web[01:10].example:2222`: many hosts in one word.

use super::super::MOST_MACHINES;

/// No name is that long, and ten thousand of them would be a lot.
const LONGEST: usize = 1000;

pub(super) struct Hosts {
    pub(super) names: Vec<String>,
    pub(super) port: Option<String>,
}

pub(super) fn expand(word: &str) -> Result<Hosts, String> {
    if word.len() > LONGEST {
        return Err(format!("a host is written in more than {LONGEST} characters"));
    }
    let (pattern, port) = with_port(word);
    let mut names = vec![String::new()];
    let mut rest = pattern;
    while let Some((before, after)) = rest.split_once('[') {
        let (inside, after) = after.split_once(']').ok_or("a `[` is not closed")?;
        let steps = steps(inside)?;
        if names.len().saturating_mul(steps.len()) > MOST_MACHINES {
            return Err(too_many());
        }
        names = names
            .iter()
            .flat_map(|name| steps.iter().map(move |step| format!("{name}{before}{step}")))
            .collect();
        rest = after;
    }
    names.iter_mut().for_each(|name| name.push_str(rest));
    Ok(Hosts { names, port: port.map(str::to_owned) })
}

fn too_many() -> String {
    format!("this range names more than {MOST_MACHINES} hosts: split the file")
}

/// One `:` behind all ranges; an address with several is an IPv6 one.
fn with_port(word: &str) -> (&str, Option<&str>) {
    let behind = word.rfind(']').map_or(0, |at| at + 1);
    match word[behind..].split_once(':') {
        Some((before, port)) if !port.is_empty() && port.bytes().all(|c| c.is_ascii_digit()) => {
            (&word[..behind + before.len()], Some(port))
        }
        _ => (word, None),
    }
}

/// `1:9`, `01:10:3`, `:3` or `a:f`, both ends included.
fn steps(inside: &str) -> Result<Vec<String>, String> {
    let odd = || "a range is written `[1:9]`, `[01:10]`, `[1:9:2]` or `[a:f]`".to_owned();
    let parts: Vec<&str> = inside.split(':').collect();
    let (first, last, step) = match parts[..] {
        [first, last] => (first, last, "1"),
        [first, last, step] => (first, last, step),
        _ => return Err(odd()),
    };
    let step: usize = step.parse().ok().filter(|step| *step > 0).ok_or_else(odd)?;
    if let (&[first], &[last]) = (first.as_bytes(), last.as_bytes())
        && let Some(letters) = letters(first, last)
    {
        return Ok(letters.step_by(step).map(|letter| char::from(letter).to_string()).collect());
    }
    let first = if first.is_empty() { "0" } else { first };
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|c| c.is_ascii_digit());
    if !digits(first) || !digits(last) {
        return Err(odd());
    }
    let (from, to) = (first.parse::<usize>().map_err(|_| odd())?, last.parse::<usize>().map_err(|_| odd())?);
    let width = if first.len() > 1 && first.starts_with('0') { first.len() } else { 0 };
    if from > to {
        return Err("a range ends before it begins".to_owned());
    }
    if (to - from) / step >= MOST_MACHINES {
        return Err(too_many());
    }
    Ok((from..=to).step_by(step).map(|number| format!("{number:0width$}")).collect())
}

fn letters(first: u8, last: u8) -> Option<std::ops::RangeInclusive<u8>> {
    let alike = (first.is_ascii_lowercase() && last.is_ascii_lowercase())
        || (first.is_ascii_uppercase() && last.is_ascii_uppercase());
    (alike && first <= last).then_some(first..=last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges() {
        for (word, names, port) in [
            ("web1", "web1", None),
            ("web1:2222", "web1", Some("2222")),
            ("web[1:3]", "web1 web2 web3", None),
            ("web[08:11].example:22", "web08.example web09.example web10.example web11.example", Some("22")),
            ("db-[a:c]", "db-a db-b db-c", None),
            ("n[1:9:4]", "n1 n5 n9", None),
            ("n[:2]", "n0 n1 n2", None),
            ("r[1:2]-[a:b]", "r1-a r1-b r2-a r2-b", None),
            ("2001:db8::1", "2001:db8::1", None),
            ("n[5:5]", "n5", None),
        ] {
            let hosts = expand(word).unwrap_or_else(|why| panic!("{word}: {why}"));
            assert_eq!((hosts.names.join(" ").as_str(), hosts.port.as_deref()), (names, port), "{word}");
        }
    }

    #[test]
    fn no_ranges() {
        for (word, why) in [
            ("w[1:100000]", "more than 10000 hosts"),
            ("w[1:100][1:101]", "more than 10000 hosts"),
            ("w[0:18446744073709551615]", "more than 10000 hosts"),
            ("w[0:18446744073709551616]", "a range is written"),
            ("w[1-3]", "a range is written"),
            ("w[1:]", "a range is written"),
            ("w[a:F]", "a range is written"),
            ("w[1:3:0]", "a range is written"),
            ("w[é:ü]", "a range is written"),
            ("w[3:1]", "ends before it begins"),
            ("w[1:3", "is not closed"),
        ] {
            let refused = expand(word).err().unwrap_or_else(|| panic!("{word}"));
            assert!(refused.contains(why), "{word}: {refused}");
        }
        assert_eq!(expand("w[1:10000]").unwrap().names.len(), 10_000);
        let wide = format!("w[{}:1]", "0".repeat(100_000));
        assert!(expand(&wide).err().unwrap().contains("more than 1000 characters"));
    }
}
