//! Who starts the agent on a machine, and starts it again when it fails: systemd, OpenRC, or a process of our own.

use crate::keeper;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::{fs, io};

const NAME: &str = "berth-agent";
const UNIT: &str = "/etc/systemd/system/berth-agent.service";
const SCRIPT: &str = "/etc/init.d/berth-agent";
/// Where cron is, it starts the agent after a reboot; elsewhere somebody has to, if there is no service manager.
const CRON: &str = "/etc/cron.d/berth-agent";

/// What is to run.
pub(crate) struct Service {
    pub(crate) program: PathBuf,
    pub(crate) state: String,
    pub(crate) server: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Manager {
    Systemd,
    OpenRc,
    /// There is none that we know.
    Itself,
}

impl Manager {
    pub(crate) const ALL: [Self; 3] = [Self::Systemd, Self::OpenRc, Self::Itself];

    /// The one that runs, whatever others are installed.
    pub(crate) fn of_this_machine() -> Self {
        if Path::new("/run/systemd/system").is_dir() {
            Self::Systemd
        } else if Path::new("/sbin/openrc-run").exists() && Path::new("/run/openrc").is_dir() {
            Self::OpenRc
        } else {
            Self::Itself
        }
    }

    /// What it reads: path, mode, text.
    pub(crate) fn files(self, service: &Service) -> Vec<(PathBuf, u32, String)> {
        match self {
            Self::Systemd => vec![(UNIT.into(), 0o644, service.unit())],
            Self::OpenRc => vec![(SCRIPT.into(), 0o755, service.script())],
            Self::Itself if Path::new(CRON).parent().is_some_and(Path::is_dir) => {
                vec![(CRON.into(), 0o644, service.cron())]
            }
            Self::Itself => vec![],
        }
    }

    /// The files may be others now.
    pub(crate) fn reload(self) -> io::Result<()> {
        if self == Self::Systemd { run("systemctl", &["daemon-reload"]) } else { Ok(()) }
    }

    /// Now, and whenever the machine boots.
    pub(crate) fn start(self, service: &Service) -> io::Result<()> {
        match self {
            Self::Systemd => {
                run("systemctl", &["enable", NAME])?;
                run("systemctl", &["start", NAME])
            }
            Self::OpenRc => {
                run("rc-update", &["add", NAME, "default"])?;
                // To one that has died this is a start.
                if keeper::is_there(Path::new(&service.state))? {
                    Ok(())
                } else {
                    run("rc-service", &[NAME, "restart"])
                }
            }
            Self::Itself => keeper::start(&service.program, Path::new(&service.state), &service.keep()),
        }
    }

    pub(crate) fn stop(self, state: &Path) -> io::Result<()> {
        match self {
            Self::Systemd if Path::new(UNIT).exists() => run("systemctl", &["stop", NAME]),
            Self::OpenRc if Path::new(SCRIPT).exists() => run("rc-service", &[NAME, "stop"]),
            Self::Itself => keeper::stop(state),
            Self::Systemd | Self::OpenRc => Ok(()),
        }
    }

    /// What runs goes on until it ends.
    pub(crate) fn remove(self) -> io::Result<()> {
        match self {
            Self::Systemd if Path::new(UNIT).exists() => {
                run("systemctl", &["disable", NAME])?;
                remove_if_there(Path::new(UNIT))?;
                run("systemctl", &["daemon-reload"])
            }
            Self::OpenRc if Path::new(SCRIPT).exists() => {
                run("rc-update", &["del", NAME, "default"])?;
                remove_if_there(Path::new(SCRIPT))
            }
            Self::Itself => remove_if_there(Path::new(CRON)),
            Self::Systemd | Self::OpenRc => Ok(()),
        }
    }
}

impl Service {
    fn unit(&self) -> String {
        let Self { program, state, server } = self;
        let program = program.display();
        format!(
            "[Unit]\n\
             Description=Makes the accounts that Berth lends, and ends them in time\n\
             After=network.target\n\
             StartLimitIntervalSec=0\n\
             \n\
             [Service]\n\
             ExecStart={program} --state \"{state}\" run --server \"{server}\" --join-token-file \"{state}/join-token\"\n\
             Restart=on-failure\n\
             RestartSec=5\n\
             OOMScoreAdjust=-1000\n\
             \n\
             [Install]\n\
             WantedBy=multi-user.target\n"
        )
    }

