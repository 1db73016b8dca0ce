//! A machine as a container: its name, its labels, and what the engine is asked for.

use super::port::Port;
use crate::provider::{Order, Purpose};
use bollard::models::{
    ContainerCreateBody, ContainerSummary, ContainerSummaryStateEnum, HostConfig, HostConfigLogConfig, Mount,
    MountType, PortBinding, PortSummaryTypeEnum, RestartPolicy, RestartPolicyNameEnum,
};
use model::pool::{Listed, Size};
use model::service::{Inside, PORT_VARIABLE, Protocol, Service, TOKEN_VARIABLE};
use model::{Epoch, MachineId, PoolName, Timestamp};
use std::collections::{BTreeSet, HashMap};
use std::path::Path;

/// Memory in bytes of a machine whose pool does not say; there is no swap beyond it.
pub const MEMORY: i64 = 512 * 1024 * 1024;
/// Processes and threads of a machine.
pub const PIDS: i64 = 512;
/// Where the folder with the agents' door is found inside a machine.
pub const DOOR: &str = "/run/berth";

const OWNER: &str = "io.berth.owner";
const POOL: &str = "io.berth.pool";
const MACHINE: &str = "io.berth.machine";
/// The engine does not list the ports of a container that is not running.
const PORT: &str = "io.berth.port";

pub(super) type Marks = HashMap<String, String>;

/// A service is called as its operator calls it.
pub(super) fn name(order: &Order) -> String {
    match order.purpose {
        Purpose::Lent { .. } => format!("berth-{}", order.name),
        Purpose::Service { .. } => order.name.to_string(),
    }
}

/// By what its port of this host is published.
pub(super) fn protocol(order: &Order) -> Protocol {
    match &order.purpose {
        Purpose::Lent { .. } => Protocol::Tcp,
        Purpose::Service { service, .. } => service.inside.protocol,
    }
}

pub(super) fn marks(owner: Epoch, order: &Order, port: u16) -> Marks {
    let pairs = [
        (OWNER, owner.to_string()),
        (POOL, order.pool.to_string()),
        (MACHINE, order.id.to_string()),
        (PORT, Inside { port, protocol: protocol(order) }.to_string()),
    ];
    pairs.map(|(key, value)| (key.to_owned(), value)).into()
}

/// The port of a container that is this owner's and this machine.
pub(super) fn port_of(marks: &Marks, owner: Epoch, machine: MachineId) -> Option<u16> {
    let is = |key: &str, value: String| marks.get(key) == Some(&value);
    let ours = is(OWNER, owner.to_string()) && is(MACHINE, machine.to_string());
    if ours { marked_port(marks).map(|(_, port)| port) } else { None }
}

/// Earlier versions wrote no protocol.
fn marked_port(marks: &Marks) -> Option<Port> {
    let text = marks.get(PORT)?;
    match text.parse::<Inside>() {
        Ok(Inside { port, protocol }) => Some((protocol, port)),
        Err(_) => text.parse().ok().map(|port| (Protocol::Tcp, port)),
    }
}

pub(super) fn filter_pool(owner: Epoch, pool: &PoolName) -> HashMap<&'static str, Vec<String>> {
    HashMap::from([("label", vec![format!("{OWNER}={owner}"), format!("{POOL}={pool}")])])
}

pub(super) fn filter_machine(owner: Epoch, machine: MachineId) -> HashMap<&'static str, Vec<String>> {
    HashMap::from([("label", vec![format!("{OWNER}={owner}"), format!("{MACHINE}={machine}")])])
}

/// Absent if it has never started: its making was cut short and is to be repeated.
pub(super) fn listed(container: &ContainerSummary) -> Option<Listed> {
    if container.state == Some(ContainerSummaryStateEnum::CREATED) {
        return None;
    }
    let id = container.labels.as_ref()?.get(MACHINE)?.parse().ok()?;
    let created_at = Timestamp::from_second(container.created?).ok()?;
    let running = container.state == Some(ContainerSummaryStateEnum::RUNNING);
    Some(Listed { id, created_at, running })
}

/// Host ports that running containers hold and those that stopped ones of any Berth will want again.
pub(super) fn ports_taken(containers: &[ContainerSummary]) -> BTreeSet<Port> {
    let published = containers.iter().flat_map(|container| container.ports.iter().flatten());
    let published = published.filter_map(|port| match port.typ {
        Some(PortSummaryTypeEnum::UDP) => Some((Protocol::Udp, port.public_port?)),
        _ => Some((Protocol::Tcp, port.public_port?)),
    });
    let marked = containers.iter().filter_map(|container| marked_port(container.labels.as_ref()?));
    published.chain(marked).collect()
}

