//! Who may import whom, held against the manifests and the sources.

use std::fs;
use std::path::{Path, PathBuf};

/// Per crate: what its manifest must never name.
const NEVER: &[(&str, &[&str])] = &[
    ("model", &["tokio", "diesel", "warp", "russh", "bollard", "server", "agent", "playbooks", "provision"]),
    (
        "playbooks",
        &["hyper", "warp", "diesel", "russh", "bollard", "server", "agent", "provision", "reqwest"],
    ),
    ("provision", &["playbooks", "diesel", "warp", "server", "agent"]),
    ("agent", &["server", "diesel", "warp", "russh", "bollard", "provision"]),
    ("cli", &["server", "agent", "diesel", "warp", "bollard", "playbooks", "provision"]),
    ("server", &["agent", "cli", "tests"]),
];

/// Words that may stand in one place of the server only.
const ONLY_IN: &[(&str, &str)] =
    &[("diesel::", "server/src/store"), ("warp::", "server/src/api"), ("russh::", "server/src/reach/ssh")];

#[test]
fn crates_import_what_the_table_allows() {
    for (name, never) in NEVER {
        let manifest = fs::read_to_string(root().join(name).join("Cargo.toml")).unwrap();
        let (_, dependencies) = manifest.split_once("[dependencies]").unwrap();
        let named = |line: &str| line.split(['.', ' ', '=']).next().unwrap_or_default().to_owned();
        for line in dependencies.split("[dev-dependencies]").next().unwrap().lines().map(named) {
            assert!(!never.contains(&line.as_str()), "`{name}` must never know `{line}`");
        }
    }
}

#[test]
fn words_stay_in_their_place() {
    let files = sources(&root().join("server/src"));
    assert!(files.len() > 30, "the sources were not found");
    for file in files {
        let shown = file.strip_prefix(root()).unwrap().display().to_string();
        let text = fs::read_to_string(&file).unwrap();
        for (word, place) in ONLY_IN {
            assert!(
                shown.starts_with(place) || !text.contains(word),
                "`{word}` stands in {shown}; it belongs into {place}"
            );
        }
    }
}

#[test]
fn layers_of_the_server_look_one_way() {
    for (folder, never) in [
        ("store", &["crate::app", "crate::api", "crate::reconcile"][..]),
        ("app", &["crate::api"]),
        ("reconcile", &["crate::app", "crate::api"]),
    ] {
        for file in sources(&root().join("server/src").join(folder)) {
            let text = fs::read_to_string(&file).unwrap();
            for word in never {
                assert!(!text.contains(word), "{} must not know {word}", file.display());
            }
        }
    }
}

/// A table of invariants is worth something as long as each of its tests is there.
#[test]
fn the_tests_that_the_architecture_names_exist() {
    let architecture = fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    let (_, table) = architecture.split_once("| invariant | held by |").unwrap();
    let (table, _) = table.split_once("\n## ").unwrap();
    let tests: String =
        sources(&root().join("tests/it")).iter().map(|file| fs::read_to_string(file).unwrap()).collect();
    let named: Vec<&str> = table.split('`').filter(|text| text.contains("::")).collect();
    assert!(named.len() > 15, "the table was not found");
    for path in named {
        let name = path.rsplit("::").next().unwrap();
        assert!(tests.contains(&format!("fn {name}(")), "there is no test `{path}`");
    }
}

/// The table of bugs is the list they are taken from.
#[test]
fn the_bugs_that_the_architecture_names_are_put_in() {
    let architecture = fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    let (_, table) = architecture.split_once("| bug | caught by |").unwrap();
    let (table, _) = table.split_once("\n## ").unwrap();
    let seeds = fs::read_to_string(root().join("tests/sabotage/seeds.toml")).unwrap();
    let names = seeds.lines().filter_map(|line| line.strip_prefix("name = \"")?.strip_suffix('"'));
    let written: Vec<&str> = table.lines().skip(2).filter_map(|line| line.split(" | ").next()).collect();
    let written: Vec<&str> = written.iter().filter_map(|cell| cell.strip_prefix("| ")).collect();
    assert_eq!(written, names.collect::<Vec<_>>());
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries
        .flat_map(|path| if path.is_dir() { sources(&path) } else { vec![path] })
        .filter(|path| path.extension().is_some_and(|extension| extension == "rs"))
        .collect()
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_path_buf()
}
