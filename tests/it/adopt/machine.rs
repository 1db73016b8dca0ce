//! A machine with an SSH server and nothing of ours, which a real server visits and whose agent could dial it.

use super::ask;
use cli::Client;
use model::MachineName;
use model::adoption::{AdoptionView, Stage};
use model::phase::Phase;
use model::report::EndsBy;
use model::wire::{MachineView, ReservationView};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use tests::container::{Container, eventually, said};
use tests::real::{RealFarm, until};

const ROOTS: &str = "correct-horse-7";
/// What it takes of systemd: a unit is started, and started again when it fails.
const SYSTEMCTL: &str = r#"#!/bin/sh
echo "systemctl $*" >>/root/said
alive() { [ -e /run/unit.pid ] && kill -0 -- -$(cat /run/unit.pid) 2>/dev/null; }
case $1 in
start)
    alive && exit 0
    start=$(sed -n 's/^ExecStart=//p' /etc/systemd/system/$2.service)
    setsid sh -c "until $start; do sleep 1; done" </dev/null >/dev/null 2>&1 &
    echo $! >/run/unit.pid ;;
stop)
    alive && kill -- -$(cat /run/unit.pid)
    while alive; do sleep 0.1; done ;;
esac
"#;
/// What it takes of OpenRC: a script of shell variables is started in the background.
const RC_SERVICE: &str = r#"#!/bin/sh
echo "rc-service $*" >>/root/said
. /etc/init.d/$1
alive() { [ -e $pidfile ] && kill -0 $(cat $pidfile) 2>/dev/null; }
if alive; then
    kill $(cat $pidfile)
    while alive; do sleep 0.1; done
fi
if [ $2 = restart ]; then
    setsid $command $command_args </dev/null >/dev/null 2>&1 &
    echo $! >$pidfile
fi
"#;
const RC_UPDATE: &str = "#!/bin/sh\necho \"rc-update $*\" >>/root/said\n";

/// Who starts services there; by stand-ins, as a container has neither.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Services {
    None,
    Systemd,
    OpenRc,
}

pub(super) struct Visited {
    pub(super) container: Container,
    pub(super) client: Client,
    pub(super) name: MachineName,
    services: Services,
    log: Box<dyn Fn() -> String + Send + Sync>,
}

impl Visited {
    /// Returns when it has been visited.
    pub(super) async fn register(farm: &RealFarm, name: &str, image: &str, services: Services) -> Self {
        let container = start(farm, image);
        services.install(&container);
        let client = Client::new(&format!("http://{}", farm.address)).unwrap();
        let new = serde_json::json!({
            "name": name, "host": "127.0.0.1", "port": container.ssh_port(),
            "ssh": {"password": ROOTS, "host_key": "accept-new"},
        });
        client.machine_create(&serde_json::from_value(new).unwrap(), None).await.unwrap();
        let log = farm.folder.path().join("api.log");
        let log = Box::new(move || fs::read_to_string(&log).unwrap_or_default());
        let machine = Self { container, client, name: name.parse().unwrap(), services, log };
        until("it is visited", async || machine.get().await.state == "free").await;
        machine
    }

    pub(super) async fn get(&self) -> MachineView {
        self.client.machine_get(&self.name).await.unwrap().body
    }

    pub(super) async fn adoption(&self) -> Option<AdoptionView> {
        self.get().await.ssh.unwrap().adoption
    }

    pub(super) async fn reserve(&self, username: &str) -> ReservationView {
        let made = self.client.reservation_create(&ask(username, self.name.as_str()), None).await;
        let made = made.unwrap_or_else(|error| panic!("{error}; {}", (self.log)())).body;
        assert_eq!(made.phase, Phase::Ready, "{made:?} {}", (self.log)());
        made
    }

    /// And its agent has reported.
    pub(super) async fn until_adopted(&self) {
        let adopted = async || {
            let seen = self.get().await;
            let stage = seen.ssh.and_then(|ssh| ssh.adoption).map(|adoption| adoption.stage);
            stage == Some(Stage::Adopted) && seen.facts.ends_by == Some(EndsBy::Agent)
        };
        until(&format!("its agent speaks for it; see {}", (self.log)()), adopted).await;
    }

