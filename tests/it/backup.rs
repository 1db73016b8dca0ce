//! Backups: made while a server writes, put back while none does, and nobody loses a machine by it.

use crate::on_both_databases;
use model::audit::Chain;
use model::phase::Phase;
use model::wire::EventView;
use server::store::{backup, restore};
use std::fs;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;
use tests::real::binary;
use tests::{Database, Farm, ask, has_account, ours};

on_both_databases!(a_database_put_back_by_other_means_is_begun_anew);

async fn state_of(farm: &Farm, name: &str) -> (String, String) {
    let machine = farm.get(&format!("/v1/machines/{name}")).await;
    let text = |field: &str| machine[field].as_str().unwrap_or_default().to_owned();
    (text("state"), text("reason"))
}

async fn epoch_of(farm: &Farm) -> (String, String) {
    let version = farm.get("/v1/version").await;
    (version["epoch"].to_string(), version["owner"].to_string())
}

/// Everything it writes is in the file when this returns.
async fn put_back(farm: &mut Farm, file: &Path) {
    farm.kill_server().await;
    let (database, now) = (farm.database().to_owned(), farm.clock.now());
    farm.until_unclaimed().await;
    restore(&database, Some(file), false, now).unwrap();
    farm.start_server(None);
}

/// Bert has what the backup does not know of; alice what it does; nobody is on the third.
#[tokio::test(flavor = "multi_thread")]
async fn a_backup_is_restored_and_nobody_loses_a_machine() {
    let mut farm = Farm::new(Database::Sqlite).await;
    farm.add_machines(3).await;
    let alice = farm.reserve(&ask("alice", 1, 600)).await.unwrap();
    let file = farm.folder.path().join("a.backup");
    let copied = backup(farm.database(), &file).unwrap();
    assert!(copied.last_event.is_some() && copied.bytes == fs::metadata(&file).unwrap().len());
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let before = epoch_of(&farm).await;
    let bert = farm.reserve(&ask("bert", 1, 300)).await.unwrap();
    let (hers, his) = (alice.machines[0].name.to_string(), bert.machines[0].name.to_string());

    let refused = restore(farm.database(), Some(&file), false, farm.clock.now()).unwrap_err();
    assert!(refused.to_string().contains("another server uses"), "{refused}");
    let running = farm.clock.run();
    put_back(&mut farm, &file).await;
    let after = epoch_of(&farm).await;
    assert!(after.0 != before.0 && after.1 == before.1, "another database, with the same containers");
    farm.until("one is free, and bert's is set apart", async || {
        farm.get("/v1/availability").await["free"] == 1 && state_of(&farm, &his).await.0 == "maintenance"
    })
    .await;
    let reason = state_of(&farm, &his).await.1;
    assert!(reason.contains("told more than the backup knows"), "{reason}");
    assert!(has_account(&farm.machine(&hers).host, "alice") && has_account(&farm.machine(&his).host, "bert"));
    assert_eq!(farm.reservation(alice.id).await.phase, Phase::Ready);
    assert!(farm.reserve(&ask("carol", 2, 60)).await.unwrap_err().starts_with("409"));
    assert_eq!(farm.release(alice.id).await.phase, Phase::Ended, "her machine obeys");
    farm.until_free(2).await;

    farm.clock.advance(Duration::from_secs(300 * 60));
    farm.until("bert's time is up", async || ours(&farm.machine(&his).host).is_empty()).await;
    farm.until_free(3).await;
    let all = farm.reserve(&ask("dora", 3, 60)).await.unwrap();
    let seat = all.machines.iter().find(|seat| seat.name.as_str() == his).unwrap();
    assert!(all.phase == Phase::Ready && seat.uid > bert.machines[0].uid, "UIDs go on: {all:?}");
    assert_eq!(farm.release(all.id).await.phase, Phase::Ended);
    assert_eq!(
        (farm.events("machine.taken_over").await.len(), farm.events("database.restored").await.len()),
        (1, 1)
    );
    let events = farm.get("/v1/events?limit=1000").await["items"].take();
    let events: Vec<EventView> = serde_json::from_value(events).unwrap();
    let mut chain = Chain::default();
    events.iter().for_each(|event| chain.add(event).unwrap());
    assert_eq!(beside(&farm, "berth.db.before-").len(), 1, "what was there is kept");

    // Once more, and all that was told since is forgotten again.
    put_back(&mut farm, &file).await;
    farm.until_free(2).await;
    let path = format!("{}/v1/reservations/{}?wait=0", farm.url(), alice.id);
    assert!(farm.http.delete(path).send().await.unwrap().status().is_success());
    farm.until_free(3).await;
    drop(running);
}

