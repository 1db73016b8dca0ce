//! A machine as a container: its name, its labels, and what the engine is asked for.

use super::port;
use crate::provider::Order;
use bollard::models::{
    ContainerCreateBody, ContainerSummary, ContainerSummaryStateEnum, HostConfig, HostConfigLogConfig, Mount,
    MountType, PortBinding, RestartPolicy, RestartPolicyNameEnum,
};
use model::pool::{Listed, Size};
use model::{Epoch, MachineId, MachineName, PoolName, Timestamp};
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

pub(super) fn name(machine: &MachineName) -> String {
    format!("berth-{machine}")
}

pub(super) fn marks(owner: Epoch, order: &Order, port: u16) -> Marks {
    let pairs = [
        (OWNER, owner.to_string()),
        (POOL, order.pool.to_string()),
        (MACHINE, order.id.to_string()),
        (PORT, port.to_string()),
    ];
    pairs.map(|(key, value)| (key.to_owned(), value)).into()
}

/// The port of a container that is this owner's and this machine.
pub(super) fn port_of(marks: &Marks, owner: Epoch, machine: MachineId) -> Option<u16> {
    let is = |key: &str, value: String| marks.get(key) == Some(&value);
    let ours = is(OWNER, owner.to_string()) && is(MACHINE, machine.to_string());
    if ours { marks.get(PORT)?.parse().ok() } else { None }
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
    Some(Listed { id, created_at })
}

/// Host ports that running containers hold and those that stopped ones of any Berth will want again.
pub(super) fn ports_taken(containers: &[ContainerSummary]) -> BTreeSet<u16> {
    let published = containers.iter().flat_map(|container| container.ports.iter().flatten());
    let marked = containers.iter().filter_map(|container| container.labels.as_ref()?.get(PORT)?.parse().ok());
    published.filter_map(|port| port.public_port).chain(marked).filter(|port| *port >= port::FIRST).collect()
}

pub(super) fn body(order: &Order, marks: Marks, port: u16, door: &Path) -> ContainerCreateBody {
    ContainerCreateBody {
        hostname: Some(order.name.to_string()),
        image: Some(order.image.clone()),
        exposed_ports: Some(vec![SSH.to_owned()]),
        labels: Some(marks),
        host_config: Some(host_config(order.size.as_ref(), port, door)),
        ..Default::default()
    }
}

const SSH: &str = "22/tcp";

fn host_config(size: Option<&Size>, port: u16, door: &Path) -> HostConfig {
    let memory = size.map_or(MEMORY, |size| i64::from(size.memory_mib) << 20);
    let binding = PortBinding { host_ip: Some("127.0.0.1".to_owned()), host_port: Some(port.to_string()) };
    HostConfig {
        memory: Some(memory),
        memory_swap: Some(memory),
        nano_cpus: size.map(|size| i64::from(size.millicpus) * 1_000_000),
        pids_limit: Some(PIDS),
        port_bindings: Some(HashMap::from([(SSH.to_owned(), Some(vec![binding]))])),
        restart_policy: Some(RestartPolicy {
            name: Some(RestartPolicyNameEnum::UNLESS_STOPPED),
            maximum_retry_count: None,
        }),
        mounts: Some(vec![door_mount(door)]),
        log_config: Some(small_log()),
        ..Default::default()
    }
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
            size: None,
            join_token: "once".to_owned(),
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
    fn a_machine_that_never_started_is_not_listed() {
        let order = order();
        let mut container = ContainerSummary {
            labels: Some(marks(owner(), &order, 2221)),
            created: Some(1_000),
            state: Some(ContainerSummaryStateEnum::EXITED),
            ..Default::default()
        };
        let expected = Listed { id: order.id, created_at: Timestamp::from_second(1_000).unwrap() };
        assert_eq!(listed(&container), Some(expected));
        container.state = Some(ContainerSummaryStateEnum::CREATED);
        assert_eq!(listed(&container), None);
    }

    #[test]
    fn stopped_machines_keep_their_ports() {
        let stopped = ContainerSummary { labels: Some(marks(owner(), &order(), 2222)), ..Default::default() };
        let published = PortSummary { private_port: 22, public_port: Some(2225), ..Default::default() };
        let foreign = ContainerSummary { ports: Some(vec![published]), ..Default::default() };
        assert_eq!(ports_taken(&[stopped, foreign]), BTreeSet::from([2222, 2225]));
    }
}
