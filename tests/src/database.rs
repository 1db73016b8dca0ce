//! Databases for tests: SQLite in the test's folder, and a private PostgreSQL that ends with the test process.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Database {
    Sqlite,
    Postgres,
}

impl Database {
    /// The URL of an empty database.
    pub fn url(self, folder: &Path) -> String {
        match self {
            Self::Sqlite => folder.join("berth.db").display().to_string(),
            Self::Postgres => Cluster::shared().create(),
        }
    }
}

/// A PostgreSQL of our own. It ends with this value, and in any case with this process.
pub struct Cluster {
    pub folder: PathBuf,
    bin: PathBuf,
    made: AtomicU32,
    /// Their standard input ends with this process.
    keepers: Vec<Child>,
}

impl Cluster {
    /// For whoever does not stop it.
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<Cluster> = OnceLock::new();
        SHARED.get_or_init(Self::start)
    }

    /// A fresh one.
    pub fn start() -> Self {
        let bin = newest_bin();
        let folder = tempfile::Builder::new().prefix("berth-pg-").tempdir().unwrap().keep();
        run(Command::new("chown").arg("postgres:").arg(&folder));
        let data = folder.join("data");
        run(as_postgres(bin.join("initdb")).arg("-D").arg(&data).args([
            "-A",
            "trust",
            "-U",
            "postgres",
            "--no-sync",
        ]));
        let mut cluster = Self { folder, bin, made: AtomicU32::new(0), keepers: vec![] };
        cluster.start_again();
        cluster
    }

    /// Where it was stopped.
    pub fn start_again(&mut self) {
        let keeper = Command::new("sh")
            .args(["-c", KEEPER])
            .arg(&self.folder)
            .args(AS_POSTGRES)
            .arg(self.bin.join("postgres"))
            .arg("-D")
            .arg(self.folder.join("data"))
            .arg("-k")
            .arg(&self.folder)
            .args(["-c", "listen_addresses=", "-c", "fsync=off", "-c", "max_connections=300"])
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("there is a shell");
        self.keepers.push(keeper);
        self.wait();
    }

    /// As if its machine had lost power: nothing is finished, and nobody is told.
    pub fn crash(&self) {
        let data = self.folder.join("data");
        run(as_postgres(self.bin.join("pg_ctl")).args(["stop", "-m", "immediate", "-D"]).arg(data));
    }

    /// The rows of an answer; columns are separated by `|`.
    pub fn rows(&self, url: &str, sql: &str) -> Vec<String> {
        let psql = Command::new(self.bin.join("psql")).args(["-XAtc", sql, url]).output().unwrap();
        assert!(psql.status.success(), "{sql}: {}", String::from_utf8_lossy(&psql.stderr));
        String::from_utf8(psql.stdout).unwrap().lines().map(str::to_owned).collect()
    }

    fn wait(&self) {
        for _ in 0..200 {
            let ready = Command::new(self.bin.join("pg_isready")).arg("-h").arg(&self.folder).output();
            if ready.is_ok_and(|ready| ready.status.success()) {
                return;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        panic!("PostgreSQL did not come up in {}", self.folder.display());
    }

    /// The URL of an empty database.
    pub fn create(&self) -> String {
        let name = format!("t{}", self.made.fetch_add(1, Ordering::Relaxed));
        run(Command::new(self.bin.join("createdb"))
            .arg("-h")
            .arg(&self.folder)
            .args(["-U", "postgres", &name]));
        let host = self.folder.display().to_string().replace('/', "%2F");
        format!("postgres://postgres@{host}/{name}")
    }
}

/// Takes the folder and a command; runs it until standard input ends, which it does with the process that started this,
/// in whatever way that ends. Then nothing is left.
const KEEPER: &str =
    r#"folder=$0; trap '' INT; "$@" & cat >/dev/null; kill -QUIT $! 2>/dev/null; wait; rm -rf "$folder""#;

/// PostgreSQL refuses to be root.
const AS_POSTGRES: [&str; 6] = ["setpriv", "--reuid", "postgres", "--regid", "postgres", "--clear-groups"];

fn as_postgres(program: PathBuf) -> Command {
    let mut command = Command::new(AS_POSTGRES[0]);
    command.args(&AS_POSTGRES[1..]).arg(program).current_dir("/");
    command
}

fn newest_bin() -> PathBuf {
    let versions = std::fs::read_dir("/usr/lib/postgresql").expect("install Debian's package `postgresql`");
    versions.map(|version| version.unwrap().path()).max().unwrap().join("bin")
}

fn run(command: &mut Command) {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for mut keeper in self.keepers.drain(..) {
            drop(keeper.stdin.take());
            let _ = keeper.wait();
        }
    }
}