fn beside(farm: &Farm, start: &str) -> Vec<PathBuf> {
    let names = fs::read_dir(farm.folder.path()).unwrap().map(|entry| entry.unwrap().path());
    names.filter(|path| path.file_name().unwrap().to_string_lossy().starts_with(start)).collect()
}

/// As the backup has it, alice is still on it; she has left, and does not come back by that.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_released_since_is_not_given_again() {
    let mut farm = Farm::new(Database::Sqlite).await;
    farm.add_machines(1).await;
    let alice = farm.reserve(&ask("alice", 1, 600)).await.unwrap();
    let file = farm.folder.path().join("a.backup");
    backup(farm.database(), &file).unwrap();
    assert_eq!(farm.release(alice.id).await.phase, Phase::Ended);
    let running = farm.clock.run();
    put_back(&mut farm, &file).await;
    farm.until("it is set apart", async || state_of(&farm, "m1").await.0 == "maintenance").await;
    let heard_at = farm.get("/v1/machines/m1").await["seen_at"].clone();
    farm.until("it was heard again", async || farm.get("/v1/machines/m1").await["seen_at"] != heard_at).await;
    assert!(ours(&farm.machine("m1").host).is_empty());
    assert_eq!(state_of(&farm, "m1").await.0, "maintenance");
    let path = format!("{}/v1/reservations/{}?wait=0", farm.url(), alice.id);
    assert!(farm.http.delete(path).send().await.unwrap().status().is_success());
    farm.until_free(1).await;
    drop(running);
    assert_eq!(farm.reservation(alice.id).await.phase, Phase::Ended);
}

