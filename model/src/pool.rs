//! A pool: how many machines are wanted against what there is.

use crate::machine::Uids;
use crate::service::Service;
use crate::{Labels, MachineId, PoolName};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::{HashMap, HashSet};
use std::str::FromStr;

/// A machine nobody knows is destroyed only after this long: its row may be on its way.
const ORPHAN_GRACE: SignedDuration = SignedDuration::from_secs(60);
/// How long a held machine may be unreachable before it counts as failed, unless its pool says otherwise.
pub const GRACE: SignedDuration = SignedDuration::from_mins(5);

/// What somebody wants.
#[derive(Debug, Clone, PartialEq)]
pub struct Pool {
    pub name: PoolName,
    pub provider: String,
    /// What the provider makes machines of; a container image.
    pub image: String,
    pub size: u32,
    pub labels: Labels,
    /// Of the machines it makes from now on.
    pub uids: Uids,
    pub after_use: AfterUse,
    /// So many free machines are kept back for reservations that lose one.
    pub spare: u32,
    /// What its machines are, one after another; absent: all are alike.
    pub sizes: Vec<Size>,
    /// How long a held machine may be unreachable before it counts as failed.
    pub grace: SignedDuration,
    /// What it runs, in place of machines to lend.
    pub service: Option<Service>,
    /// Until then whatever is missing is taken for lost, however much it is.
    pub losses_accepted_until: Option<Timestamp>,
    /// Where its machines were made, if they cannot be seen from elsewhere.
    pub home: Option<String>,
    /// Why the last round did not get on, for listings.
    pub problem: Option<String>,
}

/// How large a machine is. It is labelled with the name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "schema", schema(as = MachineSize))]
#[serde(deny_unknown_fields)]
pub struct Size {
    #[cfg_attr(feature = "schema", schema(value_type = crate::text::SizeName))]
    pub name: String,
    /// Thousandths of a processor.
    #[cfg_attr(feature = "schema", schema(minimum = 10, maximum = 1_000_000))]
    pub millicpus: u32,
    #[cfg_attr(feature = "schema", schema(minimum = 16, maximum = 16_777_216))]
    pub memory_mib: u32,
}

impl Size {
    /// Of the machine with this number.
    pub fn of(number: u32, sizes: &[Self]) -> Option<&Self> {
        sizes.iter().cycle().nth((number as usize).checked_sub(1)? % sizes.len().max(1))
    }

    pub fn check(&self) -> Result<(), &'static str> {
        let is_plain = |c: u8| c.is_ascii_alphanumeric() || b"-_.".contains(&c);
        if !(1..=63).contains(&self.name.len()) || !self.name.bytes().all(is_plain) {
            return Err("a size's `name` is 1 to 63 of letters, digits and - _ .");
        }
        if !(10..=1_000_000).contains(&self.millicpus) {
            return Err("a size's `millicpus` is 10 to 1000000");
        }
        if !(16..=16_777_216).contains(&self.memory_mib) {
            return Err("a size's `memory_mib` is 16 to 16777216");
        }
        Ok(())
    }
}

/// What becomes of a machine when its reservation is over. After one with sudo it is recycled in any case.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum AfterUse {
    /// Everything its account left is removed, and the next one gets the same machine.
    #[default]
    Clean,
    /// It is destroyed, and another one made: that proves it clean, whatever happened on it.
    Recycle,
}

impl AfterUse {
    pub const NAMES: [&str; 2] = ["clean", "recycle"];

    pub fn name(self) -> &'static str {
        match self {
            Self::Clean => "clean",
            Self::Recycle => "recycle",
        }
    }
}

impl FromStr for AfterUse {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        [Self::Clean, Self::Recycle]
            .into_iter()
            .find(|after| after.name() == text)
            .ok_or_else(|| format!("must be `{}`", Self::NAMES.join("` or `")))
    }
}

/// A pool's machine as the database knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    pub id: MachineId,
    pub retired: bool,
    /// Somebody's account is, or may be, on it, and it must not go before that was seen to be gone.
    pub held: bool,
    /// Its agent has enrolled, so it existed once.
    pub enrolled: bool,
    /// Somebody keeps it back, and goes on with it later.
    pub cordoned: bool,
    /// Of a service, what was seen last.
    pub up: Option<bool>,
}

/// The open assignment of a machine, for whether that may be destroyed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seat {
    /// Nobody has a right to it any longer.
    pub has_ended: bool,
    /// Destroying the machine is the proof that nothing is left; no agent's word is needed.
    pub is_recycled: bool,
}

impl Seat {
    pub fn holds(self) -> bool {
        !(self.has_ended && self.is_recycled)
    }
}

/// A machine as its provider lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    pub id: MachineId,
    pub created_at: Timestamp,
    pub running: bool,
}

/// The next steps towards what is wanted; each is a no-op when done twice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Write rows for so many new machines; the next round makes them.
    Add(u32),
    /// Make the machine of this row.
    Create(MachineId),
    /// More than wanted, and nobody is on it.
    Retire(MachineId),
    /// Retired and empty: make it go.
    Destroy(MachineId),
    /// It was there and is no longer: whoever was on it has lost it.
    Lost(MachineId),
    /// Retired and gone.
    Forget(MachineId),
}

