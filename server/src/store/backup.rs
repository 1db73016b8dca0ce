//! Copies of a database: made while a server writes to it, and put back while none does.

use super::connection::{Conn, Connector};
use super::event::event_page;
use super::restore::Restored;
use super::{EPOCH, meta};
use anyhow::{Context, anyhow, bail, ensure};
use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Text};
use model::audit::Chain;
use model::{Epoch, Timestamp};
use std::ffi::OsString;
use std::fs::{self, File, Permissions};
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// What every SQLite database begins with.
const MAGIC: &[u8; 16] = b"SQLite format 3\0";
const PAGE: u32 = 1000;

/// What a backup holds.
#[derive(Debug)]
pub struct Copied {
    pub bytes: u64,
    pub last_event: Option<(i64, Timestamp)>,
}

/// Where a database comes from.
pub(super) struct Source {
    pub name: String,
    /// The epoch of the database it replaces.
    pub replaced: Option<Epoch>,
}

/// Writes a copy of the database, as it is at one moment, to a file that does not exist yet. A server may go on writing.
/// Blocks.
pub fn backup(url: &str, file: &Path) -> anyhow::Result<Copied> {
    let connector = Connector::new(url);
    if connector.is_shared() {
        bail!(
            "PostgreSQL has a tool of its own for this: `pg_dump --format=custom --file={} {}`",
            file.display(),
            without_password(url)
        );
    }
    ensure!(Path::new(url).is_file(), "there is no database `{url}`: give `--database`");
    ensure!(!file.exists(), "`{}` exists already: a backup overwrites nothing", file.display());
    let folder = folder_of(file);
    let copy = tempfile::Builder::new()
        .prefix(".backup-")
        .tempfile_in(&folder)
        .with_context(|| format!("cannot write to the folder `{}`", folder.display()))?;
    // An empty file is what `VACUUM INTO` accepts beside none, and it keeps the mode of ours, 0600.
    let mut live = plain(Path::new(url))?;
    diesel::sql_query("VACUUM INTO ?")
        .bind::<Text, _>(utf8(copy.path())?)
        .execute(&mut live)
        .with_context(|| format!("cannot copy `{url}`"))?;
    let mut copied = plain(copy.path())?;
    check_integrity(&mut copied).context("the database is damaged, and a copy of it would be no backup")?;
    let last_event = read_record(&mut copied).context("the record of events is not as it was written")?;
    drop(copied);
    let bytes = copy.as_file().metadata()?.len();
    copy.as_file().sync_all()?;
    copy.persist_noclobber(file)
        .map_err(|refused| refused.error)
        .with_context(|| format!("cannot name the backup `{}`", file.display()))?;
    File::open(&folder)?.sync_all()?;
    Ok(Copied { bytes, last_event })
}

/// Checks a backup and has it changed in a folder beside the database, before it takes the database's place.
pub(super) fn put_back(
    connector: &Connector,
    file: &Path,
    now: Timestamp,
    change: impl FnOnce(&mut Conn, &Source) -> anyhow::Result<Restored>,
) -> anyhow::Result<Restored> {
    if connector.is_shared() {
        bail!(
            "PostgreSQL has a tool of its own for this: stop every server, run `pg_restore --clean --if-exists --no-owner \
             --dbname={} {}`, and then `berth-server restore` without a file",
            without_password(connector.url()),
            file.display()
        );
    }
    let database = Path::new(connector.url());
    let folder = folder_of(database);
    let beside = tempfile::Builder::new()
        .prefix(".restore-")
        .tempdir_in(&folder)
        .with_context(|| format!("cannot write to the folder `{}`", folder.display()))?;
    let copy = beside.path().join("berth.db");
    copy_database(file, &copy)?;
    let source = Source { name: format!("`{}`", file.display()), replaced: settle(database) };
    let restored = in_place(&Connector::new(utf8(&copy)?), |conn| change(conn, &source))
        .with_context(|| format!("`{}` is not restored, and nothing has changed", file.display()))?;
    let kept = swap(&copy, database, now)?;
    Ok(Restored { kept, ..restored })
}

/// Checks a database that nobody uses, brings it up to date, and changes it.
pub(super) fn in_place(
    connector: &Connector,
    change: impl FnOnce(&mut Conn) -> anyhow::Result<Restored>,
) -> anyhow::Result<Restored> {
    if !connector.is_shared() {
        let path = Path::new(connector.url());
        ensure!(path.is_file(), "there is no database `{}`: give `--database`", path.display());
        check_integrity(&mut plain(path)?)?;
    }
    let mut conn = connector.open()?;
    refuse_others(&mut conn)?;
    refuse_strangers(&mut conn)?;
    connector.migrate()?;
    let restored = change(&mut conn)?;
    if let Conn::Sqlite(sqlite) = &mut conn {
        // All of it in one file.
        sqlite.batch_execute("PRAGMA wal_checkpoint(TRUNCATE); PRAGMA journal_mode = DELETE;")?;
    }
    Ok(restored)
}

/// The number and time of the last event, if all are as they were written.
pub(super) fn read_record(conn: &mut Conn) -> anyhow::Result<Option<(i64, Timestamp)>> {
    let (mut chain, mut last) = (Chain::default(), None);
    loop {
        let after = last.map_or(0, |(seq, _)| seq);
        let page = event_page(conn, after, PAGE)?;
        for event in &page {
            chain.add(event)?;
            last = Some((event.seq, event.at));
        }
        if page.len() < PAGE as usize {
            return Ok(last);
        }
    }
}

