//! One parameter in a path.

use std::str::FromStr;

/// A path segment, percent-decoded. What cannot be anybody's name matches no route, and so is a 404.
pub(super) struct Segment(pub(super) String);

impl FromStr for Segment {
    type Err = ();
    fn from_str(raw: &str) -> Result<Self, ()> {
        let text = decode(raw).ok_or(())?;
        let weird = |c: char| c.is_control() || c.is_whitespace() || matches!(c, '/' | '\\');
        if text.is_empty() || text.len() > 128 || text.contains(weird) || text.chars().all(|c| c == '.') {
            return Err(());
        }
        Ok(Self(text))
    }
}

/// Whether a path is of this template, and what it has in the place that the template leaves open. One slash more at the
/// end does not matter.
pub(super) fn places(template: &str, path: &str) -> Option<Segment> {
    let mut place = Segment(String::new());
    let path = path.strip_suffix('/').unwrap_or(path);
    let (mut wanted, mut found) =
        (template.strip_suffix('/').unwrap_or(template).split('/'), path.split('/'));
    loop {
        match (wanted.next(), found.next()) {
            (None, None) => return Some(place),
            (Some(open), Some(raw)) if open.starts_with('{') => place = raw.parse().ok()?,
            (Some(word), Some(raw)) if word == raw => {}
            _ => return None,
        }
    }
}

/// Whether a path is of this template but for what stands in the open places.
pub(super) fn is_like(template: &str, path: &str) -> bool {
    let parts = |path: &str| -> Vec<String> {
        path.strip_suffix('/').unwrap_or(path).split('/').map(str::to_owned).collect()
    };
    let (wanted, found) = (parts(template), parts(path));
    wanted.len() == found.len()
        && wanted.iter().zip(&found).all(|(word, raw)| word.starts_with('{') || word == raw)
}

/// Undoes `%2F` and the like; nothing when it is cut short or no UTF-8.
pub(super) fn decode(raw: &str) -> Option<String> {
    let mut bytes = raw.bytes();
    let mut out = Vec::with_capacity(raw.len());
    while let Some(byte) = bytes.next() {
        out.push(if byte == b'%' { hex(bytes.next()?)? << 4 | hex(bytes.next()?)? } else { byte });
    }
    String::from_utf8(out).ok()
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_fits_one_template() {
        let place = |template, path| places(template, path).map(|place| place.0);
        assert_eq!(place("/v1/machines/{name}", "/v1/machines/m%31"), Some("m1".to_owned()));
        assert_eq!(place("/v1/machines/{name}/clean", "/v1/machines/m1/clean/"), Some("m1".to_owned()));
        assert_eq!((place("/", "/"), place("/v1/me", "/v1/me")), (Some(String::new()), Some(String::new())));
        for other in [
            "/v1/machines",
            "/v1/machines/",
            "/v1/machines/a/b",
            "/v1/machines/%00",
            "/v1/pools/a",
            "/v1/machines/a//",
        ] {
            assert_eq!(place("/v1/machines/{name}", other), None, "{other}");
        }
    }

    #[test]
    fn a_path_is_like_one_although_nothing_is_called_so() {
        assert!(is_like("/machines/{name}", "/machines/%00") && is_like("/machines", "/machines/"));
        assert!(!is_like("/machines/{name}", "/machines") && !is_like("/machines/{name}", "/reserve/a"));
    }

    #[test]
    fn segments() {
        let read = |raw: &str| raw.parse::<Segment>().ok().map(|segment| segment.0);
        assert_eq!(read("web-1.example"), Some("web-1.example".to_owned()));
        assert_eq!(read("%77eb"), Some("web".to_owned()));
        assert_eq!(read("a+b"), Some("a+b".to_owned()));
        for bad in [
            "", ".", "..", "%2e%2E", "a%2Fb", "a%5cb", "a%00", "a%0ab", "%", "%4", "%zz", "%ff", "%+1",
            "a%20b",
        ] {
            assert_eq!(read(bad), None, "{bad}");
        }
        assert_eq!(read(&"a".repeat(129)), None);
    }
}
