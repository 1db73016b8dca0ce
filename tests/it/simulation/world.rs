//! Everything there is in one life, and how it ends.

use super::asks::Ask;
use super::dice::Dice;
use super::laws::Promises;
use super::machine::Machine;
use super::network::{Letter, Network, Text};
use super::server::{Facts, Server, Time};
use jiff::SignedDuration;
use model::wire::{EnrolRequest, MachineCreate};
use server::store::MachineChange;
use std::fmt::Display;
use tests::farm::desk;

const MACHINES: usize = 4;
const ROUNDS: usize = 60;
const ROUND: SignedDuration = SignedDuration::from_secs(20);

/// A rule taken away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sabotage {
    /// The agent takes an older spec for a newer one, and forgets who has ended.
    AnySpecIsObeyed,
    /// An agent that starts again knows of no account it made.
    TheLedgerIsForgotten,
    /// The server takes every report for one of the newest spec.
    AnyReportIsBelieved,
    /// The agent goes by the machine's clock, whatever the server says.
    TheWallClockIsBelieved,
}

impl Sabotage {
    pub(super) const ALL: [Self; 4] = [
        Self::AnySpecIsObeyed,
        Self::TheLedgerIsForgotten,
        Self::AnyReportIsBelieved,
        Self::TheWallClockIsBelieved,
    ];
}

pub(super) struct World {
    pub(super) dice: Dice,
    pub(super) time: Time,
    pub(super) server: Server,
    pub(super) machines: Vec<Machine>,
    pub(super) network: Network,
    pub(super) asks: Vec<Ask>,
    /// As of the last look.
    pub(super) facts: Facts,
    pub(super) promises: Promises,
    pub(super) trace: Vec<String>,
    pub(super) sabotage: Option<Sabotage>,
}

impl World {
    pub(super) async fn new(dice: Dice, sabotage: Option<Sabotage>) -> Self {
        let time = Time::new();
        let server = Server::new(&time);
        let mut machines = Vec::new();
        for number in 1..=MACHINES {
            let skew = SignedDuration::from_secs(dice.between(0, 1200) as i64 - 600);
            let mut machine = enrol(&server, format!("m{number}"), &time, skew, sabotage).await;
            if number % 2 == 0 {
                machine.host.use_root_keys();
                machine.others_did(|_| {});
            }
            machines.push(machine);
        }
        Self {
            dice,
            time,
            server,
            machines,
            network: Network::default(),
            asks: vec![],
            facts: Facts::default(),
            promises: Promises::default(),
            trace: vec![],
            sabotage,
        }
    }

    pub(super) async fn live(&mut self, steps: u32) -> Result<(), String> {
        self.server.refresh(&mut self.facts).await;
        self.rounds_until(Self::is_as_in_the_beginning, "does not begin").await?;
        for _ in 0..steps {
            self.time.pass(SignedDuration::from_millis(1));
            self.step().await?;
            self.go_on().await?;
        }
        self.come_right().await
    }

    /// After every step: a server that died is started again, and the laws hold.
    async fn go_on(&mut self) -> Result<(), String> {
        if self.server.is_dead() {
            self.note("the server died over that, and starts again");
            self.server.restart().await;
        }
        self.network.give_up(self.time.now());
        self.server.refresh(&mut self.facts).await;
        self.check_laws()
    }

    pub(super) fn replaced(&self) -> usize {
        let seats = self.facts.reservations.iter().flat_map(|of| &of.seats);
        seats.filter(|seat| seat.ready_at.is_some() && seat.given_up_at.is_some()).count()
    }

    pub(super) fn note(&mut self, what: impl Display) {
        let since = self.time.now().duration_since(tests::clock::start());
        self.trace.push(format!("{:>10.3} {what}", since.as_secs_f64()));
    }

    // --- the way of a report, and of its answer

    pub(super) fn send_report(&mut self, machine: usize, report: model::report::Report) -> u32 {
        let request = self.machines[machine].request(report);
        self.network.send(machine, Text::Report(request), self.time.now())
    }

