//! What goes wrong, and what others do on a machine meanwhile.

use super::asks::USERS;
use super::world::World;
use jiff::SignedDuration;
use playbooks::{Db, When};
use server::store::CommitSide;

#[derive(Clone, Copy)]
enum Fault {
    AgentDies,
    Reboots,
    FallsSilent,
    ACallFails,
    TheDiskFills,
    ProcessesStay,
    Heals,
    ServerRestarts,
    ServerDies,
    // what others do
    ATenantWorks,
    ATenantLitters,
    MailComes,
    AnAccountIsMadeByHand,
}

const CHANCES: [(u64, Fault); 13] = [
    (4, Fault::AgentDies),
    (2, Fault::Reboots),
    (1, Fault::FallsSilent),
    (6, Fault::ACallFails),
    (1, Fault::TheDiskFills),
    (1, Fault::ProcessesStay),
    (4, Fault::Heals),
    (1, Fault::ServerRestarts),
    (1, Fault::ServerDies),
    (3, Fault::ATenantWorks),
    (2, Fault::ATenantLitters),
    (1, Fault::MailComes),
    (1, Fault::AnAccountIsMadeByHand),
];

impl World {
    pub(super) async fn fault(&mut self, at: usize) -> Result<(), String> {
        let user = self.dice.pick(&USERS);
        let machine = &mut self.machines[at];
        let what = match self.dice.weighted(&CHANCES) {
            Fault::AgentDies => {
                machine.crash();
                "its agent dies".to_owned()
            }
            Fault::Reboots => {
                machine.reboot();
                "reboots".to_owned()
            }
            Fault::FallsSilent => return self.fall_silent(at).await,
            Fault::ACallFails => {
                let call = self.dice.between(0, 40);
                let when = self.dice.pick(&[When::Before, When::After, When::Late]);
                machine.host.fail_at(call, when);
                format!("call {call} from now will fail {when:?}")
            }
            Fault::TheDiskFills => {
                machine.host.set_full(true);
                "its disk is full".to_owned()
            }
            Fault::ProcessesStay => {
                machine.host.set_immortal(true);
                "its processes do not die".to_owned()
            }
            Fault::Heals => {
                machine.heal();
                "is well again".to_owned()
            }
            Fault::ServerRestarts => {
                self.restart_server().await;
                return Ok(());
            }
            Fault::ServerDies => {
                self.kill_server_at_next_commit();
                return Ok(());
            }
            Fault::ATenantWorks => format!("{user} runs a program: {}", machine.run_program(user)),
            Fault::ATenantLitters => format!("{user} leaves things about: {}", machine.litter(user)),
            Fault::MailComes => format!("mail for {user}: {}", machine.leave_mail(user)),
            Fault::AnAccountIsMadeByHand => {
                self.make_by_hand(at, user);
                return Ok(());
            }
        };
        let line = format!("{}: {what}", machine.name);
        self.note(line);
        Ok(())
    }

    /// For longer than anybody waits for it, while all the others are heard.
    async fn fall_silent(&mut self, at: usize) -> Result<(), String> {
        self.machines[at].crash();
        let line = format!("{}: is not heard of for 20 minutes", self.machines[at].name);
        self.note(line);
        for _ in 0..4 {
            self.round(SignedDuration::from_mins(5), Some(at)).await?;
        }
        Ok(())
    }

    async fn restart_server(&mut self) {
        self.note("the server is started again");
        self.server.restart().await;
    }

    fn kill_server_at_next_commit(&mut self) {
        let side = self.dice.pick(&[CommitSide::Before, CommitSide::After]);
        self.server.die_at_next_commit(side);
        self.note(format!("the server will die {side:?} its next commit"));
    }

    /// A name that nobody has there becomes somebody else's, for good.
    fn make_by_hand(&mut self, at: usize, user: &str) {
        let machine = &mut self.machines[at];
        let entry = format!("{user}:x:2007:2007::/home/{user}:/bin/bash\n");
        let passwd = machine.host.text(Db::Passwd);
        let taken = passwd.lines().any(|line| line.starts_with(user))
            || machine.traces.iter().any(|trace| trace.belongs_to(user, 0))
            || machine.host.with(|world| world.homes.contains_key(user));
        if !taken {
            let passwd = (passwd + &entry).into_bytes();
            machine.others_did(|world| drop(world.files.insert(Db::Passwd, passwd)));
            let line = format!("{}: somebody makes an account for {user} by hand", machine.name);
            self.note(line);
        }
    }
}
