//! Puts bugs into a copy of the sources, one at a time, and sees a test fail for each: `just sabotage`.
//!
//! `seeds.toml` lists the bugs. The copy is built once, with all of them in it; which one is awake says an environment
//! variable, so that each costs one run of one test.

#![allow(clippy::print_stdout, reason = "this is a program")]
#![allow(clippy::unwrap_used, reason = "one that cannot go on stops")]

use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

const AWAKE: &str = "BERTH_SABOTAGE";

#[derive(Deserialize)]
struct Seeds {
    seed: Vec<Seed>,
}

/// An expression, or a statement, and what is done in its place.
#[derive(Deserialize)]
struct Seed {
    name: String,
    file: PathBuf,
    /// To be found there exactly once.
    original: String,
    sabotaged: String,
    /// The test binary (`it`, or a crate's own) and the test.
    caught_by: (String, String),
}

fn main() -> ExitCode {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let seeds: Seeds = toml::from_str(include_str!("seeds.toml")).unwrap();
    let copy = tempfile::tempdir().unwrap();
    copy_sources(root, copy.path());
    seeds.seed.iter().for_each(|seed| plant(seed, copy.path()));
    println!("building a copy with {} bugs asleep in it", seeds.seed.len());
    let binaries = build(copy.path());
    let mut missed = Vec::new();
    for seed in &seeds.seed {
        let (binary, test) = (&seed.caught_by.0, &seed.caught_by.1);
        let run = |awake: &str| run(&binaries[binary], test, awake, copy.path());
        let verdict = match (run(""), run(&seed.name)) {
            (Ok(()), Err(_)) => "caught",
            (Ok(()), Ok(())) => "NOT CAUGHT",
            (Err(said), _) => {
                println!("{said}");
                "NOT TESTED: that test fails anyway, or is not there"
            }
        };
        println!("{:<44} {verdict} by {binary} {test}", seed.name);
        if verdict != "caught" {
            missed.push(&seed.name);
        }
    }
    println!("{} of {} bugs caught", seeds.seed.len() - missed.len(), seeds.seed.len());
    if missed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// What git knows, and what it would take.
fn copy_sources(root: &Path, copy: &Path) {
    let list = Command::new("git")
        .args(["ls-files", "--cached", "--others", "--exclude-standard", "-z"])
        .current_dir(root)
        .output()
        .expect("git is installed");
    for name in String::from_utf8(list.stdout).unwrap().split('\0').filter(|name| !name.is_empty()) {
        // A file that was removed and not committed yet is still listed.
        if root.join(name).is_file() {
            std::fs::create_dir_all(copy.join(name).parent().unwrap()).unwrap();
            std::fs::copy(root.join(name), copy.join(name)).unwrap();
        }
    }
}

fn plant(seed: &Seed, copy: &Path) {
    let path = copy.join(&seed.file);
    let source = std::fs::read_to_string(&path).unwrap();
    let Seed { name, original, sabotaged, .. } = seed;
    let count = source.matches(original.as_str()).count();
    assert_eq!(count, 1, "{name}: {} has its original {count} times", seed.file.display());
    let awake = format!("std::env::var_os({AWAKE:?}).is_some_and(|awake| awake == {name:?})");
    let both = format!("if {awake} {{ {sabotaged} }} else {{ {original} }}");
    // Copies keep their time; what is newer is built anew.
    std::fs::write(&path, source.replacen(original, &both, 1)).unwrap();
}

/// The test binaries by the name of what they test.
fn build(copy: &Path) -> BTreeMap<String, PathBuf> {
    let built = Command::new(env!("CARGO"))
        .args(["test", "--no-run", "--message-format=json-render-diagnostics"])
        // All of the workspace, as other builds do: with fewer crates what they share is built anew.
        .args(["--workspace", "--lib", "--test", "it"])
        .current_dir(copy)
        .output()
        .unwrap();
    assert!(built.status.success(), "the copy does not compile:\n{}", String::from_utf8_lossy(&built.stderr));
    let messages = String::from_utf8(built.stdout).unwrap();
    let messages = messages.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let binary = |message: serde_json::Value| {
        let executable = message["executable"].as_str()?;
        Some((message["target"]["name"].as_str()?.to_owned(), PathBuf::from(executable)))
    };
    messages.filter_map(binary).collect()
}

/// What the test said, if it did not pass.
fn run(binary: &Path, test: &str, awake: &str, copy: &Path) -> Result<(), String> {
    let ran = Command::new(binary)
        .args(["--exact", test])
        .env(AWAKE, awake)
        .current_dir(copy.join("tests"))
        .output();
    let ran = ran.unwrap();
    let said = String::from_utf8_lossy(&ran.stdout);
    let passed = ran.status.success() && said.contains("1 passed");
    if passed { Ok(()) } else { Err(format!("{said}{}", String::from_utf8_lossy(&ran.stderr))) }
}
