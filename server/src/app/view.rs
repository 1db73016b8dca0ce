//! Facts as the API shows them.

use model::Timestamp;
use model::machine::Machine;
use model::phase::{MachineState, machine_state, reservation_phase, seat_phase};
use model::pool::Pool;
use model::reservation::{EndedBy, Reservation};
use model::wire::{MachineView, PoolView, ReservationView, SeatView};
use std::collections::BTreeMap;
use std::time::Duration;

pub(super) fn machine(machine: Machine, now: Timestamp, ttl: Duration) -> MachineView {
    let state = machine_state(&machine, now, ttl);
    let visits = machine.ssh.as_ref().filter(|ssh| ssh.is_visited());
    let name = state.name().to_owned();
    let listing = machine.listing.unwrap_or_default();
    let reason = match state {
        MachineState::Maintenance(why) => Some(why),
        MachineState::Unreachable { .. } if visits.is_some_and(|ssh| ssh.error.is_some()) => {
            visits.and_then(|ssh| ssh.error.clone())
        }
        MachineState::Unreachable { .. } if visits.is_some() => {
            Some("not visited yet: that happens within a moment".to_owned())
        }
        MachineState::Unreachable { .. } if machine.seen_at.is_none() => {
            Some("not heard of yet: its agent enrols with the join token".to_owned())
        }
        MachineState::Unreachable { since } => Some(format!("not heard of since {since}")),
        MachineState::Free
        | MachineState::Held
        | MachineState::Cleaning
        | MachineState::Retiring
        | MachineState::Listed => None,
    };
    MachineView {
        id: machine.id,
        name: machine.name,
        host: machine.host,
        port: machine.port,
        labels: machine.labels,
        pool: machine.pool,
        state: name,
        reason,
        cordoned: machine.cordoned_at.is_some(),
        reservation: machine.holding.map(|holding| holding.reservation),
        created_at: machine.created_at,
        seen_at: machine.seen_at,
        generation: machine.generation,
        seen_generation: machine.seen_generation,
        uids: machine.uids.to_string(),
        facts: machine.facts,
        ssh: machine.ssh.map(super::access::view),
        media_server: listing.media_server,
        probe: listing.probe,
    }
}

pub(super) fn reservation(found: Reservation, now: Timestamp) -> ReservationView {
    let phase = reservation_phase(&found, now);
    let seats = found.seats.iter().map(|seat| SeatView {
        name: seat.machine_name.clone(),
        host: seat.host.clone(),
        port: seat.port,
        uid: seat.uid,
        phase: seat_phase(&found, seat, now),
        in_sync: seat.in_sync,
        ready_at: seat.ready_at,
        cleaned_at: seat.cleaned_at,
        ends_by: seat.ends_by,
        error: seat.last_error.clone(),
    });
    let machines = seats.collect();
    let (ended_by, reason) = match found.ended_by {
        None => (None, None),
        Some(EndedBy::Released) => (Some("released"), None),
        Some(EndedBy::Expired) => (Some("expired"), None),
        Some(EndedBy::Failed(why)) => (Some("failed"), Some(why)),
    };
    ReservationView {
        id: found.id,
        account: found.owner.map(|owner| owner.name),
        username: found.username,
        phase,
        count: found.count,
        labels: found.labels,
        on_failure: found.on_failure,
        created_at: found.created_at,
        expires_at: found.expires_at,
        ended_at: found.ended_at,
        ended_by: ended_by.map(str::to_owned),
        reason,
        machines,
    }
}

pub(super) fn pool(pool: Pool, states: BTreeMap<String, u32>) -> PoolView {
    PoolView {
        name: pool.name,
        provider: pool.provider,
        image: pool.image,
        size: pool.size,
        labels: pool.labels,
        uids: pool.uids.to_string(),
        service: pool.service,
        after_use: pool.after_use,
        spare: pool.spare,
        sizes: pool.sizes,
        grace: format!("{:#}", pool.grace),
        states,
        problem: pool.problem,
    }
}
