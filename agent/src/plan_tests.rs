use super::*;
use crate::observe::Places;
use model::spec::Spec;
use playbooks::unix::Databases;

const UID: u32 = 66_000;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + second).unwrap()
}

fn alice() -> AccountSpec {
    serde_json::from_value(serde_json::json!({
        "assignment": "01900000-0000-7000-8000-000000066000", "name": "alice", "uid": UID, "not_after": at(60),
    }))
    .unwrap()
}

fn ledger(managed: bool, wanted: bool) -> Ledger {
    let epoch = "01900000-0000-7000-8000-000000000001".parse().unwrap();
    let accounts = if wanted { vec![alice()] } else { vec![] };
    let mut ledger = Ledger {
        spec: Some(Spec { epoch, generation: 1, uids: UidRange::default(), accounts, follows: vec![] }),
        ..Ledger::default()
    };
    if managed {
        ledger.record(who(&alice()));
    }
    ledger
}

fn only(home: Home) -> Places {
    Places { home, root_keys: None, sudo: None, mail: false, processes: 0 }
}

/// A machine with nothing of alice, or with all of her.
fn observed(there: bool) -> Observed {
    let mut observed = Observed::default();
    observed.shells.insert("/bin/sh".into(), true);
    let keys = Some(Vec::new());
    let home = if there { Home::Present { owner: UID, keys, ssh: true } } else { Home::Absent };
    observed.places.insert(who(&alice()), only(home));
    if there {
        observed.databases = Databases::default().ensure(&account(&observed, &alice(), &at(0).into()));
    }
    observed
}

/// One word per step.
fn words(plan: &Plan) -> String {
    let word = |action: &Action| format!("{action:?}").split('(').next().unwrap_or_default().to_owned();
    let clean = plan.clean.iter().map(|who| format!("Clean:{}", who.name));
    let forget = plan.forget.iter().map(|who| format!("Forget:{}", who.name));
    let steps = plan.steps.iter().map(|step| word(&step.action));
    let refused = plan.refused.iter().map(|(_, why)| format!("refused: {why}"));
    clean.chain(forget).chain(steps).chain(refused).collect::<Vec<_>>().join(" ")
}

#[test]
fn what_is_there_against_what_is_wanted() {
    for (managed, wanted, there, second, steps) in [
        (false, false, false, 0, ""),
        (false, false, true, 0, ""),
        (false, true, false, 0, "Record MakeHome WriteEntries"),
        (false, true, true, 0, "refused: `alice` exists already in /etc/group of this machine"),
        (true, true, false, 0, "MakeHome WriteEntries"),
        (true, true, true, 0, ""),
        (true, true, true, 59, ""),
        (true, true, true, 60, "Clean:alice"),
        (true, false, true, 0, "Clean:alice"),
        (true, false, false, 0, "Clean:alice"),
        (true, true, false, 60, "Clean:alice"),
        (false, true, false, 60, ""),
    ] {
        let plan = plan(&observed(there), &ledger(managed, wanted), &at(second).into());
        assert_eq!(words(&plan), steps, "managed {managed}, wanted {wanted}, there {there}, at {second}");
    }
}

#[test]
fn each_part_that_differs_is_one_step() {
    type Change = fn(&mut Observed);
    let cases: [(&str, Change); 7] = [
        ("WriteKeys", |seen| place(seen).home = Home::Present { owner: UID, keys: None, ssh: false }),
        ("WriteKeys", |seen| {
            place(seen).home = Home::Present { owner: UID, keys: Some(b"x".into()), ssh: true }
        }),
        ("WriteKeys", |seen| place(seen).home = Home::Unreadable("a mount".into())),
        ("MakeHome", |seen| place(seen).home = Home::Unfinished),
        ("RemoveSudo", |seen| place(seen).sudo = Some(b"x".into())),
        ("WriteEntries", |seen| seen.databases = seen.databases.lock("alice", UID)),
        ("", |seen| place(seen).processes = 3),
    ];
    for (steps, change) in cases {
        let mut seen = observed(true);
        change(&mut seen);
        assert_eq!(words(&plan(&seen, &ledger(true, true), &at(0).into())), steps);
    }
}

fn place(observed: &mut Observed) -> &mut Places {
    observed.places.values_mut().next().unwrap()
}

#[test]
fn taking_away_comes_before_giving() {
    let mut ledger = ledger(true, true);
    let old = Who {
        assignment: "01900000-0000-7000-8000-000000066001".parse().unwrap(),
        name: "bob".parse().unwrap(),
        uid: 66_001,
    };
    ledger.record(old.clone());
    let mut seen = observed(false);
    seen.places.insert(old, only(Home::Unfinished));
    assert_eq!(words(&plan(&seen, &ledger, &at(0).into())), "Clean:bob MakeHome WriteEntries");
}

#[test]
fn gone_is_who_was_looked_for_everywhere() {
    let mut seen = observed(false);
    seen.swept.insert(alice().assignment);
    assert_eq!(words(&plan(&seen, &ledger(true, false), &at(0).into())), "Forget:alice");
    place(&mut seen).root_keys = Some(Vec::new());
    assert_eq!(words(&plan(&seen, &ledger(true, false), &at(0).into())), "Clean:alice");
}

#[test]
fn where_sshd_reads_them_keys_are_roots_and_end() {
    let mut seen = observed(true);
    seen.has_root_keys = true;
    let mut ledger = ledger(true, true);
    let key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f me@here";
    ledger.spec.as_mut().unwrap().accounts[0].ssh_keys.push(key.parse().unwrap());
    let wall_is_ahead = Moment { wall: at(3600), ..at(0).into() };
    // The end is 08:01, the machine's clock an hour ahead, and there is a minute of grace.
    let plan = plan(&seen, &ledger, &wall_is_ahead);
    let keys = format!("expiry-time=\"20270115090200Z\" {key}\n").into_bytes();
    assert_eq!(
        plan.steps.iter().map(|step| &step.action).collect::<Vec<_>>(),
        [&Action::WriteRootKeys(keys)]
    );
}

#[test]
fn when_the_time_is_lost_nobody_gets_in_and_nothing_is_lost() {
    let lost = Moment { is_lost: true, ..at(0).into() };
    let mut seen = observed(true);
    place(&mut seen).processes = 1;
    place(&mut seen).sudo = Some(Vec::new());
    let plan = plan(&seen, &ledger(true, true), &lost);
    assert_eq!(words(&plan), "EndProcesses RemoveSudo WriteEntries");
    let Some(Action::WriteEntries(account)) = plan.steps.last().map(|step| &step.action) else { panic!() };
    assert_eq!((account.password_hash.clone(), account.expires_on), (None, Some(1)));
}

#[test]
fn an_end_that_only_a_doubtful_clock_has_seen_locks() {
    let doubtful = Moment { sure: at(0), ..at(60).into() };
    assert_eq!(words(&plan(&observed(true), &ledger(true, true), &doubtful)), "WriteEntries");
    let sure = Moment { sure: at(60), ..doubtful };
    assert_eq!(words(&plan(&observed(true), &ledger(true, true), &sure)), "Clean:alice");
}

#[test]
fn only_uids_of_our_range_are_ever_removed() {
    let mut ledger = Ledger::default();
    for uid in [0, 1000, 9_999, 65_534, u32::MAX] {
        ledger.record(Who { uid, ..who(&alice()) });
    }
    assert_eq!(leaving(&ledger, at(0)).count(), 0);
}
