//! What may happen next.

use super::asks::Ask;
use super::network::Letter;
use super::world::World;
use jiff::SignedDuration;
use model::wire::{DurationText, ReservationPatch, ReservationView};
use server::app::Refusal;
use server::store::MachineChange;
use tests::farm::desk;

#[derive(Clone, Copy)]
enum Step {
    // people
    Reserve,
    AskAgain,
    Release,
    Extend,
    Cordon,
    // time, and the server's loops
    TimePasses,
    Expire,
    Look,
    SweepAndLook,
    // agents, and the network
    /// A turn, its report, the answer, another turn, and its report: as it goes when nothing goes wrong.
    Converse,
    Deliver,
    Turn,
    TurnAndDie,
    /// See `faults.rs`.
    Fault,
}

const CHANCES: [(u64, Step); 14] = [
    (9, Step::Reserve),
    (2, Step::AskAgain),
    (4, Step::Release),
    (5, Step::Extend),
    (1, Step::Cordon),
    (10, Step::TimePasses),
    (4, Step::Expire),
    (8, Step::Look),
    (3, Step::SweepAndLook),
    (25, Step::Converse),
    (20, Step::Deliver),
    (14, Step::Turn),
    (2, Step::TurnAndDie),
    (18, Step::Fault),
];

impl World {
    pub(super) async fn step(&mut self) -> Result<(), String> {
        let machine = self.dice.index(self.machines.len());
        match self.dice.weighted(&CHANCES) {
            Step::Reserve => self.reserve().await,
            Step::AskAgain => self.ask_again().await,
            Step::Release => self.release().await,
            Step::Extend => self.extend().await,
            Step::Cordon => self.cordon(machine).await,
            Step::TimePasses => self.let_time_pass(),
            Step::Expire => {
                self.note("the expiry loop");
                self.server.expire().await;
            }
            Step::Look => {
                self.note("the machine loop");
                self.server.look().await;
            }
            Step::SweepAndLook => return self.sweep_and_look().await,
            Step::Converse => return self.converse(machine).await,
            Step::Deliver => self.deliver_some().await,
            Step::Turn => return self.turn(machine),
            Step::TurnAndDie => return self.turn_and_die(machine),
            Step::Fault => return self.fault(machine).await,
        }
        Ok(())
    }

    // --- people

    async fn reserve(&mut self) {
        let names: Vec<String> = self.machines.iter().map(|machine| machine.name.clone()).collect();
        self.asks.push(Ask::make(self.asks.len() + 1, &self.dice, &names));
        self.send_ask(self.asks.len() - 1).await;
    }

    async fn ask_again(&mut self) {
        if !self.asks.is_empty() {
            self.send_ask(self.dice.index(self.asks.len())).await;
        }
    }

    async fn send_ask(&mut self, at: usize) {
        let ask = &mut self.asks[at];
        let answer =
            desk(&self.server.app).await.reservation_create(ask.body.clone(), Some(ask.name.clone())).await;
        let said = match answer {
            Ok(view) => {
                if ask.id.is_none() {
                    ask.ends = vec![view.expires_at];
                }
                ask.doubled |= ask.id.is_some_and(|known| known != view.id);
                (ask.id, ask.in_doubt) = (Some(view.id), false);
                worded(&view)
            }
            Err(refusal) => {
                ask.in_doubt |= matches!(refusal, Refusal::Unavailable(_)) && ask.id.is_none();
                format!("refused: {refusal}")
            }
        };
        let line = format!("{} asks: {said}", self.asks[at].name);
        self.note(line);
    }

    async fn release(&mut self) {
        let Some(at) = self.some_ask() else { return };
        let id = self.asks[at].id.unwrap().to_string();
        let answer = desk(&self.server.app).await.reservation_release(&id, Some(0)).await;
        self.asks[at].released |= answer.is_ok();
        let said = answer.map_or_else(|refusal| format!("refused: {refusal}"), |view| worded(&view));
        let line = format!("{} is released: {said}", self.asks[at].name);
        self.note(line);
    }

    async fn extend(&mut self) {
        let Some(at) = self.some_ask() else { return };
        let id = self.asks[at].id.unwrap().to_string();
        let minutes = self.dice.between(1, 15) as i64;
        let patch = ReservationPatch { duration: Some(DurationText::Minutes(minutes)), until: None };
        let asked = self.time.now() + SignedDuration::from_mins(minutes);
        let said = match desk(&self.server.app).await.reservation_patch(&id, patch, Some(0)).await {
            Ok(view) => {
                self.asks[at].ends = vec![view.expires_at];
                worded(&view)
            }
            Err(refusal) => {
                // It may have been done for all that, if the server died over it.
                self.asks[at].ends.push(asked);
                format!("refused: {refusal}")
            }
        };
        let line = format!("{} is to end in {minutes} min: {said}", self.asks[at].name);
        self.note(line);
    }