    fn script(&self) -> String {
        let Self { program, state, server } = self;
        let program = program.display();
        format!(
            "#!/sbin/openrc-run\n\
             description=\"Makes the accounts that Berth lends, and ends them in time\"\n\
             command=\"{program}\"\n\
             command_args=\"--state {state} keep --server {server}\"\n\
             command_background=true\n\
             pidfile=\"/run/berth-agent.pid\"\n\
             retry=\"TERM/40/KILL/5\"\n\
             \n\
             depend() {{\n\
             \tafter net firewall\n\
             }}\n"
        )
    }

    fn cron(&self) -> String {
        let words = self.keep().map(|word| format!("\"{word}\"")).join(" ");
        format!(
            "# No service manager starts Berth's agent on this machine.\n\
             @reboot root {} {words} >/dev/null 2>&1\n",
            self.program.display()
        )
    }

    fn keep(&self) -> [&str; 5] {
        ["--state", &self.state, "keep", "--server", &self.server]
    }
}

/// A path that means the same in all of these files.
pub(crate) fn shell_word(path: &Path) -> io::Result<String> {
    let allowed = |c: u8| c.is_ascii_alphanumeric() || b"/._-".contains(&c);
    let path = std::path::absolute(path)?;
    let text = path.to_str().filter(|text| text.bytes().all(allowed)).map(str::to_owned);
    let why = || format!("`{}`: use letters, digits and `/._-` only", path.display());
    text.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, why()))
}

pub(crate) fn remove_if_there(file: &Path) -> io::Result<()> {
    match fs::remove_file(file) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(io::Error::new(error.kind(), format!("cannot remove {}: {error}", file.display())))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

fn run(program: &str, arguments: &[&str]) -> io::Result<()> {
    let command = format!("{program} {}", arguments.join(" "));
    let failed = |why: &dyn std::fmt::Display| io::Error::other(format!("`{command}` failed: {why}"));
    let output = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .map_err(|error| failed(&error))?;
    if output.status.success() {
        return Ok(());
    }
    Err(failed(&String::from_utf8_lossy(&output.stderr).trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_manager_runs_the_same_program() {
        let service = Service {
            program: "/usr/local/sbin/berth-agent".into(),
            state: "/var/lib/berth".to_owned(),
            server: "unix:/run/berth/agent.sock".to_owned(),
        };
        let unit = service.unit();
        let start = "\nExecStart=/usr/local/sbin/berth-agent --state \"/var/lib/berth\" run --server \
                     \"unix:/run/berth/agent.sock\" --join-token-file \"/var/lib/berth/join-token\"\n";
        assert!(unit.contains(start), "{unit}");
        let script = service.script();
        assert!(script.starts_with("#!/sbin/openrc-run\n"), "{script}");
        assert!(
            script.contains("\"--state /var/lib/berth keep --server unix:/run/berth/agent.sock\""),
            "{script}"
        );
        let cron = "\n@reboot root /usr/local/sbin/berth-agent \"--state\" \"/var/lib/berth\" \"keep\" \"--server\" \
                    \"unix:/run/berth/agent.sock\" >/dev/null 2>&1\n";
        assert!(service.cron().ends_with(cron), "{}", service.cron());
    }

    #[test]
    fn a_path_is_one_word_everywhere() {
        assert_eq!(shell_word(Path::new("/var/lib/berth")).unwrap(), "/var/lib/berth");
        for odd in ["/var/lib/a b", "/var/lib/%h", "/var/lib/\"", "/var/lib/$x"] {
            assert!(shell_word(Path::new(odd)).is_err(), "{odd}");
        }
    }
}
