//! What taking one account away costs on the machine itself: Berth as its agent reports it, and `userdel -r`.

use crate::hosts::Host;
use crate::{ROUNDS, USER, ask};
use std::fmt::Write;
use tests::real::{RealFarm, inside};

/// Makes and removes an account some times over, and prints how many microseconds each removal took.
fn userdel(rounds: usize) -> String {
    format!(
        "for _ in $(seq {rounds}); do useradd -m local-{USER}; began=$(date +%s%N); userdel -r local-{USER} 2>/dev/null
         echo $((($(date +%s%N) - began) / 1000)); done"
    )
}

/// Asked for before anything is installed on the machines: every file there is one that cleaning looks at.
pub(crate) async fn table(farm: &RealFarm, host: &Host) -> String {
    let mut cleanings = Vec::new();
    for number in 0..=ROUNDS {
        let reservation = farm.reserve(&ask(1)).await;
        let machine = &reservation.machines[0].name;
        farm.release(reservation.id).await;
        let page = farm.get(&format!("/v1/machines/{machine}/cleanings?limit=1")).await;
        // The first is there to warm up.
        if number > 0 {
            cleanings.push(page["items"][0].clone());
        }
    }
    let of = |what: &dyn Fn(&serde_json::Value) -> f64| median(cleanings.iter().map(what).collect());
    let total = of(&|cleaning| cleaning["took_ms"].as_f64().unwrap());
    let mut text = format!(
        "## An account taken away, on the machine itself\n\nWithout the ways there and back, on a machine of \
                    the run above before Python was installed for Ansible: the median of {ROUNDS} rounds. `userdel -r` \
                    removes the entries and the home; Berth also ends processes, looks for what is left on every \
                    local file system, and looks once more.\n\n| | ms |\n|---|--:|\n"
    );
    writeln!(text, "| Berth | {total:.1} |").unwrap();
    for step in ["lock", "kill", "detach", "files", "entries", "sweep"] {
        let took = of(&|cleaning| cleaning["steps_ms"][step].as_f64().unwrap_or_default());
        writeln!(text, "| of this: {step} | {took:.1} |").unwrap();
    }
    let seen = inside(&host.name, &userdel(ROUNDS));
    let micros: Vec<f64> = seen.lines().filter_map(|line| line.parse().ok()).collect();
    assert_eq!(micros.len(), ROUNDS, "{seen}");
    writeln!(text, "| `userdel -r` | {:.1} |", median(micros) / 1000.0).unwrap();
    text
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
