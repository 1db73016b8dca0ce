//! Which format a file is in: said, told by its ending, or by a look at it.

use super::{Malformed, lines, yaml};

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// By the file's ending and what stands in it.
    Auto,
    /// One machine a line: `name host port user password`.
    Txt,
    /// A list of machines under `machines:`, or a bare one.
    Yml,
    /// An Ansible inventory with `[groups]`.
    AnsibleIni,
    /// An Ansible inventory with `all:`, `hosts:` and `children:`.
    AnsibleYaml,
}

impl Format {
    pub(super) fn or_guessed(self, text: &str, path: &str) -> Result<Self, Malformed> {
        let (_, ending) = path.rsplit_once('.').unwrap_or_default();
        match self {
            Self::Auto => match ending {
                "txt" => Ok(Self::Txt),
                "ini" | "cfg" => Ok(Self::AnsibleIni),
                "yml" | "yaml" | "json" => by_shape(text),
                _ => by_look(text),
            },
            known => Ok(known),
        }
    }
}

fn by_shape(text: &str) -> Result<Format, Malformed> {
    Ok(if yaml::is_list_of_machines(text)? { Format::Yml } else { Format::AnsibleYaml })
}

/// Ansible's files often have no ending. The first line that says something tells.
fn by_look(text: &str) -> Result<Format, Malformed> {
    let Some((_, line)) = lines(text, &['#', ';']).next() else { return Ok(Format::Txt) };
    if is_section(line) {
        return Ok(Format::AnsibleIni);
    }
    if line == "---" || line.starts_with("- ") || line.starts_with('{') || is_key(line) {
        return by_shape(text);
    }
    let columns = line.split_ascii_whitespace().skip(1);
    let is_table = columns.clone().next().is_some_and(|second| !second.contains('='));
    Ok(if is_table { Format::Txt } else { Format::AnsibleIni })
}

fn is_section(line: &str) -> bool {
    line.starts_with('[') && line.contains(']')
}

/// `all:` or `machines: []`, and not the address `web1:2222`.
fn is_key(line: &str) -> bool {
    line.split_once(':').is_some_and(|(_, rest)| rest.is_empty() || rest.starts_with([' ', '\t']))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guessed() {
        for (path, text, format) in [
            ("machines.txt", "[web]", Format::Txt),
            ("hosts.ini", "a b c", Format::AnsibleIni),
            ("m.yml", "- {name: a, host: b}", Format::Yml),
            ("m.yaml", "machines:\n- name: a", Format::Yml),
            ("m.yml", "machines:\n", Format::Yml),
            ("m.yml", "machines: {hosts: {a: }}", Format::AnsibleYaml),
            ("m.yml", "all:\n  hosts: {a: }", Format::AnsibleYaml),
            ("m.json", r#"{"machines": []}"#, Format::Yml),
            ("hosts", "# ours\n\n[web]\na\n", Format::AnsibleIni),
            ("hosts", "[web] # these\na\n", Format::AnsibleIni),
            ("hosts", "web1\nweb2\n", Format::AnsibleIni),
            ("hosts", "web1 ansible_host=10.0.0.1\n", Format::AnsibleIni),
            ("hosts", "web1:2222\n", Format::AnsibleIni),
            ("hosts", "---\nall:\n  hosts: {a: }", Format::AnsibleYaml),
            ("hosts", "all:\n  hosts: {a: }", Format::AnsibleYaml),
            ("-", "- name: a\n  host: b\n", Format::Yml),
            ("-", "web1 10.0.0.1 22 root pa=ss\n", Format::Txt),
            ("-", "web1\t10.0.0.1\r\n", Format::Txt),
            ("-", "", Format::Txt),
        ] {
            assert_eq!(Format::Auto.or_guessed(text, path), Ok(format), "{path}: {text}");
        }
        assert_eq!(Format::Txt.or_guessed("[web]", "a.yml"), Ok(Format::Txt));
    }
}
