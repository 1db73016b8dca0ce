//! Real containers, the real server, the system's `ssh`.

use model::phase::Phase;
use model::wire::{DurationText, ReservationCreate, ReservationPatch, ReservationView, SeatView};
use std::path::PathBuf;
use std::process::Command;
use tests::real::{By, RealFarm, inside, ssh, until};

const PASSWORD: &str = "correct horse";

/// One farm of two Debian machines and an Alpine one lives through everything a lease can meet.
#[tokio::test(flavor = "multi_thread")]
async fn e2e_lent_machines_are_logged_in_to_and_taken_back() {
    let mut farm = RealFarm::start("debug").await;
    let (debian, alpine) = (format!("deb{}", std::process::id()), format!("alp{}", std::process::id()));
    farm.pool(&debian, "berth-debian", 2).await;
    farm.pool(&alpine, "berth-alpine", 1).await;
    log_in_the_moment_the_answer_arrives(&farm).await;
    be_another_machine_after_root(&farm).await;
    keep_the_account_when_a_container_restarts(&farm).await;
    end_on_time_with_the_server_killed(&mut farm).await;
    the_tour_of_the_readme_works_as_written(&farm).await;
    let log = farm.log();
    assert!(log.contains("enrolled") && !log.contains(PASSWORD), "the log keeps passwords to itself");
    let machines = names(&farm).await;
    assert_eq!(machines.len(), 3, "{machines:?}");
    farm.pool(&debian, "berth-debian", 0).await;
    farm.pool(&alpine, "berth-alpine", 0).await;
    for machine in machines {
        assert!(inside(&machine, "true").contains("No such container"), "`{machine}` is destroyed");
    }
}

async fn log_in_the_moment_the_answer_arrives(farm: &RealFarm) {
    let key = new_key(farm);
    let public = std::fs::read_to_string(key.with_extension("pub")).unwrap();
    let body = ReservationCreate { ssh_keys: vec![public], ..ask("alice", 3, "1h") };
    let reservation = farm.reserve(&body).await;
    assert_eq!(reservation.phase, Phase::Ready, "{reservation:?} {}", farm.log());
    on_each(&reservation.machines, |seat| {
        let expected = format!("alice\n{}\n/home/alice\n", seat.uid);
        for by in [By::Password(PASSWORD), By::Key(&key)] {
            let output = ssh(seat, "alice", &by, "id -un; id -u; pwd");
            assert_eq!(String::from_utf8_lossy(&output.stdout), expected, "{} {output:?}", seat.name);
        }
        assert!(!ssh(seat, "alice", &By::Password("wrong"), "id").status.success());
        let leave_something = "setsid sleep 1000 >/dev/null 2>&1 & touch ~/x";
        assert!(ssh(seat, "alice", &By::Key(&key), leave_something).status.success());
    });
    let ended = farm.release(reservation.id).await;
    assert_eq!(ended.phase, Phase::Ended, "{ended:?}");
    nothing_is_left(&ended, "alice");
}

/// Whoever was root may have left anything anywhere: the containers are destroyed, and others made.
async fn be_another_machine_after_root(farm: &RealFarm) {
    let body = ReservationCreate { sudo: true, ..ask("rita", 3, "1h") };
    let reservation = farm.reserve(&body).await;
    assert_eq!(reservation.phase, Phase::Ready, "{reservation:?} {}", farm.log());
    let before: Vec<String> = reservation.machines.iter().map(|seat| container_of(&seat.name)).collect();
    on_each(&reservation.machines, |seat| {
        let output = ssh(seat, "rita", &By::Password(PASSWORD), "sudo -n id -u; sudo -n touch /etc/hidden");
        assert_eq!(String::from_utf8_lossy(&output.stdout), "0\n", "{} {output:?}", seat.name);
    });
    let ended = farm.release(reservation.id).await;
    assert_eq!(ended.phase, Phase::Ended, "{ended:?} {}", farm.log());
    until("others have taken their place", async || farm.get("/v1/availability").await["free"] == 3).await;
    for machine in names(farm).await {
        assert!(!before.contains(&container_of(&machine)), "`{machine}` is the same as before");
        assert_eq!(inside(&machine, "ls /etc/hidden 2>/dev/null"), "");
    }
}

async fn names(farm: &RealFarm) -> Vec<String> {
    let machines = farm.get("/v1/machines").await;
    let machines = machines["items"].as_array().unwrap().iter();
    machines.map(|machine| machine["name"].as_str().unwrap().to_owned()).collect()
}

fn container_of(machine: impl std::fmt::Display) -> String {
    let output =
        Command::new("docker").args(["inspect", "-f", "{{.Id}}", &format!("berth-{machine}")]).output();
    let id = String::from_utf8(output.unwrap().stdout).unwrap();
    assert!(!id.trim().is_empty(), "there is a container of `{machine}`");
    id
}

