//! The seeds of a fuzz target as a test: a law holds of each, and of every beginning of it.

use std::fs;
use std::path::Path;

pub(crate) fn replay(target: &str, law: fn(&[u8])) {
    let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/seeds").join(target);
    for entry in fs::read_dir(seeds).unwrap() {
        let file = entry.unwrap().path();
        eprintln!("{}", file.display());
        let seed = fs::read(&file).unwrap();
        (0..=seed.len()).for_each(|end| law(&seed[..end]));
    }
}
