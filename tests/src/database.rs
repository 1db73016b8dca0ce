//! Databases for tests: SQLite in the test's folder, and a private PostgreSQL that ends with the test process.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

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

struct Cluster {
    folder: PathBuf,
    bin: PathBuf,
    made: AtomicU32,
}

impl Cluster {
    fn shared() -> &'static Self {
        static SHARED: OnceLock<Cluster> = OnceLock::new();
        SHARED.get_or_init(Self::start)
    }

    fn start() -> Self {
        let bin = newest_bin();
        let folder = tempfile::Builder::new().prefix("berth-pg-").tempdir().unwrap().keep();
        run(Command::new("chown").arg("postgres:").arg(&folder));
        let data = folder.join("data");
        run(as_postgres(&bin, "initdb").arg("-D").arg(&data).args([
            "-A",
            "trust",
            "-U",
            "postgres",
            "--no-sync",
        ]));
        let (socket, binary) = (folder.clone(), bin.clone());
        let (tell, started) = std::sync::mpsc::channel();
        // The child dies with the thread that started it, so that thread stays as long as the process.
        std::thread::spawn(move || {
            let mut server = as_postgres(&binary, "postgres");
            server.arg("-D").arg(&data).arg("-k").arg(&socket);
            server.args(["-c", "listen_addresses=", "-c", "fsync=off", "-c", "max_connections=300"]);
            let child = server.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
            tell.send(child.is_ok()).unwrap();
            if let Ok(mut child) = child {
                let _ = child.wait();
            }
        });
        assert!(started.recv().unwrap(), "cannot start PostgreSQL: install Debian's package `postgresql`");
        let cluster = Self { folder, bin, made: AtomicU32::new(0) };
        cluster.wait();
        cluster
    }

    fn wait(&self) {
        for _ in 0..200 {
            let ready = Command::new(self.bin.join("pg_isready")).arg("-h").arg(&self.folder).output();
            if ready.is_ok_and(|ready| ready.status.success()) {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        panic!("PostgreSQL did not come up in {}", self.folder.display());
    }

    fn create(&self) -> String {
        let name = format!("t{}", self.made.fetch_add(1, Ordering::Relaxed));
        run(Command::new(self.bin.join("createdb"))
            .arg("-h")
            .arg(&self.folder)
            .args(["-U", "postgres", &name]));
        let host = self.folder.display().to_string().replace('/', "%2F");
        format!("postgres://postgres@{host}/{name}")
    }
}

/// PostgreSQL refuses to be root; it also ends when we do.
fn as_postgres(bin: &Path, program: &str) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--reuid", "postgres", "--regid", "postgres", "--clear-groups"]);
    command.arg(bin.join(program)).current_dir("/");
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