/// Without the settings of a server's connection, which would leave files beside it.
fn plain(path: &Path) -> anyhow::Result<Conn> {
    let opened = SqliteConnection::establish(utf8(path)?);
    let mut sqlite = opened.with_context(|| format!("cannot open `{}`", path.display()))?;
    sqlite.batch_execute("PRAGMA busy_timeout = 5000;")?;
    Ok(Conn::Sqlite(sqlite))
}

fn check_integrity(conn: &mut Conn) -> anyhow::Result<()> {
    #[derive(QueryableByName)]
    struct Verdict {
        #[diesel(sql_type = Text)]
        integrity_check: String,
    }
    let found: Vec<Verdict> =
        diesel::sql_query("PRAGMA integrity_check(3)").load(conn).context("it is damaged")?;
    let said: Vec<_> = found.iter().map(|verdict| verdict.integrity_check.as_str()).collect();
    ensure!(said == ["ok"], "it is damaged: {}", said.join("; "));
    Ok(())
}

#[derive(QueryableByName)]
struct Count {
    #[diesel(sql_type = BigInt)]
    count: i64,
}

/// On PostgreSQL no lock shows whether a server runs; that somebody is connected does.
fn refuse_others(conn: &mut Conn) -> anyhow::Result<()> {
    if let Conn::Sqlite(_) = conn {
        return Ok(());
    }
    let others: Count = diesel::sql_query(
        "SELECT count(*) AS count FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()",
    )
    .get_result(conn)?;
    ensure!(
        others.count == 0,
        "{} others are connected to this database: stop every server first",
        others.count
    );
    Ok(())
}

fn refuse_strangers(conn: &mut Conn) -> anyhow::Result<()> {
    let tables = match conn {
        Conn::Sqlite(_) => {
            "SELECT count(*) AS count FROM sqlite_master WHERE name IN ('meta', 'machine', 'event')"
        }
        Conn::Postgres(_) => {
            "SELECT count(*) AS count FROM pg_tables WHERE schemaname = current_schema() AND tablename IN ('meta', 'machine', 'event')"
        }
    };
    let found: Count = diesel::sql_query(tables).get_result(conn)?;
    ensure!(found.count == 3, "it is no database of Berth's");
    Ok(())
}

fn copy_database(file: &Path, copy: &Path) -> anyhow::Result<()> {
    let cannot = || format!("cannot read `{}`", file.display());
    let mut from = File::open(file).with_context(cannot)?;
    let mut magic = Vec::new();
    from.by_ref().take(MAGIC.len() as u64).read_to_end(&mut magic).with_context(cannot)?;
    ensure!(magic == MAGIC, "`{}` is no SQLite database", file.display());
    let mut to = File::create_new(copy)?;
    to.set_permissions(Permissions::from_mode(0o600))?;
    let copied = io::copy(&mut magic.as_slice(), &mut to).and_then(|_| io::copy(&mut from, &mut to));
    copied.with_context(|| format!("cannot copy `{}` to `{}`", file.display(), copy.display()))?;
    Ok(())
}

/// Brings what a database has beside its file into it, and reads its epoch. One that is damaged stays as it is.
fn settle(database: &Path) -> Option<Epoch> {
    if !database.is_file() {
        return None;
    }
    let mut conn = plain(database).ok()?;
    conn.batch_execute("PRAGMA wal_checkpoint(TRUNCATE);").ok()?;
    meta(&mut conn, EPOCH).ok()?
}

/// At every moment there is a whole database in the place. Returns where the former one is now.
fn swap(new: &Path, database: &Path, now: Timestamp) -> anyhow::Result<Option<PathBuf>> {
    File::open(new)?.sync_all()?;
    let folder = folder_of(database);
    let kept = beside(database, &format!(".before-{}", now.strftime("%Y%m%dT%H%M%SZ")));
    let is_kept = database.is_file();
    if is_kept {
        // The log of a damaged one goes with it: it must not be taken for the new one's.
        for log in ["-wal", "-shm"] {
            match fs::rename(beside(database, log), beside(&kept, log)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
                _ => {}
            }
        }
        fs::hard_link(database, &kept)
            .with_context(|| format!("cannot keep `{}` as `{}`", database.display(), kept.display()))?;
    }
    fs::rename(new, database).with_context(|| format!("cannot put `{}` in its place", database.display()))?;
    File::open(folder)?.sync_all()?;
    Ok(is_kept.then_some(kept))
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    name.into()
}

fn folder_of(file: &Path) -> PathBuf {
    match file.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder.to_owned(),
        _ => PathBuf::from("."),
    }
}

fn utf8(path: &Path) -> anyhow::Result<&str> {
    path.to_str().ok_or_else(|| anyhow!("`{}` is no UTF-8", path.display()))
}

/// For a command line to be pasted.
fn without_password(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    match rest.split_once('@') {
        Some((user, place)) => format!("{scheme}://{}@{place}", user.split(':').next().unwrap_or_default()),
        None => url.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::without_password;

    #[test]
    fn a_password_is_not_printed() {
        assert_eq!(without_password("postgres://berth:secret@db/berth"), "postgres://berth@db/berth");
        assert_eq!(without_password("postgres:///berth"), "postgres:///berth");
    }
}
