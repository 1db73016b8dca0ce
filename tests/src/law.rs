//! The law of the house: what is true of a farm at any moment, whatever has happened to it.
//!
//! A *seat* is one machine held for one reservation; it is open until the machine was seen to be clean of it.

use crate::look::{login_of, traces};
use model::phase::Phase;
use model::wire::{MachineView, Page, ReservationView, SeatView};
use playbooks::FakeHost;
use serde::de::DeserializeOwned;
use std::time::Duration;

/// What the server says there is.
#[derive(Debug, Clone)]
pub struct Facts {
    pub machines: Vec<MachineView>,
    pub reservations: Vec<ReservationView>,
}

/// How often, and how long apart, one looks before something counts as broken.
const LOOKS: u32 = 40;
const BETWEEN: Duration = Duration::from_millis(50);

/// What is broken in a farm. Facts and machines are read one after the other while server and agents go on with what
/// they are at, so only a breach that stays is one.
pub async fn breaches_that_stay(
    http: &reqwest::Client,
    url: &str,
    hosts: &[(String, FakeHost)],
) -> Vec<String> {
    let mut found = Vec::new();
    for _ in 0..LOOKS {
        found = breaches(&Facts::of(http, url).await, hosts);
        if found.is_empty() {
            break;
        }
        tokio::time::sleep(BETWEEN).await;
    }
    found
}

/// Every breach of the law.
pub fn breaches(facts: &Facts, hosts: &[(String, FakeHost)]) -> Vec<String> {
    let of_machines = facts.machines.iter().flat_map(|machine| {
        [what_is_offered_is_clean(machine, hosts), a_machine_has_one_holder(machine, facts)]
    });
    let of_hosts = hosts.iter().map(|(machine, host)| whatever_is_there_has_a_seat(machine, host, facts));
    let of_seats = facts.open_seats().flat_map(|(reservation, seat)| {
        [
            who_is_called_ready_can_log_in(reservation, seat, hosts),
            the_machine_tells_the_same(reservation, seat, facts),
        ]
    });
    of_machines.chain(of_hosts).chain(of_seats).flatten().collect()
}

fn what_is_offered_is_clean(machine: &MachineView, hosts: &[(String, FakeHost)]) -> Option<String> {
    let host = host_of(hosts, machine.name.as_str()).filter(|_| machine.state == "free")?;
    let left = beside(host, &[]);
    (!left.is_empty()).then(|| format!("`{}` is offered and has {left:?}", machine.name))
}

/// Nobody is excused. Where cleaning has failed, or is late, or cannot be seen (the agent is stopped, the machine
/// unreachable), the seat is open still, and its machine is not offered: so what is there belongs to somebody. Once a
/// seat is closed, and with a machine that has gone, nothing may be there or come back.
fn whatever_is_there_has_a_seat(machine: &str, host: &FakeHost, facts: &Facts) -> Option<String> {
    let here = facts.open_seats().filter(|(_, seat)| seat.name.as_str() == machine);
    let holders: Vec<_> = here.map(|(reservation, seat)| (reservation.username.as_str(), seat.uid)).collect();
    let stray = beside(host, &holders);
    (!stray.is_empty()).then(|| format!("`{machine}` has what nobody holds it for: {stray:?}"))
}

/// Its agent may be stopped and the server dead: what was made stays until its end.
fn who_is_called_ready_can_log_in(
    reservation: &ReservationView,
    seat: &SeatView,
    hosts: &[(String, FakeHost)],
) -> Option<String> {
    let host = host_of(hosts, seat.name.as_str()).filter(|_| seat.phase == Phase::Ready)?;
    let (username, uid) = (reservation.username.as_str(), seat.uid);
    let found = login_of(&host.world(), username);
    (found != Some(uid)).then(|| {
        format!("`{username}` is called ready on `{}` as uid {uid}, and there is {found:?}", seat.name)
    })
}

fn a_machine_has_one_holder(machine: &MachineView, facts: &Facts) -> Option<String> {
    let holders: Vec<_> = facts
        .open_seats()
        .filter(|(_, seat)| seat.name == machine.name)
        .map(|(reservation, _)| reservation.id)
        .collect();
    let agreed = holders == Vec::from_iter(machine.reservation);
    (!agreed).then(|| {
        format!("`{}` is held by {:?}, its seats say {holders:?}", machine.name, machine.reservation)
    })
}

/// While a reservation has the use of a machine, that is held; while one is taken away, that is not offered.
fn the_machine_tells_the_same(
    reservation: &ReservationView,
    seat: &SeatView,
    facts: &Facts,
) -> Option<String> {
    let machine = facts.machines.iter().find(|machine| machine.name == seat.name);
    let state = machine.map_or("gone", |machine| machine.state.as_str());
    let fitting: &[&str] = match seat.phase {
        Phase::Pending | Phase::Ready => &["held"],
        Phase::Ending => &["cleaning", "maintenance", "retiring"],
        Phase::Ended => &[],
    };
    (!fitting.contains(&state)).then(|| {
        format!("`{}` is {state}, its seat for `{}` {:?}", seat.name, reservation.username, seat.phase)
    })
}

fn host_of<'a>(hosts: &'a [(String, FakeHost)], machine: &str) -> Option<&'a FakeHost> {
    hosts.iter().find(|(name, _)| name == machine).map(|(_, host)| host)
}

/// What of ours is on a machine beside what belongs to these.
fn beside(host: &FakeHost, holders: &[(&str, u32)]) -> Vec<String> {
    let stray = traces(&host.world()).into_iter();
    let stray = stray.filter(|trace| !holders.iter().any(|(name, uid)| trace.belongs_to(name, *uid)));
    stray.map(|trace| trace.place).collect()
}

impl Facts {
    pub async fn of(http: &reqwest::Client, url: &str) -> Self {
        Self {
            machines: all(http, url, "machines").await,
            reservations: all(http, url, "reservations").await,
        }
    }

    fn open_seats(&self) -> impl Iterator<Item = (&ReservationView, &SeatView)> {
        let seats = self.reservations.iter().flat_map(|of| of.machines.iter().map(move |seat| (of, seat)));
        seats.filter(|(_, seat)| seat.cleaned_at.is_none())
    }
}

async fn all<T: DeserializeOwned>(http: &reqwest::Client, url: &str, noun: &str) -> Vec<T> {
    let answer = http.get(format!("{url}/v1/{noun}?limit=1000")).send().await.expect("the server answers");
    let page: Page<T> = answer.json().await.expect("a page");
    assert!(page.next.is_none(), "no farm is so large that its {noun} need a second page");
    page.items
}
