//! One walk through one file system, with a handful of open folders however deep it goes: down by name, and up by `..`,
//! which has to lead where we came from. Never through a link, never into another file system.

use super::{Sweep, acl, give};
use crate::kernel;
use crate::real::at;
use model::cleaning::{Cleaning, Residue};
use nix::dir::{Dir, Type};
use nix::sys::stat::{FileStat, SFlag, fstat};
use std::ffi::{CStr, CString, OsStr};
use std::fs::File;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::{io, mem};
use xattr::FileExt;

/// How many names of folders wait to be looked into; those beyond wait for another reading of their folder. A folder
/// may always have a few, so that we get on at any depth.
const WAITING: usize = if cfg!(test) { 100 } else { 100_000 };
const FEW: usize = 32;
/// So many folders from the top on stay open, which spares us looking for the way up in all trees that are not made
/// to be deep.
const OPEN: usize = 16;
/// As long as a path may be in one call, with room for a name.
const LONGEST_PATH: usize = 3_500;

/// An error says why not all of it was looked at.
pub(super) fn walk(sweep: &mut Sweep, top: &Path) -> Result<(), String> {
    // Single files may be mounted, too.
    let Ok(here) = at::open_trusted(top).map(File::from) else { return Ok(()) };
    let stat = fstat(&here).map_err(|error| error.to_string())?;
    if !sweep.seen.insert((stat.st_dev, stat.st_ino)) {
        return Ok(());
    }
    let mut frame = Frame::new(CString::default(), &stat, sweep);
    frame.place = top.ancestors().all(is_firm).then(|| top.to_owned());
    let mut walk = Walk { sweep, top, here, frame, above: Vec::new(), waiting: 0, has_lists: true };
    walk.arrive(&stat)?;
    loop {
        if let Some(name) = walk.frame.folders.pop() {
            walk.waiting -= 1;
            walk.descend(name)?;
        } else if mem::take(&mut walk.frame.more) {
            walk.read_on()?;
        } else if !walk.leave()? {
            return Ok(());
        }
    }
}

struct Walk<'a> {
    sweep: &'a mut Sweep,
    top: &'a Path,
    here: File,
    /// What is known of `here`.
    frame: Frame,
    /// From the top on.
    above: Vec<Frame>,
    waiting: usize,
    /// Whether this file system has access lists.
    has_lists: bool,
}

struct Frame {
    name: CString,
    /// Kept while we are further down, if it is not too far.
    open: Option<File>,
    /// The path, if nobody but root can change where it leads.
    place: Option<PathBuf>,
    /// Device and inode.
    id: (u64, u64),
    mode: u32,
    /// The account whose folder this is.
    owner: Option<u32>,
    folders: Vec<CString>,
    /// There are more folders than are waiting.
    more: bool,
    /// Since the last reading something was removed.
    changed: bool,
    /// Something in here cannot be removed.
    stuck: bool,
}

impl Frame {
    fn new(name: CString, stat: &FileStat, sweep: &Sweep) -> Self {
        Self {
            name,
            open: None,
            place: None,
            id: (stat.st_dev, stat.st_ino),
            mode: stat.st_mode,
            owner: sweep.owner(stat),
            folders: Vec::new(),
            more: false,
            changed: false,
            stuck: false,
        }
    }

    fn place_of(&self, name: &CStr) -> Option<PathBuf> {
        let place = self.place.as_ref().filter(|place| place.as_os_str().len() < LONGEST_PATH)?;
        Some(place.join(OsStr::from_bytes(name.to_bytes())))
    }

    fn note(&mut self, removed: &io::Result<()>) {
        (self.changed, self.stuck) = (self.changed || removed.is_ok(), self.stuck || removed.is_err());
    }
}

