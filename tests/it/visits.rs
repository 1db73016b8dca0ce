//! Machines that have nothing but SSH, lent by the real server.

use model::phase::Phase;
use model::wire::{DurationText, ReservationCreate};
use serde_json::{Value, json};
use server::reach::ssh::HostKey;
use std::process::Command;
use tests::port::free_port;
use tests::real::{By, RealFarm, ssh, until};
use tests::sshd::{PASSWORD, Sshd, key_pair};

const OURS: &str = "a password of ours";

/// One farm of four machines that are reached in different ways.
#[tokio::test(flavor = "multi_thread")]
async fn machines_with_nothing_but_ssh_are_lent() {
    let mut farm = RealFarm::start("debug").await;
    let debian = Sshd::debian("");
    let alpine = Sshd::openssh("berth-alpine", &[], "");
    let dropbear = Sshd::dropbear("berth-debian");
    let strange = Sshd::debian("");
    register(
        &farm,
        "debian",
        &debian,
        json!({"password": PASSWORD, "host_key": debian.host_key().to_string()}),
    )
    .await;
    let fingerprint = alpine.host_key().fingerprint();
    register(&farm, "alpine", &alpine, json!({"password": PASSWORD, "host_key": fingerprint})).await;
    register(&farm, "dropbear", &dropbear, json!({"password": PASSWORD, "host_key": "accept-new"})).await;
    for name in ["debian", "alpine", "dropbear"] {
        farm.machine_is(name, "free").await;
    }
    lend_and_take_back(&farm, &[&debian, &alpine, &dropbear]).await;
    nobody_is_visited_whose_key_nobody_confirmed(&farm, &strange).await;
    another_key_means_quarantine(&farm, &alpine).await;
    end_in_time_though_the_server_is_dead_for_ever(&mut farm, &debian).await;
    no_word_of(&farm, &[PASSWORD, OURS]);
}

async fn register(farm: &RealFarm, name: &str, sshd: &Sshd, ssh: Value) {
    let body =
        json!({"name": name, "host": "127.0.0.1", "port": sshd.port, "labels": {"name": name}, "ssh": ssh});
    let (status, made) = farm.send("POST", "/v1/machines", &body).await;
    assert_eq!(status, 201, "{made}");
    assert!(made.get("join_token").is_none() && !made.to_string().contains(PASSWORD), "{made}");
    let (status, again) = farm.send("POST", "/v1/machines", &body).await;
    assert_eq!(status, 409, "{again}");
    let twice = json!({"name": "twice", "host": "127.0.0.1", "port": sshd.port, "ssh": {"password": "x"}});
    let (status, twice) = farm.send("POST", "/v1/machines", &twice).await;
    assert!(status == 409 && twice["detail"].as_str().unwrap().contains(name), "{twice}");
}

fn ask(username: &str, count: i64, duration: &str) -> ReservationCreate {
    ReservationCreate {
        username: username.to_owned(),
        password: Some(OURS.to_owned()),
        count: Some(count),
        duration: Some(DurationText::Text(duration.to_owned())),
        ..ReservationCreate::default()
    }
}

async fn lend_and_take_back(farm: &RealFarm, sshds: &[&Sshd]) {
    let reservation = farm.reserve(&ask("alice", 3, "1h")).await;
    assert_eq!(reservation.phase, Phase::Ready, "{reservation:?} {}", farm.log());
    for (seat, sshd) in reservation.machines.iter().zip(sshds) {
        assert_eq!(serde_json::to_value(seat.ends_by).unwrap(), "watcher", "{seat:?}");
        let output = ssh(
            seat,
            "alice",
            &By::Password(OURS),
            "id -u; setsid sleep 1000 >/dev/null 2>&1 & touch ~/x /tmp/x",
        );
        assert_eq!(String::from_utf8_lossy(&output.stdout), format!("{}\n", seat.uid), "{output:?}");
        assert!(!sshd.container.processes(seat.uid).is_empty());
    }
    let ended = farm.release(reservation.id).await;
    assert_eq!(ended.phase, Phase::Ended, "{ended:?} {}", farm.log());
    for (seat, sshd) in reservation.machines.iter().zip(sshds) {
        assert!(sshd.container.processes(seat.uid).is_empty());
        assert!(!ssh(seat, "alice", &By::Password(OURS), "true").status.success());
        let cleanings = farm.get(&format!("/v1/machines/{}/cleanings", seat.name)).await;
        assert_eq!(cleanings["items"][0]["uid"], seat.uid, "{cleanings}");
    }
}