async fn a_database_put_back_by_other_means_is_begun_anew(mut farm: Farm) {
    farm.add_machines(2).await;
    let alice = farm.reserve(&ask("alice", 1, 600)).await.unwrap();
    let before = epoch_of(&farm).await;
    farm.kill_server().await;
    let (database, now) = (farm.database().to_owned(), farm.clock.now());
    let mut last = String::new();
    for _ in 0..500 {
        match restore(&database, None, false, now) {
            Ok(restored) => {
                assert_eq!((restored.machines, restored.kept), (2, None));
                last.clear();
                break;
            }
            // The killed server lets go.
            Err(error) => last = format!("{error:#}"),
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(last, "");
    farm.start_server(None);
    let running = farm.clock.run();
    farm.until_free(1).await;
    assert_ne!(epoch_of(&farm).await.0, before.0);
    let longer = farm.extend(alice.id, "20h").await.unwrap();
    assert_eq!(longer.phase, Phase::Ready);
    assert_eq!(farm.release(alice.id).await.phase, Phase::Ended);
    farm.until_free(2).await;
    drop(running);
}

/// Makes something else of a backup.
type Prepare = fn(&Path);

fn sqlite(file: &Path, command: &str) {
    use diesel::connection::SimpleConnection;
    use diesel::{Connection, SqliteConnection};
    SqliteConnection::establish(file.to_str().unwrap()).unwrap().batch_execute(command).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_backup_is_refused_and_nothing_changes() {
    let mut farm = Farm::new(Database::Sqlite).await;
    farm.add_machines(1).await;
    let at = |name: &str| farm.folder.path().join(name);
    let (good, file) = (at("good"), at("bad"));
    backup(farm.database(), &good).unwrap();
    let again = said(backup(farm.database(), &good));
    assert!(again.contains("exists already"), "{again}");
    let nowhere = said(backup(farm.database(), &at("no/such/folder")));
    assert!(nowhere.contains("cannot write to the folder"), "{nowhere}");
    let missing = said(backup(at("none.db").to_str().unwrap(), &file));
    assert!(missing.contains("there is no database") && !at("none.db").exists(), "{missing}");

    farm.kill_server().await;
    farm.until_unclaimed().await;
    let at = |name: &str| farm.folder.path().join(name);
    let (database, now) = (farm.database().to_owned(), farm.clock.now());
    let bytes = || fs::read(&database).unwrap();
    let before = bytes();
    let refusal = |prepare: Prepare| {
        fs::copy(&good, &file).unwrap();
        prepare(&file);
        said(restore(&database, Some(&file), false, now))
    };
    let cases: [(Prepare, &str); 8] = [
        (|file| fs::write(file, "nothing").unwrap(), "is no SQLite database"),
        (|file| fs::write(file, "").unwrap(), "is no SQLite database"),
        (|file| fs::remove_file(file).unwrap(), "cannot read"),
        (|file| fs::write(file, b"SQLite format 3\0and no more").unwrap(), "not a database"),
        (damage, "damaged"),
        (|file| sqlite(file, "DROP TABLE event"), "is no database of Berth's"),
        (
            |file| sqlite(file, "INSERT INTO __diesel_schema_migrations (version) VALUES ('99991231000000')"),
            "newer version (99991231000000)",
        ),
        (|file| sqlite(file, "UPDATE event SET detail = 'x' WHERE seq = 2"), "`--despite-broken-record`"),
    ];
    for (prepare, says) in cases {
        let refused = refusal(prepare);
        assert!(refused.contains(says), "{says}: {refused}");
    }
    assert!(
        bytes() == before && beside(&farm, ".restore-").is_empty() && beside(&farm, ".backup-").is_empty()
    );
    let nothing = said(restore(at("none.db").to_str().unwrap(), None, false, now));
    assert!(nothing.contains("there is no database"), "{nothing}");
    assert!(restore(&database, Some(&file), true, now).is_ok(), "whoever insists gets it, broken as it is");
}

/// The refusal.
fn said<T, E: std::fmt::Display>(outcome: Result<T, E>) -> String {
    outcome.err().map(|refusal| format!("{refusal:#}")).expect("it is refused")
}

/// In the middle of a page that is in use.
fn damage(file: &Path) {
    let open = fs::File::options().write(true).open(file).unwrap();
    let middle = open.metadata().unwrap().len() / 8192 * 4096;
    for page in [middle, middle + 4096, middle + 8192] {
        open.write_at(&[0xff; 64], page).unwrap();
    }
}

fn berth_server(folder: &Path, command: &str) -> Output {
    let server = binary("debug", "berth-server");
    let mut shell = Command::new("bash");
    shell.current_dir(folder).env("server", server).args(["-c", command]).output().unwrap()
}

/// The command line itself, on a database that nobody serves, and on a disk that is full.
#[tokio::test(flavor = "multi_thread")]
async fn the_commands_say_what_they_did_and_leave_no_half_of_it() {
    let mut farm = Farm::new(Database::Sqlite).await;
    farm.add_machines(1).await;
    let run = |command: &str| {
        let Output { status, stdout, stderr } = berth_server(farm.folder.path(), command);
        (status.success(), String::from_utf8(stdout).unwrap() + &String::from_utf8(stderr).unwrap())
    };
    let full = run("ulimit -f 8; trap '' XFSZ; \"$server\" backup full --database berth.db");
    assert!(!full.0 && full.1.contains("cannot copy `berth.db`"), "{full:?}");
    assert!(beside(&farm, "full").is_empty() && beside(&farm, ".backup-").is_empty());
    let made = run("\"$server\" --database berth.db backup b");
    assert!(made.0 && made.1.contains("as of event") && made.1.contains("`--secrets-key`"), "{made:?}");
    farm.kill_server().await;
    farm.until_unclaimed().await;
    let run = |command: &str| {
        let Output { status, stdout, stderr } = berth_server(farm.folder.path(), command);
        (status.success(), String::from_utf8(stdout).unwrap() + &String::from_utf8(stderr).unwrap())
    };
    let full = run("ulimit -f 8; trap '' XFSZ; \"$server\" restore b --database berth.db");
    assert!(!full.0 && full.1.contains("cannot copy `b`"), "{full:?}");
    let restored = run("\"$server\" restore b --database berth.db");
    assert!(
        restored.0 && restored.1.contains("1 machines") && restored.1.contains("berth.db.before-"),
        "{restored:?}"
    );
    for command in ["backup x", "restore x"] {
        let postgres = run(&format!("\"$server\" {command} --database postgres://u:secret@nowhere/berth"));
        assert!(!postgres.0 && postgres.1.contains("postgres://u@nowhere/berth"), "{postgres:?}");
        assert!(!postgres.1.contains("secret") && postgres.1.contains("pg_"), "{postgres:?}");
    }
}
