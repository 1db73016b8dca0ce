//! What holds of any file that lists machines: laws for the fuzzer, and for the tests over its seeds.

use super::{Completion, Format, KnownHosts, MOST_MACHINES, parse};
use model::MachineName;
use std::collections::BTreeSet;

/// One text, taken for each of the formats.
pub(crate) fn listed(bytes: &[u8]) {
    let text = &*String::from_utf8_lossy(bytes);
    for format in [Format::Txt, Format::Yml, Format::AnsibleIni, Format::AnsibleYaml] {
        sent(text, format, "");
    }
    for path in ["machines.yml", "hosts"] {
        sent(text, Format::Auto, path);
    }
    remembered(text);
}

/// What of it is sent is well-formed, and no machine of it comes twice.
fn sent(text: &str, format: Format, path: &str) {
    let found = match parse(text, format, path) {
        Ok(found) => found,
        Err(malformed) => {
            assert!(malformed.to_string().starts_with("line "));
            return;
        }
    };
    assert!(found.len() <= MOST_MACHINES);
    // A file may name keys, and nothing of this computer is to be read for it.
    let found = found
        .into_iter()
        .filter(|found| found.said.as_ref().is_ok_and(|said| said.private_key_file.is_none()));
    let found: Vec<_> = found.collect();
    let (lines, mut seen) = (found.len(), BTreeSet::new());
    let entries = Completion::default().entries(found, &[]);
    assert_eq!(entries.len(), lines);
    for entry in &entries {
        assert!(entry.level < entries.len(), "{}", entry.name);
        match &entry.machine {
            Err(why) => assert!(why.starts_with(&format!("line {}: ", entry.line)), "{why}"),
            Ok(machine) => {
                assert!(machine.name == entry.name && machine.name.parse::<MachineName>().is_ok());
                assert!(machine.port != 0 && seen.insert(&machine.name), "{}", machine.name);
            }
        }
    }
}

/// A key that is found is one word behind its kind, whatever else the line says.
fn remembered(text: &str) {
    let known = KnownHosts::parse(text);
    for (host, port) in [("web1", 22), ("WEB1", 22), ("web1", 2222), ("", 22)] {
        let Ok(Some(key)) = known.key_of(host, port) else { continue };
        assert_eq!(key.split(' ').count(), 2, "{key:?}");
        assert!(key.parse::<model::account::SshKey>().is_ok_and(|read| read.as_str() == key));
    }
    let lower = |port| known.key_of("web1", port);
    assert_eq!(lower(22), known.key_of("WEB1", 22));
}

#[cfg(test)]
#[test]
fn files_of_the_fuzzer() {
    crate::replay::replay("inventory", listed);
}