async fn nobody_is_visited_whose_key_nobody_confirmed(farm: &RealFarm, strange: &Sshd) {
    register(farm, "strange", strange, json!({"password": PASSWORD})).await;
    let path = "/v1/machines/strange";
    until("its key is shown", async || farm.get(path).await["ssh"]["offered_host_key"].is_string()).await;
    let shown = farm.get(path).await;
    assert_eq!(shown["ssh"]["offered_host_key"], strange.host_key().fingerprint(), "{shown}");
    assert_eq!(shown["state"], "maintenance", "{shown}");
    assert!(!strange.log().contains("Accepted"), "nobody has logged in");
    let other = key_pair("ed25519", "").1.parse::<HostKey>().unwrap().fingerprint();
    let (status, refused) = farm.send("PATCH", path, &json!({"host_key": other})).await;
    assert!(status == 409 && refused["detail"].as_str().unwrap().contains(&other), "{refused}");
    let (status, _) = farm.send("PATCH", path, &json!({"host_key": strange.host_key().fingerprint()})).await;
    assert_eq!(status, 200);
    farm.machine_is("strange", "free").await;
    let (status, _) = farm.send("DELETE", path, &Value::Null).await;
    assert!(status < 300);
    until("it is gone", async || farm.send("GET", path, &Value::Null).await.0 == 404).await;
}

/// Nothing secret is sent there, and nobody gets the machine, until somebody says that the key is right.
async fn another_key_means_quarantine(farm: &RealFarm, alpine: &Sshd) {
    let accepted = alpine.count("Accepted");
    alpine.container.run(
        "kill $(cat /run/sshd.pid); rm /etc/ssh/ssh_host_*; ssh-keygen -qA; chmod 644 /etc/ssh/*.pub
        /usr/sbin/sshd -E /run/sshd.log -o PermitRootLogin=yes",
    );
    // An address that is given anew, though it is the same, ends the kept connection.
    let (status, refused) = farm.send("PATCH", "/v1/machines/alpine", &json!({"port": alpine.port})).await;
    assert_eq!(status, 200, "{refused}");
    farm.reserve(&ReservationCreate {
        machines: vec!["alpine".to_owned()],
        count: None,
        ..ask("bob", 1, "1s")
    })
    .await;
    farm.machine_is("alpine", "maintenance").await;
    let shown = farm.get("/v1/machines/alpine").await;
    assert_eq!(shown["ssh"]["offered_host_key"], alpine.host_key().fingerprint(), "{shown}");
    assert_eq!(alpine.count("Accepted"), accepted);
    let confirmed = json!({"host_key": alpine.host_key().fingerprint()});
    assert_eq!(farm.send("PATCH", "/v1/machines/alpine", &confirmed).await.0, 200);
    farm.machine_is("alpine", "free").await;
}

