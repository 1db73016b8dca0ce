//! `machines:`, a list of what is known of each.

use super::yaml;
use super::{Found, Malformed, Said};
use model::ssh::{Secret, SshAccess};
use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::Spanned;
use std::collections::BTreeMap;
use std::fmt;

/// Everything is text: `port: 22` and `password: 0123` are taken as they are written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "a machine, `name:` and `host:`")]
struct Machine {
    name: String,
    host: String,
    port: Option<String>,
    user: Option<String>,
    password: Option<Secret>,
    key_file: Option<String>,
    private_key_file: Option<String>,
    passphrase: Option<Secret>,
    #[serde(default)]
    labels: BTreeMap<String, Option<String>>,
    sudo_password: Option<Secret>,
    host_key: Option<String>,
    jump: Option<String>,
}

struct Machines(Vec<Spanned<Machine>>);

pub(super) fn parse(text: &str) -> Result<Vec<Found>, Malformed> {
    let Machines(list) = yaml::parse(text)?;
    Ok(list.into_iter().map(|machine| found(machine.referenced.line(), machine.value)).collect())
}

fn found(line: u64, machine: Machine) -> Found {
    let access = SshAccess {
        user: machine.user,
        password: machine.password,
        private_key: None,
        key_file: machine.key_file,
        passphrase: machine.passphrase,
        sudo_password: machine.sudo_password,
        host_key: machine.host_key,
        jump: machine.jump,
    };
    let labels = machine.labels.into_iter().map(|(key, value)| (key, value.unwrap_or_default()));
    let said = Said {
        host: machine.host,
        port: machine.port,
        labels: labels.collect(),
        access,
        private_key_file: machine.private_key_file,
    };
    Found { line, name: machine.name, said: Ok(said) }
}

impl<'de> Deserialize<'de> for Machines {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(MachinesVisitor)
    }
}

/// The list itself, or the one below `machines:`.
struct MachinesVisitor;

impl<'de> Visitor<'de> for MachinesVisitor {
    type Value = Machines;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of machines, `- name: …`")
    }

    fn visit_unit<E>(self) -> Result<Machines, E> {
        Ok(Machines(Vec::new()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Machines, A::Error> {
        let mut machines = Vec::new();
        while let Some(machine) = list.next_element()? {
            machines.push(machine);
        }
        Ok(Machines(machines))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Machines, A::Error> {
        let mut machines: Option<Vec<_>> = None;
        while let Some(key) = map.next_key::<String>()? {
            if key != "machines" {
                return Err(serde::de::Error::unknown_field(&key, &["machines"]));
            }
            machines = map.next_value()?;
        }
        Ok(Machines(machines.unwrap_or_default()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Vec<(u64, String, Said)> {
        let found = parse(text).unwrap_or_else(|malformed| panic!("{malformed}"));
        found.into_iter().map(|found| (found.line, found.name, found.said.unwrap())).collect()
    }

    #[test]
    fn under_machines_or_bare() {
        let text = "machines:\n  - name: web1\n    host: 10.0.0.1\n  - {name: web2, host: 10.0.0.2}\n";
        for text in [text.to_owned(), text.replace("machines:\n", ""), text.replace('\n', "\r\n")] {
            let found = parsed(&text);
            let names: Vec<&str> = found.iter().map(|(_, name, _)| name.as_str()).collect();
            assert_eq!(names, ["web1", "web2"], "{text}");
            assert_eq!(found[1].0 - found[0].0, 2, "{text}");
        }
        assert!(parsed("machines:\n").is_empty());
        assert!(parsed("# nothing yet\n").is_empty());
    }

    #[test]
    fn everything_is_taken_as_written() {
        let text = "- name: db\n  host: db.example\n  port: 2222\n  user: deploy\n  password: 0123\n  \
                    sudo_password: yes\n  key_file: /etc/berth/key\n  private_key_file: ~/.ssh/id\n  \
                    passphrase: 'p: #'\n  labels: {os: debian, rack: 07, gpu: }\n  \
                    host_key: SHA256:abc\n  jump: bastion\n";
        let (line, _, said) = parsed(text).remove(0);
        assert_eq!(line, 1);
        assert_eq!((said.host.as_str(), said.port.as_deref()), ("db.example", Some("2222")));
        let access = &said.access;
        let secrets = [&access.password, &access.sudo_password, &access.passphrase];
        let secrets = secrets.map(|secret| secret.as_ref().unwrap().expose());
        assert_eq!(secrets, ["0123", "yes", "p: #"]);
        let rest = [&access.user, &access.key_file, &access.host_key, &access.jump, &said.private_key_file];
        let rest = rest.map(|text| text.as_deref().unwrap());
        assert_eq!(rest, ["deploy", "/etc/berth/key", "SHA256:abc", "bastion", "~/.ssh/id"]);
        let labels: Vec<String> = said.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
        assert_eq!(labels, ["gpu=", "os=debian", "rack=07"]);
    }

    #[test]
    fn what_cannot_be_made_out() {
        for (text, why) in [
            ("- host: h", "line 1, column 3: missing field `name`"),
            ("- name: a\n  host: h\n  pasword: hunter2", "line 3, column 3: unknown field `pasword`"),
            ("machines:\n  hunter2", "line 2, column 3: expected a list, `- …`"),
            ("machines:\n- hunter2", "line 2, column 3: expected names with"),
            ("- name: a\n  host: h\n  password: [hunter2]", "line 3, column 13: "),
            ("hosts: []", "line 1, column 1: unknown field `hosts`"),
            ("- name: a\n  host: h\n  host: h2", "line 3, column 3: "),
        ] {
            let said = parse(text).err().unwrap().to_string();
            assert!(said.starts_with(why) && !said.contains("hunter2"), "{text}: {said}");
        }
    }
}