    async fn cordon(&mut self, machine: usize) {
        let (name, cordoned) = (self.machines[machine].name.clone(), self.dice.percent(50));
        let change = MachineChange { cordoned: Some(cordoned), ..MachineChange::default() };
        let done = self.server.hub.store.machine_patch(&name, change, self.time.now()).await;
        self.note(format!("{name} is cordoned: {cordoned} ({})", done.is_ok()));
    }

    fn some_ask(&self) -> Option<usize> {
        let known: Vec<usize> = (0..self.asks.len()).filter(|at| self.asks[*at].id.is_some()).collect();
        // Mostly one of the last: the others have ended long ago.
        let last = &known[known.len().saturating_sub(4)..];
        (!last.is_empty()).then(|| self.dice.pick(last))
    }

    // --- time, loops, network, agents

    fn let_time_pass(&mut self) {
        let seconds = match self.dice.between(1, 20) {
            1..=10 => self.dice.between(1, 6),
            11..=18 => self.dice.between(10, 60),
            _ => self.dice.between(60, 300),
        };
        self.time.pass(SignedDuration::from_secs(seconds as i64));
        self.note(format!("{seconds} s pass"));
    }

    async fn sweep_and_look(&mut self) -> Result<(), String> {
        self.note("a sweep, and the machine loop");
        self.server.sweep().await;
        self.server.look().await;
        self.server.refresh(&mut self.facts).await;
        if self.server.is_dead() { Ok(()) } else { self.who_waits_is_not_forgotten() }
    }

    async fn deliver_some(&mut self) {
        if self.network.letters.is_empty() {
            return;
        }
        // Mostly the newest: the others lie about and come in between.
        let newest = self.network.letters.len() - 1;
        let at = if self.dice.percent(45) { newest } else { self.dice.index(newest + 1) };
        let (letter, fate) = match self.dice.between(1, 100) {
            1..=12 => (self.network.letters[at].clone(), "arrives, and may again"),
            13..=24 => {
                let lost = self.network.letters.remove(at);
                return self.note(format!("letter {} is lost", lost.number));
            }
            _ => (self.network.letters.remove(at), "arrives"),
        };
        self.arrive(letter, fate).await;
    }

    async fn arrive(&mut self, letter: Letter, fate: &str) {
        let number = letter.number;
        let came_of_it = self.deliver(letter).await;
        self.note(format!("letter {number} {fate}: {came_of_it}"));
    }

    async fn converse(&mut self, machine: usize) -> Result<(), String> {
        for _ in 0..2 {
            if self.machines[machine].is_up() {
                self.turn(machine)?;
            }
            // The report, and the answer to it.
            for _ in 0..2 {
                let is_ours = |letter: &Letter| letter.machine == machine;
                if self.machines[machine].is_up() && self.network.letters.last().is_some_and(is_ours) {
                    let letter = self.network.letters.pop().unwrap();
                    self.arrive(letter, "arrives").await;
                    self.server.refresh(&mut self.facts).await;
                    self.check_laws()?;
                }
            }
        }
        Ok(())
    }

    fn turn(&mut self, machine: usize) -> Result<(), String> {
        if !self.machines[machine].is_up() {
            let up = self.machines[machine].start();
            self.note(format!("the agent of {} starts: {up}", self.machines[machine].name));
            return Ok(());
        }
        let report = self.machines[machine].turn()?;
        let states: Vec<String> = report
            .accounts
            .iter()
            .map(|account| format!("{} {} {:?}", account.name, account.uid, account.state))
            .collect();
        let said = format!(
            "{} at {}: {states:?} {:?}",
            report.generation, self.machines[machine].name, report.problems
        );
        let number = self.send_report(machine, report);
        self.note(format!("an agent reports in letter {number}: {said}"));
        Ok(())
    }

    fn turn_and_die(&mut self, machine: usize) -> Result<(), String> {
        if !self.machines[machine].is_up() {
            return Ok(());
        }
        let call = self.dice.between(0, 60);
        self.machines[machine].turn_and_die(call)?;
        self.note(format!("the agent of {} dies at its call {call}", self.machines[machine].name));
        Ok(())
    }
}

fn worded(view: &ReservationView) -> String {
    let seats: Vec<String> =
        view.machines.iter().map(|seat| format!("{} {:?}", seat.name, seat.phase)).collect();
    format!("{:?} until {}, {seats:?}", view.phase, view.expires_at)
}