pub(super) fn body(order: &Order, marks: Marks, port: u16, door: &Path) -> ContainerCreateBody {
    let body = ContainerCreateBody {
        hostname: Some(order.name.to_string()),
        image: Some(order.image.clone()),
        labels: Some(marks),
        ..Default::default()
    };
    match &order.purpose {
        Purpose::Lent { size, .. } => ContainerCreateBody {
            exposed_ports: Some(vec![SSH.to_owned()]),
            host_config: Some(lent(size.as_ref(), port, door)),
            ..body
        },
        Purpose::Service { service, token } => ContainerCreateBody {
            exposed_ports: Some(vec![service.inside.to_string()]),
            env: Some(environment(service, port, token)),
            host_config: Some(serving(service, port)),
            ..body
        },
    }
}

const SSH: &str = "22/tcp";

fn lent(size: Option<&Size>, port: u16, door: &Path) -> HostConfig {
    let memory = size.map_or(MEMORY, |size| i64::from(size.memory_mib) << 20);
    HostConfig {
        memory: Some(memory),
        memory_swap: Some(memory),
        nano_cpus: size.map(|size| i64::from(size.millicpus) * 1_000_000),
        pids_limit: Some(PIDS),
        port_bindings: Some(bindings(SSH, "127.0.0.1", port)),
        restart_policy: Some(restart(RestartPolicyNameEnum::UNLESS_STOPPED)),
        mounts: Some(vec![door_mount(door)]),
        log_config: Some(small_log()),
        ..Default::default()
    }
}

fn serving(service: &Service, port: u16) -> HostConfig {
    let memory = i64::from(service.memory_mib) * 1024 * 1024;
    HostConfig {
        memory: Some(memory),
        memory_swap: Some(memory),
        nano_cpus: Some((service.cpus * 1e9).round() as i64),
        port_bindings: Some(bindings(&service.inside.to_string(), &service.address.to_string(), port)),
        restart_policy: Some(restart(RestartPolicyNameEnum::ALWAYS)),
        log_config: Some(small_log()),
        ..Default::default()
    }
}

fn environment(service: &Service, port: u16, token: &str) -> Vec<String> {
    let given = service.environment.iter().map(|(name, value)| format!("{name}={value}"));
    given.chain([format!("{PORT_VARIABLE}={port}"), format!("{TOKEN_VARIABLE}={token}")]).collect()
}

fn bindings(inside: &str, address: &str, port: u16) -> HashMap<String, Option<Vec<PortBinding>>> {
    let binding = PortBinding { host_ip: Some(address.to_owned()), host_port: Some(port.to_string()) };
    HashMap::from([(inside.to_owned(), Some(vec![binding]))])
}

fn restart(name: RestartPolicyNameEnum) -> RestartPolicy {
    RestartPolicy { name: Some(name), maximum_retry_count: None }
}

/// A read-only mount lets a socket be connected to, and keeps a tenant who is root from taking the door away
/// from every other machine.
fn door_mount(door: &Path) -> Mount {
    Mount {
        typ: Some(MountType::BIND),
        source: Some(door.to_string_lossy().into_owned()),
        target: Some(DOOR.to_owned()),
        read_only: Some(true),
        ..Default::default()
    }
}

