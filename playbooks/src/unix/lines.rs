//! Colon-separated lines. Whatever is not ours stays byte for byte: comments, NIS lines, malformed lines, a missing
//! last newline.

pub(crate) fn lines(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    bytes.split_inclusive(|byte| *byte == b'\n')
}

pub(crate) fn fields(line: &[u8]) -> Vec<&[u8]> {
    line.strip_suffix(b"\n").unwrap_or(line).split(|byte| *byte == b':').collect()
}

pub(crate) fn find<'a>(bytes: &'a [u8], name: &str) -> Option<Vec<&'a [u8]>> {
    lines(bytes).map(fields).find(|fields| fields[0] == name.as_bytes())
}

/// One line with this name, made by `edit` of the one there was.
pub(crate) fn ensure(bytes: &[u8], name: &str, edit: impl Fn(Option<&[&[u8]]>) -> Vec<u8>) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len() + 128);
    let mut found = false;
    for line in lines(bytes) {
        let fields = fields(line);
        if fields[0] != name.as_bytes() {
            out.extend_from_slice(line);
        } else if !found {
            found = true;
            out.extend_from_slice(&edit(Some(&fields)));
            out.push(b'\n');
        }
    }
    if !found {
        let mut line = edit(None);
        line.push(b'\n');
        let end = end_of_last_whole_line(&out);
        out.splice(end..end, line);
    }
    out
}

/// An unterminated last line is somebody else's: ours goes in front of it rather than giving it a newline.
fn end_of_last_whole_line(bytes: &[u8]) -> usize {
    bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1)
}

pub(crate) fn remove(bytes: &[u8], names: &[&str]) -> Vec<u8> {
    let named = |line: &&[u8]| names.iter().any(|name| fields(line)[0] == name.as_bytes());
    lines(bytes).filter(|line| !named(line)).flatten().copied().collect()
}

/// Replaces the comma-separated list in field `at` of every line for which `edit` returns another one.
pub(crate) fn edit_lists(bytes: &[u8], at: usize, edit: impl Fn(&[u8], &[u8]) -> Option<Vec<u8>>) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len() + 64);
    for line in lines(bytes) {
        let fields = fields(line);
        let edited = fields.get(at).and_then(|list| edit(fields[0], list));
        let Some(list) = edited else {
            out.extend_from_slice(line);
            continue;
        };
        let mut edited = fields.clone();
        edited[at] = &list;
        out.extend_from_slice(&edited.join(&b':'));
        out.extend_from_slice(if line.ends_with(b"\n") { b"\n" } else { b"" });
    }
    out
}

pub(crate) fn has_member(list: &[u8], name: &str) -> bool {
    list.split(|byte| *byte == b',').any(|member| member == name.as_bytes())
}

pub(crate) fn with_member(list: &[u8], name: &str) -> Vec<u8> {
    let mut members = list.to_vec();
    if !members.is_empty() {
        members.push(b',');
    }
    members.extend_from_slice(name.as_bytes());
    members
}

pub(crate) fn without_member(list: &[u8], name: &str) -> Vec<u8> {
    let others: Vec<_> =
        list.split(|byte| *byte == b',').filter(|member| *member != name.as_bytes()).collect();
    others.join(&b',')
}

/// What `list` of group `group` has to become so that `name` is in it exactly if `groups` has the group.
pub(crate) fn membership(group: &[u8], list: &[u8], name: &str, groups: &[&str]) -> Option<Vec<u8>> {
    let asked = groups.iter().any(|asked| asked.as_bytes() == group);
    match (has_member(list, name), asked) {
        (false, true) => Some(with_member(list, name)),
        (true, false) => Some(without_member(list, name)),
        (true, true) | (false, false) => None,
    }
}
