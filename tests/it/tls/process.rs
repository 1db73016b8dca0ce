//! A server process that serves people and agents over TLS.

use super::authority::Issued;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use tests::port::free_port;
use tests::real::{binary, until};

pub(super) struct Process {
    pub(super) folder: tempfile::TempDir,
    pub(super) port: u16,
    pub(super) agents_port: u16,
    child: Child,
}

impl Process {
    /// Returns when it answers.
    pub(super) async fn start(issued: &Issued) -> Self {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), issued);
        let (port, agents_port) = (free_port(), free_port());
        let child = command(folder.path(), port, agents_port).spawn().expect("the server is built");
        let process = Self { folder, port, agents_port, child };
        until("it listens", async || {
            assert!(!process.log().contains("Error"), "{}", process.log());
            tokio::net::TcpStream::connect(("127.0.0.1", process.port)).await.is_ok()
        })
        .await;
        process
    }

    /// What becomes of a server with these files.
    pub(super) fn refused(certificate: &str, key: &str) -> String {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), &Issued { certificate: certificate.to_owned(), key: key.to_owned() });
        let status = command(folder.path(), free_port(), free_port()).status().unwrap();
        assert!(!status.success());
        log(folder.path())
    }

    /// Gives it another certificate, and says so.
    pub(super) async fn renew(&self, issued: &Issued, says: &str) {
        write(self.folder.path(), issued);
        let told = self.log().matches(says).count();
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-HUP", &pid]).status().unwrap().success());
        until(says, async || self.log().matches(says).count() > told).await;
    }

    pub(super) fn log(&self) -> String {
        log(self.folder.path())
    }

    pub(super) fn url(&self) -> String {
        format!("https://localhost:{}", self.port)
    }

    pub(super) fn curl(&self, ca: &Path, arguments: &[&str]) -> Output {
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--show-error", "--cacert"]).arg(ca).args(arguments);
        curl.arg(format!("{}/v1/version", self.url())).output().expect("curl is installed")
    }

    /// Which certificate a client is shown, as openssl prints it.
    pub(super) fn shown(&self) -> String {
        let mut client = Command::new("openssl");
        client.args([
            "s_client",
            "-servername",
            "localhost",
            "-connect",
            &format!("127.0.0.1:{}", self.port),
        ]);
        let shown = client.stdin(Stdio::null()).output().expect("openssl is installed").stdout;
        String::from_utf8_lossy(&shown).into_owned()
    }

    /// Tells it to stop, and waits until it has.
    pub(super) fn stop(&mut self) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").arg(&pid).status().unwrap().success());
        assert!(self.child.wait().unwrap().success(), "{}", self.log());
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn command(folder: &Path, port: u16, agents_port: u16) -> Command {
    let log = fs::File::options().create(true).append(true).open(folder.join("api.log")).unwrap();
    let mut server = Command::new(binary("debug", "berth-server"));
    server.args(["--tls-certificate", "certificate.pem", "--tls-key", "key.pem"]);
    server.args(["--listen", &format!("127.0.0.1:{port}")]);
    server.args(["--agent-listen", &format!("tls:127.0.0.1:{agents_port}")]);
    server.current_dir(folder).stdout(Stdio::null()).stderr(log);
    server
}

fn write(folder: &Path, issued: &Issued) {
    let file = |name: &str| -> PathBuf { folder.join(name) };
    fs::write(file("certificate.pem"), &issued.certificate).unwrap();
    fs::write(file("key.pem"), &issued.key).unwrap();
}

fn log(folder: &Path) -> String {
    fs::read_to_string(folder.join("api.log")).unwrap_or_default()
}
