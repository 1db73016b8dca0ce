//! A farm that is told what to do by lines of text.

use super::mask::Names;
use super::pretty;
use playbooks::Db;
use std::process::{Command, Output};
use tests::look::{login_of, ours};
use tests::real::binary;
use tests::{Database, Farm};

pub(super) struct Stage {
    farm: Farm,
    names: Names,
    /// Where the server was when it last ran.
    url: String,
    /// Empty, so that no key of whoever runs the tests is found there.
    home: tempfile::TempDir,
}

impl Stage {
    pub(super) async fn new() -> Self {
        let farm = Farm::new(Database::Sqlite).await;
        let url = farm.url().to_owned();
        Self { farm, names: Names::default(), url, home: tempfile::tempdir().unwrap() }
    }

    /// What a typed line is answered.
    pub(super) async fn answer(&mut self, line: &str) -> String {
        let known = self.names.ids_in(line);
        let (prompt, typed) = known.split_at(2);
        let answer = if prompt == "$ " { self.shell(typed).await } else { self.act(typed).await };
        pretty::columns(&self.names.masked(&answer))
    }

    /// Everything the farm can be told.
    async fn act(&mut self, typed: &str) -> String {
        match typed.split(' ').collect::<Vec<_>>()[..] {
            ["machines", ref names @ ..] => self.machines(names).await,
            ["agent", "of", machine, "stops"] => self.farm.stop_agent(self.index(machine)).await,
            ["agent", "of", machine, "starts"] => self.farm.start_agent(self.index(machine)),
            ["server", "dies"] => self.farm.kill_server().await,
            ["server", "starts"] => {
                self.farm.start_server(None);
                self.url = self.farm.url().to_owned();
            }
            [ref lasts @ .., "pass" | "passes"] => {
                self.farm.clock.advance(model::duration::parse(&lasts.join(" ")).unwrap());
            }
            [what, "becomes", state] => self.becomes(what, state).await,
            [user, "runs", "a", "program", "on", machine] => self.run_program(user, machine),
            ["somebody", "adds", user, "to", machine, "by", "hand"] => self.add_by_hand(user, machine),
            ["look", machine] => return look(&ours(&self.farm.machine(machine).host)),
            ["GET" | "POST" | "PUT" | "PATCH" | "DELETE", ..] => return self.request(typed).await,
            _ => panic!("`{typed}` is nothing a farm can do"),
        }
        String::new()
    }

    async fn machines(&mut self, names: &[&str]) {
        for name in names {
            self.farm.add_machine(name).await;
            self.becomes(name, "free").await;
        }
        for view in self.farm.machine_views().await {
            self.names.give(&view.id.to_string(), &view.name.as_str().to_uppercase());
        }
    }

    fn index(&self, machine: &str) -> usize {
        self.farm.machines.iter().position(|lent| lent.name == machine).expect("a machine of this farm")
    }

    /// Waits, while the clock stands, for what is under way: a reservation's phase, a machine's state, or that a machine
    /// is `clean`, which can be seen without a server.
    async fn becomes(&self, what: &str, state: &str) {
        let is_machine = self.farm.machines.iter().any(|lent| lent.name == what);
        let met = async || match (is_machine, state) {
            (true, "clean") => ours(&self.farm.machine(what).host).is_empty(),
            (true, "gone") => self.farm.machine_views().await.iter().all(|view| view.name.as_str() != what),
            (true, _) => self.farm.get(&format!("/v1/machines/{what}")).await["state"] == state,
            (false, _) => self.farm.get(&format!("/v1/reservations/{what}")).await["phase"] == state,
        };
        self.farm.until(&format!("{what} is {state}"), met).await;
    }

    fn run_program(&self, user: &str, machine: &str) {
        let host = &self.farm.machine(machine).host;
        host.spawn(login_of(&host.world(), user).expect("this one can log in there"));
    }

    fn add_by_hand(&self, user: &str, machine: &str) {
        let entry = format!("{user}:x:1007:1007::/home/{user}:/bin/bash\n");
        self.farm.machine(machine).host.with(|world| {
            world.files.get_mut(&Db::Passwd).unwrap().extend_from_slice(entry.as_bytes());
        });
    }

    /// `METHOD path [Header: value] [body]`
    async fn request(&self, typed: &str) -> String {
        let (method, rest) = typed.split_once(' ').unwrap();
        let (path, mut rest) = rest.split_once(' ').unwrap_or((rest, ""));
        let mut request = self.farm.http.request(method.parse().unwrap(), format!("{}{path}", self.url));
        if let Some((header, value)) = rest.split_once(": ").filter(|(name, _)| !name.contains('{')) {
            let (value, body) = value.split_once(' ').unwrap_or((value, ""));
            request = request.header(header, value);
            rest = body;
        }
        let answer = request.body(rest.to_owned()).send().await.unwrap();
        format!("{}\n{}", answer.status(), pretty::json(&answer.text().await.unwrap()))
    }

    /// Only `berth` is known here; what it says to both of its outputs, and how it ends if not well.
    async fn shell(&self, typed: &str) -> String {
        let mut words = typed.split(' ').map(str::to_owned);
        let program = words.next().unwrap();
        assert_eq!(program, "berth", "the only program of the scripts");
        let mut command = Command::new(binary("debug", &program));
        command.args(words).env_clear().env("HOME", self.home.path()).env("BERTH_SERVER", &self.url);
        let run = move || command.output().expect("`berth` is built: run the tests with `just test`");
        let Output { status, stdout, stderr } = tokio::task::spawn_blocking(run).await.unwrap();
        let said = [stdout, stderr].concat();
        let end = status.code().filter(|code| *code != 0);
        let end = end.map(|code| format!("exit code {code}\n")).unwrap_or_default();
        String::from_utf8(said).unwrap() + &end
    }
}

fn look(places: &[String]) -> String {
    if places.is_empty() { "nothing of ours".to_owned() } else { places.join("\n") }
}
