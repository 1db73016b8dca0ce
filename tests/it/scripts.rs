//! Stories in `tests/scripts/*.txt`, text in, text out: what is typed, and below it what is answered.
//!
//! A line that begins with `$ ` is a command of a shell, one with `> ` is for the farm (`stage.rs` lists what it knows).
//! Below it, down to the next empty line, stands the answer. Everything else is prose. To write down what is answered
//! now, run the tests with `BERTH_UPDATE_SCRIPTS=1`, and read the difference before you keep it.

mod mask;
mod pretty;
mod stage;

use stage::Stage;
use std::fmt::Write;
use std::path::{Path, PathBuf};

#[tokio::test(flavor = "multi_thread")]
async fn every_script_goes_as_written() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts");
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<PathBuf> =
        files.filter(|path| path.extension().is_some_and(|it| it == "txt")).collect();
    files.sort();
    assert!(files.len() >= 8, "the scripts were not found: {files:?}");
    let update = std::env::var_os("BERTH_UPDATE_SCRIPTS").is_some();
    let mut differing = String::new();
    for file in files {
        let written = std::fs::read_to_string(&file).unwrap();
        let played = play(&written).await;
        if update {
            std::fs::write(&file, &played).unwrap();
        } else if let Some(difference) = first_difference(&written, &played) {
            writeln!(differing, "{}, {difference}", file.display()).unwrap();
        }
    }
    assert!(differing.is_empty(), "not as written:\n{differing}");
}

/// The script with the answers it gets now.
async fn play(script: &str) -> String {
    let mut stage = Stage::new().await;
    let mut played = String::new();
    let mut answered = false;
    for line in script.lines() {
        let is_typed = line.starts_with("$ ") || line.starts_with("> ");
        answered &= !line.is_empty() && !is_typed;
        if !answered {
            writeln!(played, "{line}").unwrap();
        }
        if is_typed {
            answered = true;
            let answer = stage.answer(line).await;
            // An empty line would end the answer.
            answer
                .lines()
                .filter(|line| !line.is_empty())
                .for_each(|line| writeln!(played, "{line}").unwrap());
        }
    }
    played
}

fn first_difference(written: &str, played: &str) -> Option<String> {
    if written == played {
        return None;
    }
    let (mut written, mut played) = (written.lines(), played.lines());
    for number in 1.. {
        match (written.next(), played.next()) {
            (one, other) if one == other && one.is_some() => {}
            (one, other) => {
                let shown = |line: Option<&str>| line.unwrap_or("(nothing more)").to_owned();
                return Some(format!(
                    "line {number}:\n  written: {}\n  now:     {}",
                    shown(one),
                    shown(other)
                ));
            }
        }
    }
    None
}
