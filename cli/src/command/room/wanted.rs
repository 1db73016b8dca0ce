//! A room server, as the environment describes it: under the names that its operators know.

use super::Usage;
use model::PoolName;
use model::service::{Inside, Service};
use std::fmt::Display;
use std::str::FromStr;

const MIB_PER_GB: f64 = 1024.0;

#[derive(Debug, PartialEq)]
pub(super) struct Wanted {
    pub(super) name: PoolName,
    pub(super) image: String,
    pub(super) service: Service,
}

impl Wanted {
    pub(super) fn read(environment: impl Fn(&str) -> Option<String>) -> Result<Self, Usage> {
        let given = |name: &str| environment(name).filter(|value| !value.trim().is_empty());
        let api = given("HTTPAPIURL").ok_or_else(|| {
            missing("HTTPAPIURL", "what the room server calls back, such as `http://192.0.2.1:3000`")
        })?;
        if !["http://", "https://"].iter().any(|start| api.starts_with(start)) {
            return Err(Usage(format!(
                "`HTTPAPIURL` must start with `http`, unlike `{}`",
                api.escape_debug()
            )));
        }
        let image = given("IMAGE").or_else(|| given("DOCKER_IMAGE"));
        let image = image.ok_or_else(|| missing("IMAGE", "the image of the room server"))?;
        let address = given("IP_ADDRESS")
            .ok_or_else(|| missing("IP_ADDRESS", "an address of the computer that runs the Docker engine"))?;
        let name: PoolName = parsed("CONTAINER_NAME", given("CONTAINER_NAME"), "roomserver")?;
        let memory: f64 = parsed("MEMORY_IN_GB", given("MEMORY_IN_GB"), "1.5")?;
        let room_port =
            given("ROOM_PORT").map(|port| if port.contains('/') { port } else { format!("{port}/udp") });
        let service = Service {
            environment: [("HTTPAPIURL".to_owned(), api)].into(),
            address: parsed("IP_ADDRESS", Some(address), "")?,
            port: parsed("PORT", given("PORT"), "8000")?,
            inside: parsed::<Inside>("ROOM_PORT", room_port, "80/udp")?,
            cpus: parsed("CPUS", given("CPUS"), "2")?,
            memory_mib: (memory * MIB_PER_GB).round() as u32,
        };
        check(&service, memory)?;
        Ok(Self { name, image, service })
    }
}

fn missing(name: &str, what: &str) -> Usage {
    Usage(format!("set the environment variable `{name}`: {what}"))
}

fn parsed<T: FromStr<Err: Display>>(name: &str, given: Option<String>, otherwise: &str) -> Result<T, Usage> {
    let text = given.unwrap_or_else(|| otherwise.to_owned());
    text.trim().parse().map_err(|why| Usage(format!("`{name}` is `{}`: {why}", text.escape_debug())))
}

/// The server says the same, but not by the names of variables.
fn check(service: &Service, memory: f64) -> Result<(), Usage> {
    if service.port == 0 {
        return Err(Usage("`PORT` must be 1 to 65535".to_owned()));
    }
    if !(0.01..=512.0).contains(&service.cpus) {
        return Err(Usage("`CPUS` must be 0.01 to 512".to_owned()));
    }
    if !(0.01..=16_384.0).contains(&memory) {
        return Err(Usage("`MEMORY_IN_GB` must be 0.01 to 16384".to_owned()));
    }
    service.check().map_err(|invalid| Usage(format!("`HTTPAPIURL`: {}", invalid.why)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    const LEAST: [(&str, &str); 3] =
        [("HTTPAPIURL", "http://api.example:3000"), ("IMAGE", "rooms:1"), ("IP_ADDRESS", "192.0.2.1")];

    fn read(more: &[(&str, &str)]) -> Result<Wanted, String> {
        let given: BTreeMap<_, _> = LEAST.iter().chain(more).copied().collect();
        Wanted::read(|name| given.get(name).map(|value| (*value).to_owned())).map_err(|usage| usage.0)
    }

    #[test]
    fn what_is_left_out_has_its_usual_value() {
        let wanted = read(&[]).unwrap();
        assert_eq!((wanted.name.as_str(), wanted.image.as_str()), ("roomserver", "rooms:1"));
        let Service { environment, address, port, inside, cpus, memory_mib } = wanted.service;
        assert_eq!(environment, [("HTTPAPIURL".to_owned(), "http://api.example:3000".to_owned())].into());
        assert_eq!((address.to_string().as_str(), port, cpus, memory_mib), ("192.0.2.1", 8000, 2.0, 1536));
        assert_eq!(inside.to_string(), "80/udp");
    }

    #[test]
    fn every_variable_is_heeded() {
        let wanted = read(&[
            ("IMAGE", ""),
            ("DOCKER_IMAGE", "rooms:2"),
            ("CONTAINER_NAME", "lobby"),
            ("PORT", "9000"),
            ("ROOM_PORT", "8080"),
            ("CPUS", "0.5"),
            ("MEMORY_IN_GB", "0.25"),
        ])
        .unwrap();
        let service = wanted.service;
        assert_eq!((wanted.name.as_str(), wanted.image.as_str()), ("lobby", "rooms:2"));
        assert_eq!((service.port, service.cpus, service.memory_mib), (9000, 0.5, 256));
        assert_eq!(service.inside.to_string(), "8080/udp");
        assert_eq!(read(&[("ROOM_PORT", "80/tcp")]).unwrap().service.inside.to_string(), "80/tcp");
    }

    #[test]
    fn what_is_missing_or_bad_is_named() {
        for (name, value) in [
            ("HTTPAPIURL", ""),
            ("HTTPAPIURL", "ftp://api.example"),
            ("HTTPAPIURL", "http://a\nb"),
            ("IMAGE", " "),
            ("IP_ADDRESS", ""),
            ("IP_ADDRESS", "localhost"),
            ("PORT", "0"),
            ("PORT", "70000"),
            ("PORT", "x"),
            ("ROOM_PORT", "80/sctp"),
            ("CONTAINER_NAME", "Room Server"),
            ("CPUS", "two"),
            ("CPUS", "0"),
            ("CPUS", "NaN"),
            ("MEMORY_IN_GB", "-1"),
            ("MEMORY_IN_GB", "0"),
        ] {
            let why = read(&[(name, value)]).expect_err(value);
            assert!(why.contains(&format!("`{name}`")), "{name}={value}: {why}");
        }
    }
}
