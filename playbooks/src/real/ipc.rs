//! Interprocess communication of System V, which outlives its processes.

use super::{found, if_there};
use crate::host::{Found, Who};
use crate::kernel::{Ipc, ipc_remove};
use model::cleaning::Residue;
use std::{fs, io};

const KINDS: [(Ipc, &str, &str); 3] = [
    (Ipc::SharedMemory, "shm", "shared memory"),
    (Ipc::Queue, "msg", "message queue"),
    (Ipc::Semaphores, "sem", "semaphores"),
];
/// Marked for removal already, which happens when the last process lets go of it.
const DOOMED: u32 = 0o1000;

pub(super) fn remove(whose: &[Who]) -> io::Result<Vec<Found>> {
    let mut all = Vec::new();
    for (kind, file, words) in KINDS {
        // A kernel may be built without.
        let Some(table) = if_there(fs::read_to_string(format!("/proc/sysvipc/{file}")))? else { continue };
        for Object { id, owners } in objects(&table) {
            if let Some(who) = whose.iter().find(|who| owners.contains(&who.uid)) {
                all.push(found(
                    who.uid,
                    Residue::Ipc,
                    format!("{words} {id}"),
                    ipc_remove(kind, id, who.uid),
                ));
            }
        }
    }
    Ok(all)
}

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Object {
    id: i32,
    /// Owner and creator.
    owners: [u32; 2],
}

/// The first line names the columns, which differ by kind and by kernel.
pub(super) fn objects(table: &str) -> impl Iterator<Item = Object> {
    let mut lines = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let names = lines.next().unwrap_or_default();
    let column = move |name: &str| names.iter().position(|column| *column == name);
    let (uid, cuid, perms) = (column("uid"), column("cuid"), column("perms"));
    lines.filter_map(move |fields| {
        let number = |at: Option<usize>| fields.get(at?)?.parse().ok();
        let mode = u32::from_str_radix(fields.get(perms?)?, 8).ok()?;
        let object = Object { id: fields.get(1)?.parse().ok()?, owners: [number(uid)?, number(cuid)?] };
        (mode & DOOMED == 0).then_some(object)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn objects_have_an_owner_and_a_creator() {
        let table = "\
            key  shmid perms  size  cpid  lpid nattch   uid   gid  cuid  cgid  atime  dtime  ctime  rss  swap\n\
            0        3   600  4096  1020  1020      0 66000 66000 66001 66001      0      0      1    0     0\n\
            0        4  1600  4096  1020  1020      1 66000 66000 66000 66000      0      0      1    0     0\n";
        assert_eq!(objects(table).collect::<Vec<_>>(), [Object { id: 3, owners: [66_000, 66_001] }]);
        let table = "key semid perms nsems uid gid cuid cgid otime ctime\n7 0 666 1 1 2 3 4 0 0\n";
        assert_eq!(objects(table).collect::<Vec<_>>(), [Object { id: 0, owners: [1, 3] }]);
        assert_eq!(objects("").count(), 0);
    }

    proptest! {
        #[test]
        fn parsing_never_panics(table in "(key|uid|cuid|perms|[0-9]{1,12}|[ \n]){0,40}") {
            let _ = objects(&table).count();
        }
    }
}
