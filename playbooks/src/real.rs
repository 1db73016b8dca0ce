//! A real machine, below a root folder so that tests can use one of their own. Processes are the kernel's, whatever
//! the root.
//!
//! `/etc` and `/var` belong to root and are used by path. `/home/NAME` belongs to a tenant, who may have put links,
//! mounts or anything else there: below it everything goes by descriptor (`at`).

mod accounts;
mod at;
mod backups;
mod ballast;
mod home;
mod ipc;
mod jobs;
#[cfg(any(test, fuzzing))]
pub mod laws;
mod locks;
mod mounts;
mod notice;
mod processes;
mod root_keys;
mod sweep;

use crate::host::{Cleared, Db, Found, Home, Host, Litter, Who};
use crate::unix;
use model::UidRange;
use model::cleaning::Residue;
use model::report::Facts;
use nix::time::{ClockId, clock_gettime};
use std::ffi::CString;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use accounts::write_atomically;

pub struct RealHost {
    root: PathBuf,
    state: PathBuf,
    locks: Option<locks::Locks>,
}

impl RealHost {
    /// `state` is the agent's own folder, `/var/lib/berth` as a rule; it is not below `root` unless it says so.
    pub fn new(root: impl Into<PathBuf>, state: impl Into<PathBuf>) -> Self {
        Self { root: root.into(), state: state.into(), locks: None }
    }

    fn path(&self, absolute: &str) -> PathBuf {
        self.root.join(absolute.trim_start_matches('/'))
    }

    fn ledger(&self) -> PathBuf {
        self.state.join("ledger.json")
    }

    fn sudo_path(&self, who: &Who) -> PathBuf {
        self.path("/etc/sudoers.d").join(format!("berth-{}", who.name))
    }

    /// What [`Host::notice_write`] left for anybody to read; empty if there is nothing.
    pub fn notice(&self) -> io::Result<Vec<u8>> {
        Ok(if_there(fs::read(self.path("/run/berth-agent/status.json")))?.unwrap_or_default())
    }

    fn mail_paths(&self, who: &Who) -> [PathBuf; 2] {
        ["/var/mail", "/var/spool/mail"].map(|folder| self.path(folder).join(who.name.as_str()))
    }
}

impl Host for RealHost {
    fn facts(&mut self) -> io::Result<Facts> {
        let release = fs::read_to_string(self.path("/etc/os-release")).unwrap_or_default();
        let pretty = release.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="));
        let boot_id = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        Ok(Facts {
            os: pretty.unwrap_or("Linux").trim_matches('"').to_owned(),
            arch: std::env::consts::ARCH.to_owned(),
            agent_version: String::new(),
            boot_id: boot_id.trim().to_owned(),
            ends_by: None,
        })
    }

    fn uptime(&mut self) -> Duration {
        since_boot()
    }

    fn rest(&mut self, lasts: Duration) {
        std::thread::sleep(lasts);
    }

    fn has_uids(&mut self, uids: UidRange) -> io::Result<bool> {
        processes::has_ids(uids)
    }

    fn read_ledger(&mut self) -> io::Result<Option<Vec<u8>>> {
        if_there(fs::read(self.ledger()))
    }

    fn write_ledger(&mut self, bytes: &[u8]) -> io::Result<()> {
        private_folder(&self.state)?;
        write_atomically(&self.ledger(), 0o600, bytes)
    }

    fn ballast_keep(&mut self) -> io::Result<()> {
        ballast::keep(&self.state, &self.path("/etc"))
    }

    fn ballast_drop(&mut self) -> io::Result<()> {
        ballast::free(&self.state, &self.path("/etc"))
    }

    fn lock_accounts(&mut self) -> io::Result<()> {
        if self.locks.is_none() {
            self.locks = Some(locks::Locks::take(&self.path("/etc"))?);
        }
        Ok(())
    }

    fn unlock_accounts(&mut self) -> io::Result<()> {
        self.locks = None;
        Ok(())
    }

    fn read(&mut self, db: Db) -> io::Result<Option<Vec<u8>>> {
        if_there(fs::read(self.path("/etc").join(db.file_name())))
    }

    fn replace_all(&mut self, files: &[(Db, Vec<u8>)]) -> io::Result<()> {
        let etc = self.path("/etc");
        let path = |(db, bytes): &(Db, Vec<u8>)| (etc.join(db.file_name()), bytes.clone());
        accounts::replace_all(&etc, &files.iter().map(path).collect::<Vec<_>>())
    }

    fn password_spoil(&mut self, who: &Who) -> io::Result<()> {
        let etc = self.path("/etc");
        // Lock files need free disk as well; the kernel's lock does not.
        let _lock = if self.locks.is_none() { Some(locks::lckpwdf(&etc.join(".pwd.lock"))?) } else { None };
        let (passwd, shadow) = (fs::read(etc.join("passwd"))?, fs::read(etc.join("shadow"))?);
        match unix::password_at(&passwd, &shadow, who.name.as_str(), who.uid) {
            None => Ok(()),
            Some(at) => File::options().write(true).open(etc.join("shadow"))?.write_all_at(b"!", at as u64),
        }
    }