async fn keep_the_account_when_a_container_restarts(farm: &RealFarm) {
    let reservation = farm.reserve(&ask("bert", 1, "1h")).await;
    let seat = &reservation.machines[0];
    let restarted =
        Command::new("docker").args(["restart", "-t", "5", &format!("berth-{}", seat.name)]).output();
    assert!(restarted.unwrap().status.success());
    until("log-in works after the restart", async || logs_in("bert", seat)).await;
    assert_eq!(farm.release(reservation.id).await.phase, Phase::Ended);
    nothing_is_left(&reservation, "bert");
}

/// Carol's time is up while no server runs. Dora's would have been up before hers, had it not been extended.
async fn end_on_time_with_the_server_killed(farm: &mut RealFarm) {
    let dora = farm.reserve(&ask("dora", 1, "10s")).await;
    let extended = extend(farm, &dora, "1h").await;
    let carol = farm.reserve(&ask("carol", 2, "10s")).await;
    assert_eq!((extended.phase, carol.phase), (Phase::Ready, Phase::Ready), "{extended:?} {carol:?}");
    assert!(dora.expires_at < carol.expires_at && carol.expires_at < extended.expires_at);
    assert!(logs_in("carol", &carol.machines[0]));
    farm.kill_server();
    let gone = async || !carol.machines.iter().any(|seat| has_account(seat, "carol"));
    until("the machines ended it by themselves", gone).await;
    nothing_is_left(&carol, "carol");
    assert!(logs_in("dora", &dora.machines[0]), "an extended lease outlives its first end");
    farm.start_server().await;
    let only_dora = async || farm.get("/v1/availability").await["free"] == 2;
    until("the server knows, and finds its containers again", only_dora).await;
    assert!(logs_in("dora", &dora.machines[0]), "the server keeps to the new end too");
    assert_eq!(farm.release(dora.id).await.phase, Phase::Ended);
    nothing_is_left(&dora, "dora");
    assert!(farm.reservations().await.iter().all(|reservation| reservation.phase == Phase::Ended));
}

async fn the_tour_of_the_readme_works_as_written(farm: &RealFarm) {
    let readme = include_str!("../../README.md");
    let (_, rest) = readme.split_once("```sh tour\n").expect("the README has a tour");
    let (tour, _) = rest.split_once("```").unwrap();
    let tour = tour.replace("127.0.0.1:8080", &farm.address);
    let output = Command::new("sh").args(["-euc", &tour]).current_dir(farm.folder.path()).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains(r#""phase":"ready""#) && said.contains(r#""phase":"ended""#), "{said}");
}

fn ask(username: &str, count: i64, duration: &str) -> ReservationCreate {
    ReservationCreate {
        username: username.to_owned(),
        password: Some(PASSWORD.to_owned()),
        count: Some(count),
        duration: Some(lasting(duration)),
        ..ReservationCreate::default()
    }
}

fn lasting(duration: &str) -> DurationText {
    DurationText::Text(duration.to_owned())
}

/// Returns when every machine knows the new end.
async fn extend(farm: &RealFarm, reservation: &ReservationView, duration: &str) -> ReservationView {
    let client = cli::Client::new(&format!("http://{}", farm.address)).unwrap();
    let longer = ReservationPatch { duration: Some(lasting(duration)), until: None };
    client.reservation_extend(reservation.id, &longer, 10).await.unwrap().body
}

fn logs_in(user: &str, seat: &SeatView) -> bool {
    ssh(seat, user, &By::Password(PASSWORD), "id").status.success()
}

fn has_account(seat: &SeatView, user: &str) -> bool {
    let accounts = inside(seat.name.as_str(), "cat /etc/passwd");
    assert!(accounts.contains("root:"), "the file was read: {accounts}");
    accounts.contains(user)
}

/// No log-in, no line in any account file, no home, no process.
fn nothing_is_left(reservation: &ReservationView, username: &str) {
    on_each(&reservation.machines, |seat| {
        let machine = seat.name.as_str();
        assert!(!logs_in(username, seat), "`{username}` still logs in to {machine}");
        let files = "cat /etc/passwd /etc/shadow /etc/group /etc/gshadow /etc/subuid /etc/subgid 2>/dev/null";
        let found = inside(machine, &format!("{files} | grep -w {username}; ls /home /etc/sudoers.d"));
        assert!(!found.contains(username), "{machine}: {found}");
        let uids = inside(machine, "cat /proc/[0-9]*/status 2>/dev/null | grep '^Uid:'");
        assert!(uids.contains("Uid:\t0"), "the processes were looked at: {uids}");
        assert!(!uids.contains(&seat.uid.to_string()), "{machine}: {uids}");
    });
}

/// Side by side: a machine takes seconds to refuse somebody.
fn on_each(seats: &[SeatView], look: impl Fn(&SeatView) + Sync) {
    let look = &look;
    std::thread::scope(|scope| {
        for seat in seats {
            scope.spawn(move || look(seat));
        }
    });
}

fn new_key(farm: &RealFarm) -> PathBuf {
    let key = farm.folder.path().join("id_ed25519");
    let made = Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(&key).status();
    assert!(made.unwrap().success());
    key
}