/// The engine's own default grows until the disk is full.
fn small_log() -> HostConfigLogConfig {
    let config =
        [("max-size", "1m"), ("max-file", "2")].map(|(key, value)| (key.to_owned(), value.to_owned()));
    HostConfigLogConfig { typ: Some("json-file".to_owned()), config: Some(config.into()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bollard::models::PortSummary;

    fn order() -> Order {
        Order {
            id: MachineId::new(Timestamp::UNIX_EPOCH),
            name: "debian-1".parse().unwrap(),
            pool: "debian".parse().unwrap(),
            image: "berth-debian".to_owned(),
            purpose: Purpose::Lent { size: None, join_token: "once".to_owned() },
        }
    }

    fn owner() -> Epoch {
        Epoch::new(Timestamp::UNIX_EPOCH)
    }

    #[test]
    fn only_its_owner_knows_a_machine_again() {
        let (order, ours) = (order(), owner());
        let marks = marks(ours, &order, 2221);
        assert_eq!(port_of(&marks, ours, order.id), Some(2221));
        assert_eq!(port_of(&marks, owner(), order.id), None);
        assert_eq!(port_of(&marks, ours, MachineId::new(Timestamp::UNIX_EPOCH)), None);
        assert_eq!(port_of(&Marks::new(), ours, order.id), None);
    }

    #[test]
    fn a_machine_is_bounded_and_reached_from_this_host_only() {
        let order = order();
        let body = body(&order, marks(owner(), &order, 2230), 2230, Path::new("/srv/door"));
        let host = body.host_config.unwrap();
        assert_eq!(
            (host.memory, host.memory_swap, host.pids_limit),
            (Some(MEMORY), Some(MEMORY), Some(PIDS))
        );
        assert_eq!((host.privileged, host.cap_add), (None, None));
        let bindings = host.port_bindings.unwrap();
        let binding = &bindings[SSH].as_ref().unwrap()[0];
        assert_eq!(binding.host_ip.as_deref(), Some("127.0.0.1"));
        assert_eq!(binding.host_port.as_deref(), Some("2230"));
        assert_eq!(host.mounts.unwrap()[0].read_only, Some(true));
        assert_eq!(body.hostname.as_deref(), Some("debian-1"));
    }

    #[test]
    fn a_service_is_run_as_it_was_asked_for() {
        let service = Service {
            environment: [("HTTPAPIURL".to_owned(), "http://h".to_owned())].into(),
            address: "192.0.2.1".parse().unwrap(),
            port: 8000,
            inside: Inside::default(),
            cpus: 0.5,
            memory_mib: 1536,
        };
        let purpose = Purpose::Service { service, token: "secret".to_owned() };
        let order = Order { name: "roomserver".parse().unwrap(), purpose, ..order() };
        assert_eq!(name(&order), "roomserver");
        let marks = marks(owner(), &order, 8001);
        assert_eq!(marked_port(&marks), Some((Protocol::Udp, 8001)));
        assert!(!marks.values().any(|value| value.contains("secret")));
        let body = body(&order, marks, 8001, Path::new("/srv/door"));
        assert_eq!(body.env.unwrap(), ["HTTPAPIURL=http://h", "SERVER_PORT=8001", "TOKEN=secret"]);
        let host = body.host_config.unwrap();
        assert_eq!((host.nano_cpus, host.memory, host.mounts), (Some(500_000_000), Some(1536 << 20), None));
        assert_eq!(host.restart_policy.unwrap().name, Some(RestartPolicyNameEnum::ALWAYS));
        let bindings = host.port_bindings.unwrap();
        let binding = &bindings["80/udp"].as_ref().unwrap()[0];
        assert_eq!(
            (binding.host_ip.as_deref(), binding.host_port.as_deref()),
            (Some("192.0.2.1"), Some("8001"))
        );
    }

    #[test]
    fn a_machine_that_never_started_is_not_listed() {
        let order = order();
        let mut container = ContainerSummary {
            labels: Some(marks(owner(), &order, 2221)),
            created: Some(1_000),
            state: Some(ContainerSummaryStateEnum::EXITED),
            ..Default::default()
        };
        let created_at = Timestamp::from_second(1_000).unwrap();
        let expected = Listed { id: order.id, created_at, running: false };
        assert_eq!(listed(&container), Some(expected));
        container.state = Some(ContainerSummaryStateEnum::CREATED);
        assert_eq!(listed(&container), None);
    }

    #[test]
    fn stopped_machines_keep_their_ports() {
        let stopped = ContainerSummary { labels: Some(marks(owner(), &order(), 2222)), ..Default::default() };
        let published = PortSummary { private_port: 22, public_port: Some(2225), ..Default::default() };
        let spoken =
            PortSummary { typ: Some(PortSummaryTypeEnum::UDP), public_port: Some(8000), ..published.clone() };
        let foreign = ContainerSummary { ports: Some(vec![published, spoken]), ..Default::default() };
        let earlier = Marks::from([(PORT.to_owned(), "2223".to_owned())]);
        let earlier = ContainerSummary { labels: Some(earlier), ..Default::default() };
        let tcp = [2222, 2223, 2225].map(|port| (Protocol::Tcp, port));
        let taken = tcp.into_iter().chain([(Protocol::Udp, 8000)]).collect();
        assert_eq!(ports_taken(&[stopped, foreign, earlier]), taken);
    }
}