    fn has_program(&mut self, path: &str) -> io::Result<bool> {
        let there = if_there(fs::metadata(self.path(path)))?;
        Ok(there.is_some_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0))
    }

    fn home(&mut self, who: &Who) -> io::Result<Home> {
        // What one tenant did must not keep us from seeing the others.
        home::look(&self.path("/home"), who).or_else(|error| Ok(Home::Unreadable(error.to_string())))
    }

    fn home_create(&mut self, who: &Who, keys: &[u8]) -> io::Result<()> {
        home::create(&self.path("/home"), &self.path("/etc/skel"), who, keys)
    }

    fn home_remove(&mut self, who: &Who) -> io::Result<()> {
        home::remove(&self.path("/home"), who)
    }

    fn keys_write(&mut self, who: &Who, keys: &[u8]) -> io::Result<()> {
        home::write_keys(&self.path("/home"), who, keys)
    }

    fn keys_remove(&mut self, who: &Who) -> io::Result<()> {
        home::remove_keys(&self.path("/home"), who)
    }

    fn has_root_keys(&mut self) -> io::Result<bool> {
        root_keys::are_read(&self.root)
    }

    fn root_keys(&mut self, who: &Who) -> io::Result<Option<Vec<u8>>> {
        root_keys::read(&self.root, who.name.as_str())
    }

    fn root_keys_write(&mut self, who: &Who, keys: &[u8]) -> io::Result<()> {
        root_keys::write(&self.root, who.name.as_str(), keys)
    }

    fn root_keys_remove(&mut self, who: &Who) -> io::Result<()> {
        root_keys::remove(&self.root, who.name.as_str())
    }

    fn sudo(&mut self, who: &Who) -> io::Result<Option<Vec<u8>>> {
        if_there(fs::read(self.sudo_path(who)))
    }

    fn sudo_write(&mut self, who: &Who, rule: &[u8]) -> io::Result<()> {
        write_atomically(&self.sudo_path(who), 0o440, rule)
    }

    fn sudo_remove(&mut self, who: &Who) -> io::Result<()> {
        if_there(fs::remove_file(self.sudo_path(who))).map(drop)
    }

    fn has_sudo(&mut self) -> io::Result<bool> {
        Ok(self.path("/etc/sudoers.d").is_dir())
    }

    fn mail(&mut self, who: &Who) -> io::Result<bool> {
        Ok(self.mail_paths(who).iter().any(|path| is_of(path, who)))
    }

    fn mail_remove(&mut self, who: &Who) -> io::Result<()> {
        for path in self.mail_paths(who).iter().filter(|path| is_of(path, who)) {
            if let Some(folder) = path.parent() {
                at::remove_tree(&at::open_trusted(folder)?, &CString::new(who.name.as_str())?)?;
            }
        }
        Ok(())
    }

    fn processes(&mut self, uid: u32) -> io::Result<Vec<i32>> {
        processes::of(uid)
    }

    fn kill_all(&mut self, uid: u32) -> io::Result<()> {
        processes::kill_all(uid)
    }

    fn litter_remove(&mut self, whose: &[Who], litter: Litter) -> io::Result<Cleared> {
        let found = match litter {
            Litter::Jobs => jobs::remove(&self.root, whose)?,
            Litter::Mounts => mounts::remove(&self.root, whose)?,
            Litter::Ipc => ipc::remove(whose)?,
            Litter::Backups => backups::remove(&self.path("/etc"), whose, self.locks.is_some())?,
            Litter::Files => return sweep::sweep(&self.root, whose, sweep::Budget::default()),
        };
        Ok(Cleared { found, unswept: Vec::new() })
    }

    fn notice_write(&mut self, line: &str, status: &[u8]) -> io::Result<()> {
        notice::write_line(&self.path("/etc/motd"), line)?;
        notice::write_status(&self.path("/run/berth-agent/status.json"), status)
    }

    fn tell(&mut self, who: &Who, text: &str) -> io::Result<()> {
        notice::tell(&self.path("/dev/pts"), who, text)
    }
}

/// A folder that only root can look into.
pub fn private_folder(path: &Path) -> io::Result<()> {
    if !path.is_dir() {
        fs::create_dir_all(path)?;
        fs::set_permissions(path, fs::Permissions::from_mode(0o700))?;
    }
    Ok(())
}

/// The name alone may be another one's by now.
fn is_of(path: &Path, who: &Who) -> bool {
    path.symlink_metadata().is_ok_and(|meta| meta.uid() == who.uid)
}

fn since_boot() -> Duration {
    // This clock is there since Linux 2.6.39.
    clock_gettime(ClockId::CLOCK_BOOTTIME).map_or(Duration::ZERO, Duration::from)
}

fn found(uid: u32, kind: Residue, what: String, removed: io::Result<()>) -> Found {
    Found { uid, kind, what, removed: removed.map_err(|error| error.to_string()) }
}

fn if_there<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        other => other.map(Some),
    }
}
