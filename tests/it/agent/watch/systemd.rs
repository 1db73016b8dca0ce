//! What systemd is asked for, by a stand-in that writes it down and does it.

use super::real::{IMAGES, alice, far, nobody_watches, watcher};
use model::report::EndsBy;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use tests::container::{Container, spec};

/// Runs what stands behind `--`, unless a unit is in the way.
const RUN: &str = r#"#!/bin/sh
echo "$@" >>/root/said
[ ! -e /root/in-the-way ] || exit 1
while [ "$1" != -- ]; do shift; done
shift
setsid "$@" </dev/null >/dev/null 2>&1 &
"#;
const CTL: &str = r#"#!/bin/sh
echo "systemctl $@" >>/root/said
[ "$1" != reset-failed ] || rm -f /root/in-the-way
"#;
const ASKED: &str = "--quiet --collect --unit=berth-watch --description=Ends accounts that Berth lends, in time \
    --property=Restart=on-failure --property=RestartSec=5 -- /usr/local/sbin/berth-agent \
    --state /var/lib/berth --root / watch --systemd";

fn with_systemd(image: &str, run: &str) -> Container {
    let container = Container::idle(image, &[]);
    fs::create_dir_all(container.path("/run/systemd/system")).unwrap();
    for (name, script) in [("systemd-run", run), ("systemctl", CTL)] {
        let path = container.path("/usr/bin").join(name);
        fs::write(&path, script).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    container
}

fn said(container: &Container) -> Vec<String> {
    let said = fs::read_to_string(container.path("/root/said")).unwrap_or_default();
    said.lines().map(str::to_owned).collect()
}

#[test]
fn systemd_is_asked_to_keep_the_watcher_alive() {
    for image in IMAGES {
        let container = with_systemd(image, RUN);
        for generation in [1, 2] {
            let report = container.visit(Some(&spec(generation, alice(far()))));
            assert_eq!(report.facts.ends_by, Some(EndsBy::Systemd), "{report:?}");
        }
        assert_eq!(said(&container), [ASKED], "{image}: once");
        watcher(&container);
        container.visit(Some(&spec(3, vec![])));
        nobody_watches(&container);
    }
}

#[test]
fn a_unit_that_is_in_the_way_is_removed() {
    let container = with_systemd("berth-debian", RUN);
    fs::write(container.path("/root/in-the-way"), "").unwrap();
    let report = container.visit(Some(&spec(1, alice(far()))));
    assert_eq!(report.facts.ends_by, Some(EndsBy::Systemd), "{report:?}");
    let removed = ["systemctl stop berth-watch", "systemctl reset-failed berth-watch"];
    assert_eq!(said(&container), [ASKED, removed[0], removed[1], ASKED]);
}

#[test]
fn where_systemd_cannot_a_process_of_its_own_does() {
    let container = with_systemd("berth-debian", "#!/bin/sh\nexit 1\n");
    let report = container.visit(Some(&spec(1, alice(far()))));
    assert_eq!(report.facts.ends_by, Some(EndsBy::Watcher), "{report:?}");
    watcher(&container);
}