    pub(super) async fn until_visited(&self) {
        let visited = async || {
            let seen = self.get().await;
            seen.ssh.is_some_and(|ssh| ssh.adoption.is_none()) && seen.state == "free"
        };
        until(&format!("it is visited again; see {}", (self.log)()), visited).await;
    }

    /// Everything that says who somebody is, and whose home is whose.
    pub(super) fn entries(&self, user: &str) -> String {
        let files = "cat /etc/passwd /etc/shadow /etc/group 2>/dev/null";
        self.container
            .run(&format!("{files} | grep -w {user} || true; ls -dlni /home/{user} 2>/dev/null || true"))
    }

    /// The one that somebody started and left; her connections end a moment after she has gone.
    pub(super) fn process_of(&self, uid: u32) -> u32 {
        eventually("there is one", || self.container.processes(uid).len() == 1);
        self.container.processes(uid)[0]
    }

    /// But for the ledger, which visits go on with.
    pub(super) fn nothing_of_a_service_is_left(&self) {
        for file in [
            "/usr/local/sbin/berth-agent",
            "/var/lib/berth/identity.json",
            "/var/lib/berth/join-token",
            "/var/lib/berth/ca.pem",
            "/etc/systemd/system/berth-agent.service",
            "/etc/init.d/berth-agent",
            "/etc/cron.d/berth-agent",
        ] {
            assert!(!self.container.path(file).exists(), "{file} is left");
        }
        eventually("no agent runs", || {
            ["run", "keep"].iter().all(|what| self.container.agents(what).is_empty())
        });
        let asked = fs::read_to_string(self.container.path("/root/said")).unwrap_or_default();
        let expected: &[&str] = match self.services {
            Services::None => &[],
            Services::Systemd => &["systemctl enable berth-agent", "systemctl disable berth-agent"],
            Services::OpenRc => &["rc-update add berth-agent default", "rc-update del berth-agent default"],
        };
        assert!(expected.iter().all(|words| asked.contains(words)), "{asked}");
    }
}

impl Services {
    fn install(self, container: &Container) {
        let (folder, scripts): (_, &[(&str, &str)]) = match self {
            Self::None => return,
            Self::Systemd => ("/run/systemd/system", &[("/usr/bin/systemctl", SYSTEMCTL)]),
            Self::OpenRc => (
                "/run/openrc",
                &[
                    ("/sbin/openrc-run", "#!/bin/sh\n"),
                    ("/sbin/rc-service", RC_SERVICE),
                    ("/sbin/rc-update", RC_UPDATE),
                ],
            ),
        };
        fs::create_dir_all(container.path(folder)).unwrap();
        for (path, script) in scripts {
            fs::write(container.path(path), script).unwrap();
            fs::set_permissions(container.path(path), fs::Permissions::from_mode(0o755)).unwrap();
        }
    }
}

/// Without an agent, but with the folder of the socket that agents dial.
fn start(farm: &RealFarm, image: &str) -> Container {
    let door = format!("{}:/run/berth", farm.folder.path().join("data/agent").display());
    let script = format!(
        "echo root:{ROOTS} | chpasswd; mkdir -p /run/sshd; ssh-keygen -qA; \
         /usr/sbin/sshd -o PermitRootLogin=yes; touch /run/up; while :; do sleep 1; done"
    );
    let mut docker = Command::new("docker");
    docker.args(["run", "-d", "-p", "127.0.0.1::22", "--entrypoint", "/bin/sh", "-v", &door]);
    let id = said(docker.args([image, "-c", &script]));
    let pid = said(Command::new("docker").args(["inspect", "-f", "{{.State.Pid}}", &id]));
    let container = Container { id, pid: pid.parse().unwrap() };
    eventually("the container is up", || container.path("/run/up").exists());
    container
}
