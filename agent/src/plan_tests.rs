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
    let mut ledger = Ledger { spec: Some(Spec { epoch, generation: 1, accounts }), ..Ledger::default() };
    if managed {
        ledger.record(who(&alice()));
    }
    ledger
}

/// A machine with nothing of alice, or with all of her.
fn observed(there: bool) -> Observed {
    let mut observed = Observed::default();
    observed.shells.insert("/bin/sh".into(), true);
    let keys = Some(Vec::new());
    let home = if there { Home::Present { owner: UID, keys, ssh: true } } else { Home::Absent };
    observed.places.insert(who(&alice()), Places { home, sudo: None, mail: false, processes: 0 });
    if there {
        observed.databases = Databases::default().ensure(&account(&observed, &alice()));
    }
    observed
}

/// One word per step.
fn words(plan: &Plan) -> String {
    let word = |action: &Action| format!("{action:?}").split('(').next().unwrap_or_default().to_owned();
    let steps: Vec<String> = plan.steps.iter().map(|step| word(&step.action)).collect();
    let refused = plan.refused.iter().map(|(_, why)| format!("refused: {why}"));
    steps.into_iter().chain(refused).collect::<Vec<_>>().join(" ")
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
        (true, true, true, 60, "Lock Kill RemoveFiles RemoveEntries"),
        (true, false, true, 0, "Lock Kill RemoveFiles RemoveEntries"),
        (true, false, false, 0, "Forget"),
        (true, true, false, 60, "Forget"),
        (false, true, false, 60, ""),
    ] {
        let plan = plan(&observed(there), &ledger(managed, wanted), at(second));
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
        assert_eq!(words(&plan(&seen, &ledger(true, true), at(0))), steps);
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
    seen.places.insert(old, Places { home: Home::Unfinished, sudo: None, mail: false, processes: 0 });
    assert_eq!(
        words(&plan(&seen, &ledger, at(0))),
        "Lock Kill RemoveFiles RemoveEntries MakeHome WriteEntries"
    );
}

#[test]
fn only_uids_of_our_range_are_ever_removed() {
    let mut ledger = Ledger::default();
    for uid in [0, 1000, FIRST_UID - 1, LAST_UID + 1] {
        ledger.record(Who { uid, ..who(&alice()) });
    }
    assert_eq!(leaving(&ledger, at(0)).count(), 0);
}
