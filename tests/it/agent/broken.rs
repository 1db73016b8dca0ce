//! Any call to a machine fails, before, after or late: no failure of a single one leaves a trace.

use super::bench::{Bench, body, states};
use super::given::{account, spec};
use model::report::AccountState;
use model::spec::AccountSpec;
use playbooks::{FakeHost, When};

/// Fails the k-th call in each way for every k, until k is past the last call; then everything has to come right.
fn break_every_call(
    prepare: impl Fn(&mut Bench),
    act: impl Fn(&mut Bench),
    check: impl Fn(&mut Bench),
) -> u64 {
    for k in 0.. {
        let mut met = false;
        for when in [When::Before, When::After, When::Late] {
            for restarts in [false, true] {
                let mut bench = Bench::new();
                prepare(&mut bench);
                bench.host.fail_at(k, when);
                act(&mut bench);
                met |= !bench.host.clear_faults();
                if restarts {
                    bench.restart();
                }
                check(&mut bench);
            }
        }
        if !met {
            return k;
        }
    }
    unreachable!()
}

#[test]
fn creating_survives_a_failure_of_any_call() {
    let wanted = || Some(spec(1, vec![AccountSpec { sudo: true, ..account(66_000) }]));
    let mut good = Bench::new();
    good.converge(wanted());
    let tried = break_every_call(
        |_| {},
        |bench| drop(bench.converge(wanted())),
        |bench| {
            assert_eq!(states(&bench.converge(wanted())), [&AccountState::Ready]);
            assert_eq!(body(&bench.host), body(&good.host));
            bench.converge(Some(spec(2, vec![])));
            assert_eq!(body(&bench.host), body(&FakeHost::new()));
        },
    );
    assert!(tried > 30, "{tried}");
}

#[test]
fn half_made_accounts_go_without_a_trace() {
    let tried = break_every_call(
        |_| {},
        |bench| drop(bench.converge(Some(spec(1, vec![AccountSpec { sudo: true, ..account(66_000) }])))),
        |bench| {
            assert!(bench.converge(Some(spec(2, vec![]))).accounts.is_empty());
            assert_eq!(body(&bench.host), body(&FakeHost::new()));
        },
    );
    assert!(tried > 30, "{tried}");
}

#[test]
fn cleaning_survives_a_failure_of_any_call() {
    let tried = break_every_call(
        |bench| {
            bench.converge(Some(spec(1, vec![AccountSpec { sudo: true, ..account(66_000) }])));
            bench.host.spawn(66_000);
            bench.host.with(|world| world.mail.insert("alice".into()));
        },
        |bench| drop(bench.converge(Some(spec(2, vec![])))),
        |bench| {
            let report = bench.converge(Some(spec(2, vec![])));
            assert_eq!((report.generation, report.accounts.len()), (2, 0), "{report:?}");
            assert_eq!(body(&bench.host), body(&FakeHost::new()));
        },
    );
    assert!(tried > 50, "{tried}");
}

#[test]
fn nothing_is_ready_or_gone_that_was_not_seen() {
    for k in 0..80 {
        let mut bench = Bench::new();
        bench.host.fail_at(k, When::After);
        let report = bench.converge(Some(spec(1, vec![account(66_000)])));
        let ready = states(&report) == [&AccountState::Ready];
        assert!(!ready || report.generation == 1 && bench.has_alice(), "{k}");
        bench.converge(None);
        bench.host.fail_at(k, When::Late);
        let report = bench.converge(Some(spec(2, vec![])));
        let gone = report.generation == 2 && report.accounts.is_empty();
        assert!(!gone || !bench.has_alice(), "{k}");
    }
}

#[test]
fn a_machine_that_is_down_reports_nothing_good() {
    let mut bench = Bench::new();
    bench.host.crash();
    let report = bench.converge(Some(spec(1, vec![account(66_000)])));
    assert_eq!((report.generation, report.problems.len()), (0, 1));
    assert!(matches!(states(&report)[..], [AccountState::Failed { .. }]));
    bench.host.revive();
    assert_eq!(states(&bench.converge(Some(spec(1, vec![account(66_000)])))), [&AccountState::Ready]);
}
