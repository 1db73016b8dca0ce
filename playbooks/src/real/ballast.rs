//! Disk space set aside, so that accounts can be taken away when the disk is full.

use super::{if_there, private_folder};
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

const SIZE: u64 = 1 << 20;

/// One beside the ledger, and one beside the account databases if those are on another file system.
fn places(state: &Path, etc: &Path) -> io::Result<Vec<PathBuf>> {
    let mut places = vec![state.join("ballast")];
    let device = |path| if_there(fs::metadata(path)).map(|meta| meta.map(|meta| meta.dev()));
    if device(state)? != device(etc)? {
        places.push(etc.join(".berth-ballast"));
    }
    Ok(places)
}

pub(super) fn keep(state: &Path, etc: &Path) -> io::Result<()> {
    private_folder(state)?;
    places(state, etc)?.iter().try_for_each(|path| {
        if if_there(path.symlink_metadata())?.is_some_and(|meta| meta.len() == SIZE) {
            return Ok(());
        }
        let filled = fill(path);
        if filled.is_err() {
            // What is half there would take the last of the space and be of no use.
            let _ = fs::remove_file(path);
        }
        filled
    })
}

fn fill(path: &Path) -> io::Result<()> {
    if_there(fs::remove_file(path))?;
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(&noise())?;
    file.sync_all()
}

/// Nothing that a file system could store in less, or not at all (xorshift).
fn noise() -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let words = (0..SIZE / 8).flat_map(|_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    });
    words.collect()
}

pub(super) fn free(state: &Path, etc: &Path) -> io::Result<()> {
    places(state, etc)?.iter().try_for_each(|path| if_there(fs::remove_file(path)).map(drop))
}