async fn end_in_time_though_the_server_is_dead_for_ever(farm: &mut RealFarm, debian: &Sshd) {
    let body =
        ReservationCreate { machines: vec!["debian".to_owned()], count: None, ..ask("carol", 1, "8s") };
    let reservation = farm.reserve(&body).await;
    assert_eq!(reservation.phase, Phase::Ready, "{reservation:?} {}", farm.log());
    let seat = &reservation.machines[0];
    let left = ssh(seat, "carol", &By::Password(OURS), "setsid sleep 1000 >/dev/null 2>&1 & id -un");
    assert_eq!(String::from_utf8_lossy(&left.stdout), "carol\n", "{left:?}");
    farm.kill_server();
    until("its watcher takes the account away", async || {
        let passwd = std::fs::read_to_string(debian.container.path("/etc/passwd")).unwrap();
        !passwd.contains("carol") && debian.container.processes(seat.uid).is_empty()
    })
    .await;
    assert!(!debian.container.path("/home/carol").exists());
    farm.start_server().await;
    farm.machine_is("debian", "free").await;
    let page = farm.get("/v1/machines/debian/cleanings?limit=1").await;
    assert_eq!(
        page["items"][0]["username"], "carol",
        "what the watcher did is told at the next visit: {page}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_log_in_is_refused_by_field_and_registers_nothing() {
    let farm = RealFarm::start("debug").await;
    let encrypted = key_pair("ed25519", "open sesame").0;
    let key = encrypted.expose();
    let half = "ssh-ed25519 AAAA";
    for (field, ssh) in [
        ("ssh", json!({})),
        ("ssh", json!({"user": "root"})),
        ("ssh.user", json!({"user": "a b", "password": "x"})),
        ("ssh.user", json!({"user": "-oProxyCommand=id", "password": "x"})),
        ("ssh.password", json!({"password": ""})),
        ("ssh.password", json!({"password": "two\nlines"})),
        ("ssh.sudo_password", json!({"password": "x", "sudo_password": "\t"})),
        ("ssh.private_key", json!({"private_key": "no key"})),
        ("ssh.passphrase", json!({"private_key": key})),
        ("ssh.passphrase", json!({"private_key": key, "passphrase": "wrong"})),
        ("ssh.passphrase", json!({"password": "x", "passphrase": "y"})),
        ("ssh.key_file", json!({"key_file": "relative/path"})),
        ("ssh.key_file", json!({"private_key": key, "passphrase": "open sesame", "key_file": "/k"})),
        ("ssh.host_key", json!({"password": "x", "host_key": "yes"})),
        ("ssh.host_key", json!({"password": "x", "host_key": "SHA256:short"})),
        ("ssh.host_key", json!({"password": "x", "host_key": half})),
        ("ssh.jump", json!({"password": "x", "jump": "Not A Name"})),
    ] {
        let body = json!({"name": "m1", "host": "192.0.2.1", "ssh": ssh});
        let (status, answer) = farm.send("POST", "/v1/machines", &body).await;
        assert!(matches!(status, 400 | 422) && answer["field"] == field, "{ssh}: {status} {answer}");
        assert!(!answer.to_string().contains("sesame"), "{answer}");
    }
    for host in ["169.254.169.254", "fe80::1", "0.0.0.0", "224.0.0.1", "::ffff:169.254.169.254"] {
        let body = json!({"name": "m1", "host": host, "ssh": {"password": "x"}});
        let (status, answer) = farm.send("POST", "/v1/machines", &body).await;
        assert!(status == 422 && answer["field"] == "host", "{host}: {status} {answer}");
    }
    let behind = json!({"name": "m1", "host": "192.0.2.1", "ssh": {"password": "x", "jump": "nobody"}});
    let (status, answer) = farm.send("POST", "/v1/machines", &behind).await;
    assert!(status == 409 && answer["detail"].as_str().unwrap().contains("`nobody`"), "{answer}");
    assert_eq!(farm.get("/v1/machines").await["items"], json!([]), "nothing is half registered");
    no_word_of(&farm, &["open sesame"]);
}

/// A machine that cannot be reached is registered, lent to nobody, and says why.
#[tokio::test(flavor = "multi_thread")]
async fn what_keeps_a_machine_from_being_reached_is_said() {
    let farm = RealFarm::start("debug").await;
    let sshd = Sshd::debian("");
    let closed = free_port();
    let known = sshd.host_key().to_string();
    let (good, wrong) =
        (json!({"password": PASSWORD, "host_key": known}), json!({"password": "x", "host_key": known}));
    for (name, host, port, ssh, says) in [
        ("nowhere", "nowhere.invalid", 22, &good, "does not resolve"),
        ("closed", "127.0.0.1", closed, &good, "nothing answers"),
        ("wrong", "127.0.0.1", sshd.port, &wrong, "log-in as `root` was refused"),
        (
            "keyless",
            "localhost",
            sshd.port,
            &json!({"key_file": "/nowhere/key", "host_key": known}),
            "/nowhere/key",
        ),
    ] {
        let body = json!({"name": name, "host": host, "port": port, "ssh": ssh});
        let (status, made) = farm.send("POST", "/v1/machines", &body).await;
        assert_eq!(status, 201, "{made}");
        let path = format!("/v1/machines/{name}");
        let said =
            async || farm.get(&path).await["reason"].as_str().is_some_and(|reason| reason.contains(says));
        until(&format!("`{name}` says that it {says}; {}", farm.get(&path).await), said).await;
        assert_eq!(farm.get(&path).await["state"], "unreachable");
    }
    assert_eq!(farm.get("/v1/availability").await["free"], 0);
    let (status, mended) = farm.send("PATCH", "/v1/machines/wrong", &json!({"ssh": good})).await;
    assert!(status == 200 && !mended.to_string().contains(PASSWORD), "{mended}");
    farm.machine_is("wrong", "free").await;
}

/// In the database, its log, the server's log.
fn no_word_of(farm: &RealFarm, secrets: &[&str]) {
    assert!(farm.folder.path().join("data/berth.db").exists());
    for secret in secrets {
        let found = Command::new("grep").args(["-rlaF", secret]).arg(farm.folder.path()).output().unwrap();
        assert!(found.stdout.is_empty(), "{secret}: {}", String::from_utf8_lossy(&found.stdout));
    }
}