    pub(super) async fn deliver(&mut self, letter: Letter) -> String {
        let machine = letter.machine;
        match letter.text {
            Text::Answer(answer) => {
                let said = answer.spec.as_ref().map_or("no news".to_owned(), worded);
                self.machines[machine].hear(answer);
                format!("{} hears {said}", self.machines[machine].name)
            }
            Text::Report(request) => {
                let credential = &self.machines[machine].credential;
                if self.sabotage == Some(Sabotage::AnyReportIsBelieved) {
                    let mut newest = request.clone();
                    newest.report.generation = self.facts.machines[machine].generation;
                    let _ = self.server.app.agent_sync(credential, newest).await;
                }
                match self.server.app.agent_sync(credential, request).await {
                    Ok(answer) => {
                        let number = self.network.send(machine, Text::Answer(answer), self.time.now());
                        format!("the server answers with letter {number}")
                    }
                    Err(refusal) => format!("the server refuses: {refusal}"),
                }
            }
        }
    }

    // --- the end

    /// The faults stop, and everybody gets what was promised; then all time is up, and nothing may be left.
    async fn come_right(&mut self) -> Result<(), String> {
        self.note("the faults stop");
        self.server.restart().await;
        self.machines.iter_mut().for_each(Machine::heal);
        for machine in 0..self.machines.len() {
            let name = self.machines[machine].name.clone();
            let uncordoned = MachineChange { cordoned: Some(false), ..MachineChange::default() };
            self.server.hub.store.machine_patch(&name, uncordoned, self.time.now()).await.unwrap();
        }
        self.rounds_until(Self::is_settled, "is not settled").await?;
        self.note("everybody's time is up");
        self.time.pass(SignedDuration::from_hours(48));
        self.rounds_until(Self::is_as_in_the_beginning, "is not as in the beginning").await
    }

    async fn rounds_until(
        &mut self,
        met: impl Fn(&Self) -> Result<(), String>,
        what: &str,
    ) -> Result<(), String> {
        for _ in 0..ROUNDS {
            self.round(ROUND, None).await?;
            if met(self).is_ok() {
                return Ok(());
            }
        }
        met(self).map_err(|why| format!("the world {what} although the faults have stopped: {why}"))
    }

    /// Everybody gets a turn, but for one who is silent, and every letter arrives.
    pub(super) async fn round(&mut self, lasts: SignedDuration, silent: Option<usize>) -> Result<(), String> {
        self.time.pass(lasts);
        self.server.expire().await;
        self.server.sweep().await;
        self.server.look().await;
        for machine in (0..self.machines.len()).filter(|machine| Some(*machine) != silent) {
            if self.machines[machine].is_up() || self.machines[machine].start() {
                let report = self.machines[machine].turn()?;
                self.send_report(machine, report);
            }
        }
        // Before anybody hears anything: what the machines did on their own account is judged by what they knew.
        self.go_on().await?;
        for letter in std::mem::take(&mut self.network.letters) {
            self.time.pass(SignedDuration::from_millis(1));
            self.deliver(letter).await;
        }
        self.go_on().await
    }
}

async fn enrol(
    server: &Server,
    name: String,
    time: &Time,
    skew: SignedDuration,
    sabotage: Option<Sabotage>,
) -> Machine {
    let (host, labels) = ("h".into(), Default::default());
    let body = MachineCreate { name: name.clone(), host, port: 22, labels, uids: None, ssh: None };
    let join_token = desk(&server.app).await.machine_create(body, None).await.unwrap().join_token.unwrap();
    let credential = format!("berth_agent_of_{name}");
    let credential_sha256 = server::secret::digest(&credential);
    let enrolled = server.app.agent_enrol(EnrolRequest { join_token, credential_sha256 }).await.unwrap();
    Machine::new(name, credential, enrolled.incarnation, time, skew, sabotage)
}

fn worded(spec: &model::spec::Spec) -> String {
    let accounts: Vec<String> =
        spec.accounts.iter().map(|account| format!("{} {}", account.name, account.uid)).collect();
    format!("spec {} of {accounts:?}", spec.generation)
}