/// Compares. Of `members` the last go first, but services that are not up before all others; `listed` comes from one
/// complete answer of the provider.
pub fn plan(size: u32, members: &[Member], listed: &[Listed], now: Timestamp) -> Vec<Step> {
    let existing: HashSet<MachineId> = listed.iter().map(|machine| machine.id).collect();
    let known: HashSet<MachineId> = members.iter().map(|member| member.id).collect();
    let mut steps: Vec<Step> =
        members.iter().filter_map(|member| settle(member, existing.contains(&member.id))).collect();
    let staying = || members.iter().filter(|member| !member.retired);
    let lost = steps.iter().filter(|step| matches!(step, Step::Lost(_))).count();
    let count = staying().count() - lost;
    let surplus = count.saturating_sub(size as usize);
    let idle = |cordoned| {
        let idle = move |member: &&Member| !member.held && member.cordoned == cordoned;
        staying().rev().filter(idle).filter(|member| !steps.contains(&Step::Lost(member.id)))
    };
    let first = down_first(idle(false)).chain(idle(true));
    let retire: Vec<_> = first.take(surplus).map(|member| Step::Retire(member.id)).collect();
    steps.retain(|step| !matches!(step, Step::Create(id) if retire.contains(&Step::Retire(*id))));
    steps.extend(retire);
    let missing = (size as usize).saturating_sub(count);
    if missing > 0 {
        steps.push(Step::Add(missing as u32));
    }
    let old = |machine: &&Listed| now.duration_since(machine.created_at) > ORPHAN_GRACE;
    steps.extend(
        listed
            .iter()
            .filter(|machine| !known.contains(&machine.id))
            .filter(old)
            .map(|machine| Step::Destroy(machine.id)),
    );
    steps
}

/// Services that are down, those that are not up yet, and those that are; of each in the order they come in.
fn down_first<'a>(members: impl Iterator<Item = &'a Member>) -> impl Iterator<Item = &'a Member> {
    let mut members: Vec<_> = members.collect();
    members.sort_by_key(|member| match member.up {
        Some(false) => 0,
        None => 1,
        Some(true) => 2,
    });
    members.into_iter()
}

/// Of a pool's services, those that are seen to be up, or no longer, since the last look.
pub fn sights(members: &[Member], listed: &[Listed]) -> Vec<(MachineId, bool)> {
    let running: HashMap<MachineId, bool> = listed.iter().map(|one| (one.id, one.running)).collect();
    let sight = |member: &Member| match (member.up, running.get(&member.id)) {
        (known, Some(&up)) => (known != Some(up)).then_some((member.id, up)),
        (Some(true), None) => Some((member.id, false)),
        // It is still being made.
        (Some(false) | None, None) => None,
    };
    members.iter().filter(|member| !member.retired).filter_map(sight).collect()
}