impl Walk<'_> {
    fn descend(&mut self, name: CString) -> Result<(), String> {
        let folder = match at::open_folder(&self.here, &name) {
            Ok(folder) => File::from(folder),
            // A mount has a walk of its own.
            Err(error) if error.kind() == io::ErrorKind::CrossesDevices || has_gone(&error) => return Ok(()),
            Err(error) => {
                self.skipped(&name, &error.to_string());
                return Ok(());
            }
        };
        let stat = fstat(&folder).map_err(|error| error.to_string())?;
        if self.sweep.seen.contains(&(stat.st_dev, stat.st_ino)) {
            return Ok(());
        }
        let mut frame = Frame::new(name, &stat, self.sweep);
        frame.place = self.frame.place_of(&frame.name).filter(|_| is_roots(stat.st_uid, stat.st_mode));
        self.go_down(folder, frame);
        self.arrive(&stat)
    }

    fn go_down(&mut self, folder: File, frame: Frame) {
        let left = mem::replace(&mut self.here, folder);
        self.frame.open = (self.above.len() < OPEN).then_some(left);
        self.above.push(mem::replace(&mut self.frame, frame));
    }

    fn go_up(&mut self, mut above: Frame) -> Result<(File, Frame), String> {
        let up = match above.open.take() {
            Some(up) => up,
            None => {
                let up = at::open_above(&self.here).map_err(|error| error.to_string())?;
                let stat = fstat(&up).map_err(|error| error.to_string())?;
                if (stat.st_dev, stat.st_ino) != above.id {
                    return Err(format!("`{}` was moved meanwhile", self.shown(c"")));
                }
                File::from(up)
            }
        };
        Ok((mem::replace(&mut self.here, up), mem::replace(&mut self.frame, above)))
    }

    fn arrive(&mut self, stat: &FileStat) -> Result<(), String> {
        if self.frame.owner.is_some() {
            // Otherwise nothing in it can be removed. If this fails, removing says why.
            let _ = kernel::unpin(&self.here);
        } else {
            self.disown_folder(stat);
        }
        self.read()
    }

    /// Deals with everything in this folder that is no folder, and makes the folders wait.
    fn read(&mut self) -> Result<(), String> {
        let folder = self.here.try_clone().map_err(|error| error.to_string())?;
        let mut entries = Dir::from_fd(folder.into()).map_err(|error| error.to_string())?;
        for entry in entries.iter() {
            let entry = match entry {
                Ok(entry) => entry,
                Err(error) => {
                    self.skipped(c"", error.desc());
                    break;
                }
            };
            let name = entry.file_name();
            if name == c"." || name == c".." {
                continue;
            }
            self.sweep.spend()?;
            if entry.file_type() == Some(Type::Directory) {
                self.wait(name);
            } else {
                self.visit(name);
            }
        }
        Ok(())
    }

    fn wait(&mut self, name: &CStr) {
        if self.waiting >= WAITING && self.frame.folders.len() >= FEW {
            self.frame.more = true;
        } else {
            self.frame.folders.push(name.to_owned());
            self.waiting += 1;
        }
    }

    /// Another reading comes to other folders only if some of those before have gone.
    fn read_on(&mut self) -> Result<(), String> {
        if mem::take(&mut self.frame.changed) {
            return self.read();
        }
        self.skipped(c"", "too many folders to look into all of them");
        Ok(())
    }

    fn visit(&mut self, name: &CStr) {
        match at::stat(&self.here, name) {
            Ok(None) => {}
            // Some file systems do not say in their lists what is a folder.
            Ok(Some(stat)) if at::is_folder(&stat) => self.wait(name),
            Ok(Some(stat)) => match self.sweep.owner(&stat) {
                Some(uid) => self.take_away(name, &stat, uid),
                None => self.disown_file(name, &stat),
            },
            Err(error) => self.skipped(name, &error.to_string()),
        }
    }

    fn take_away(&mut self, name: &CStr, stat: &FileStat, uid: u32) {
        // The node of a device belongs to the system, whoever was logged in at it.
        let is_node = matches!(at::kind(stat), SFlag::S_IFCHR | SFlag::S_IFBLK) && self.top.ends_with("dev");
        if is_node {
            let given = give::file(&self.here, name);
            return self.report(uid, Residue::File, name, ", a device: it is root's now", given);
        }
        let removed = at::remove_file(&self.here, name);
        self.frame.note(&removed);
        let is_setuid = at::kind(stat) == SFlag::S_IFREG && stat.st_mode & 0o6000 != 0;
        self.report(uid, Residue::File, name, if is_setuid { " (setuid)" } else { "" }, removed);
    }

    /// All that is in here was dealt with. Says whether there is a folder above, in which to go on.
    fn leave(&mut self) -> Result<bool, String> {
        let Some(above) = self.above.pop() else {
            if let Some(uid) = self.frame.owner {
                let given = give::folder(&self.here, self.frame.mode);
                self.report(uid, Residue::File, c"", ", the top of a file system: it is root's now", given);
            }
            return Ok(false);
        };
        let (left, folder) = self.go_up(above)?;
        if let Some(uid) = folder.owner {
            self.finish(left, folder, uid)?;
        }
        Ok(true)
    }

    /// An account's folder, seen from the one above it.
    fn finish(&mut self, left: File, mut folder: Frame, uid: u32) -> Result<(), String> {
        let removed = at::remove_folder(&self.here, &folder.name);
        let is_full = matches!(&removed, Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty);
        if is_full && mem::take(&mut folder.changed) {
            // Names may be passed over in a reading during which others are taken away.
            self.go_down(left, folder);
            return self.read();
        }
        if is_full && !folder.stuck {
            let given = give::folder(&left, folder.mode);
            let words = ", a folder that holds files of others: it is root's now";
            self.report(uid, Residue::File, &folder.name, words, given);
            return Ok(());
        }
        self.frame.note(&removed);
        self.report(uid, Residue::File, &folder.name, "", removed);
        Ok(())
    }

    // --- what is somebody else's, and yet an account has a part in it

    fn disown_folder(&mut self, stat: &FileStat) {
        if let Some(gid) = self.sweep.group(stat) {
            let given = give::folders_group(&self.here, stat.st_mode);
            self.report(gid, Residue::File, c"", " (its group)", given);
        }
        for list in [acl::ACCESS, acl::DEFAULT] {
            if self.has_lists && self.is_listed(self.here.get_xattr(list)) {
                self.strike_out(c"", &give::by_descriptor(&self.here), list);
            }
        }
    }

    fn disown_file(&mut self, name: &CStr, stat: &FileStat) {
        if let Some(gid) = self.sweep.group(stat) {
            let given = give::files_group(&self.here, name);
            self.report(gid, Residue::File, name, " (its group)", given);
        }
        if !self.has_lists || at::kind(stat) == SFlag::S_IFLNK {
            return;
        }
        // There is no such call by descriptor and name that all kernels have, and opening somebody's file or device
        // may do something. By way of `/proc` it costs three times what a path does, so that is for folders of others.
        let path = self.frame.place_of(name);
        let path =
            path.unwrap_or_else(|| give::by_descriptor(&self.here).join(OsStr::from_bytes(name.to_bytes())));
        if !self.is_listed(xattr::get(&path, acl::ACCESS)) {
            return;
        }
        // Now that it matters: by descriptor, since the name may stand for something else in a moment.
        if let Ok(file) = at::open_path(&self.here, name) {
            self.strike_out(name, &give::by_descriptor(&file), acl::ACCESS);
        }
    }

    /// Whether one of the accounts is named in this list.
    fn is_listed(&mut self, list: io::Result<Option<Vec<u8>>>) -> bool {
        match list {
            Ok(Some(list)) => !acl::named(&list, &self.sweep.uids).is_empty(),
            Ok(None) => false,
            Err(error) => {
                self.has_lists &= !acl::are_unknown(&error);
                false
            }
        }
    }

    fn strike_out(&mut self, name: &CStr, path: &Path, list: &str) {
        let Ok(Some(old)) = xattr::get_deref(path, list) else { return };
        let Some(new) = acl::without(&old, &self.sweep.uids) else { return };
        let needless = list == acl::DEFAULT && acl::is_base(&new);
        let struck =
            if needless { xattr::remove_deref(path, list) } else { xattr::set_deref(path, list, &new) };
        let struck = struck.map_err(|error| error.to_string());
        for uid in acl::named(&old, &self.sweep.uids) {
            let struck = struck.clone().map_err(io::Error::other);
            self.report(uid, Residue::Acl, name, " (its access list)", struck);
        }
    }

    // --- words

    fn report(&mut self, uid: u32, kind: Residue, name: &CStr, words: &str, removed: io::Result<()>) {
        let (top, above, frame) = (self.top, &self.above, &self.frame);
        self.sweep.report(uid, kind, || shown(top, above, frame, name) + words, removed);
    }

    fn shown(&self, name: &CStr) -> String {
        shown(self.top, &self.above, &self.frame, name)
    }

    fn skipped(&mut self, name: &CStr, why: &str) {
        let place = self.shown(name);
        self.sweep.unswept(&place, why);
    }
}

