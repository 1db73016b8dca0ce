//! What holds of whatever the kernel, a mount or an access list may say: laws for the fuzzer, and for the tests over
//! its seeds.

use super::{ipc, mounts, processes, sweep};
use model::UidRange;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

pub fn machine(bytes: &[u8]) {
    bytes.split(|byte| *byte == b'\n').for_each(|line| drop(mounts::parse(line)));
    any_path_is_read_back(bytes);
    sweep::acl_law(bytes);
    let text = &*String::from_utf8_lossy(bytes);
    let _ = (processes::is_alive_as(text, 66_000), ipc::objects(text).count());
    let ids = UidRange::default();
    let narrow = UidRange { last: ids.first, ..ids };
    assert!(processes::covers(text, narrow) || !processes::covers(text, ids), "{text:?}");
}

/// As the kernel writes it into mountinfo.
fn any_path_is_read_back(path: &[u8]) {
    let escaped = |byte: &u8| match byte {
        b' ' | b'\t' | b'\n' | b'\\' => format!("\\{byte:03o}").into_bytes(),
        _ => vec![*byte],
    };
    let path: Vec<u8> = path.iter().copied().take_while(|byte| *byte != 0).collect();
    let shown: Vec<u8> = path.iter().flat_map(escaped).collect();
    let line = [b"36 35 98:0 / ", &shown[..], b" rw shared:1 - ext4 /dev/x rw"].concat();
    let mount = mounts::parse(&line).expect("a mount");
    assert_eq!(mount.point, Path::new(OsStr::from_bytes(&path)));
}

#[cfg(test)]
#[test]
fn machines_of_the_fuzzer() {
    crate::replay::replay("machine", machine);
}