fn settle(member: &Member, exists: bool) -> Option<Step> {
    match (member.retired, exists) {
        (false, false) if member.enrolled => Some(Step::Lost(member.id)),
        (false, false) => Some(Step::Create(member.id)),
        (true, true) if !member.held => Some(Step::Destroy(member.id)),
        (true, false) => Some(Step::Forget(member.id)),
        (false, true) | (true, true) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn member(retired: bool, held: bool, enrolled: bool) -> Member {
        Member { id: MachineId::new(at(0)), retired, held, enrolled, cordoned: false, up: None }
    }

    #[test]
    fn what_somebody_keeps_back_goes_last() {
        let mut members = [(); 3].map(|()| member(false, false, true));
        members[2].cordoned = true;
        let listed: Vec<_> =
            members.iter().map(|m| Listed { id: m.id, created_at: at(0), running: true }).collect();
        let [first, second, third] = [0, 1, 2].map(|number: usize| Step::Retire(members[number].id));
        assert_eq!(plan(2, &members, &listed, at(1000)), std::slice::from_ref(&second));
        assert_eq!(plan(0, &members, &listed, at(1000)), [second, first, third]);
    }

    #[test]
    fn a_service_that_never_came_up_goes_first() {
        let mut members = [(); 4].map(|()| member(false, false, false));
        (members[0].up, members[1].up, members[2].up) = (Some(true), Some(false), Some(true));
        let listed: Vec<_> =
            members.iter().map(|m| Listed { id: m.id, created_at: at(0), running: true }).collect();
        assert_eq!(plan(3, &members, &listed, at(1000)), [Step::Retire(members[1].id)]);
        let all = [1, 3, 2, 0].map(|number: usize| Step::Retire(members[number].id));
        assert_eq!(plan(0, &members, &listed, at(1000)), all);
    }

    #[test]
    fn sizes_come_one_after_another() {
        let size = |name: &str| Size { name: name.to_owned(), millicpus: 100, memory_mib: 64 };
        let sizes = ["small", "large"].map(size);
        let names = [1, 2, 3, 4].map(|number| Size::of(number, &sizes).map(|size| size.name.as_str()));
        assert_eq!(names, [Some("small"), Some("large"), Some("small"), Some("large")]);
        assert_eq!((Size::of(1, &[]), Size::of(0, &sizes)), (None, None));
        assert!(sizes[0].check().is_ok() && size("a b").check().is_err());
        assert!(Size { millicpus: 9, ..size("a") }.check().is_err());
    }

    #[test]
    fn a_held_machine_is_never_touched_and_an_idle_one_goes() {
        let members = [member(false, true, true), member(false, false, true)];
        let listed: Vec<_> =
            members.iter().map(|m| Listed { id: m.id, created_at: at(0), running: true }).collect();
        assert_eq!(plan(0, &members, &listed, at(1000)), [Step::Retire(members[1].id)]);
        assert_eq!(plan(3, &members, &listed, at(1000)), [Step::Add(1)]);
    }

    #[test]
    fn a_machine_to_be_recycled_waits_for_its_holder_and_for_no_agent() {
        let seat = |has_ended, is_recycled| Seat { has_ended, is_recycled };
        assert!(seat(false, true).holds() && seat(true, false).holds() && !seat(true, true).holds());
        let used = member(true, seat(true, true).holds(), true);
        let listed = [Listed { id: used.id, created_at: at(0), running: true }];
        let steps = plan(1, std::slice::from_ref(&used), &listed, at(1000));
        assert_eq!(steps, [Step::Destroy(used.id), Step::Add(1)]);
        assert_eq!(
            plan(1, std::slice::from_ref(&used), &[], at(1000)),
            [Step::Forget(used.id), Step::Add(1)]
        );
    }

    #[test]
    fn a_service_is_up_while_its_provider_says_so_and_only_changes_are_news() {
        let seen = |up, retired| Member { up, ..member(retired, false, false) };
        for (up, running, news) in [
            (None, Some(true), Some(true)),
            (None, Some(false), Some(false)),
            (None, None, None),
            (Some(true), Some(true), None),
            (Some(true), Some(false), Some(false)),
            (Some(true), None, Some(false)),
            (Some(false), None, None),
            (Some(false), Some(true), Some(true)),
        ] {
            let service = seen(up, false);
            let listed = |running| Listed { id: service.id, created_at: at(0), running };
            let listed: Vec<_> = running.into_iter().map(listed).collect();
            let expected: Vec<_> = news.into_iter().map(|up| (service.id, up)).collect();
            assert_eq!(sights(&[service], &listed), expected, "{up:?} {running:?}");
        }
        assert_eq!(sights(&[seen(Some(true), true)], &[]), [], "it is to go");
    }

    #[test]
    fn a_vanished_machine_is_lost_and_replaced() {
        let gone = member(false, true, true);
        assert_eq!(plan(1, std::slice::from_ref(&gone), &[], at(1000)), [Step::Lost(gone.id), Step::Add(1)]);
    }

    #[test]
    fn an_unknown_machine_is_destroyed_after_its_grace() {
        let orphan = Listed { id: MachineId::new(at(0)), created_at: at(0), running: true };
        assert_eq!(plan(0, &[], std::slice::from_ref(&orphan), at(30)), []);
        assert_eq!(plan(0, &[], std::slice::from_ref(&orphan), at(61)), [Step::Destroy(orphan.id)]);
    }

    proptest! {
        #[test]
        fn settles_without_touching_the_held(size in 0u32..8, flags in prop::collection::vec((any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>()), 0..8)) {
            let mut members: Vec<_> = flags.iter().map(|&(retired, held, enrolled, _)| member(retired, held, enrolled)).collect();
            let mut listed: Vec<_> = members.iter().zip(&flags).filter(|(_, f)| f.3).map(|(m, _)| Listed { id: m.id, created_at: at(0), running: true }).collect();
            for round in 0..6 {
                let steps = plan(size, &members, &listed, at(1000));
                if steps.is_empty() { break; }
                prop_assert!(round < 5, "never settles: {steps:?}");
                for step in steps {
                    let held = |id| members.iter().any(|m: &Member| m.id == id && m.held);
                    match step {
                        Step::Add(n) => members.extend((0..n).map(|_| member(false, false, false))),
                        Step::Create(id) => listed.push(Listed { id, created_at: at(1000), running: true }),
                        Step::Retire(id) => { prop_assert!(!held(id)); members.iter_mut().find(|m| m.id == id).unwrap().retired = true; }
                        Step::Destroy(id) => { prop_assert!(!held(id)); listed.retain(|l| l.id != id); }
                        Step::Lost(id) => { let m = members.iter_mut().find(|m| m.id == id).unwrap(); m.retired = true; m.held = false; }
                        Step::Forget(id) => members.retain(|m| m.id != id),
                    }
                }
            }
            let staying = members.iter().filter(|m| !m.retired).count();
            let held = members.iter().filter(|m| !m.retired && m.held).count();
            prop_assert_eq!(staying, held.max(size as usize));
        }
    }
}