/// Whether nobody but root can put something else into a folder's place.
fn is_firm(folder: &Path) -> bool {
    folder.symlink_metadata().is_ok_and(|meta| is_roots(meta.uid(), meta.mode()))
}

fn is_roots(uid: u32, mode: u32) -> bool {
    uid == 0 && mode & 0o022 == 0
}

/// It is no folder any longer, or not there.
fn has_gone(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
        || error.raw_os_error() == Some(nix::libc::ELOOP)
}

/// The path, of which the middle is left out if it is long. Without a name: of the folder itself.
fn shown(top: &Path, above: &[Frame], frame: &Frame, name: &CStr) -> String {
    const MOST: usize = Cleaning::LONGEST_LINE * 2 / 3;
    let names =
        std::iter::once(name).chain(above.iter().skip(1).chain([frame]).rev().map(|frame| &*frame.name));
    let mut path: Vec<&[u8]> = Vec::new();
    let mut length = 0;
    for name in names.filter(|name| !name.is_empty()) {
        length += name.to_bytes().len() + 1;
        if length > MOST {
            path.push("…".as_bytes());
            break;
        }
        path.push(name.to_bytes());
    }
    path.push(top.as_os_str().as_bytes().strip_suffix(b"/").unwrap_or(top.as_os_str().as_bytes()));
    path.reverse();
    at::shown(&path.join(&b'/'))
}
