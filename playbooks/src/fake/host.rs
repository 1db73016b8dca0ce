//! What an agent sees of the pretend machine and does to it.

use super::{BALLAST, FakeHome, FakeHost, World};
use crate::host::{Cleared, Db, Home, Host, Litter, Who};
use crate::unix;
use model::UidRange;
use model::report::Facts;
use std::{io, time::Duration};

impl Host for FakeHost {
    fn facts(&mut self) -> io::Result<Facts> {
        self.see(|world| world.facts.clone())
    }

    fn read_ledger(&mut self) -> io::Result<Option<Vec<u8>>> {
        self.see(|world| world.ledger.clone())
    }

    fn write_ledger(&mut self, bytes: &[u8]) -> io::Result<()> {
        let bytes = bytes.to_vec();
        self.store(move |world| {
            world.ledger = Some(bytes);
            Ok(())
        })
    }

    fn lock_accounts(&mut self) -> io::Result<()> {
        self.see(|_| ())
    }

    fn unlock_accounts(&mut self) -> io::Result<()> {
        self.see(|_| ())
    }

    fn read(&mut self, db: Db) -> io::Result<Option<Vec<u8>>> {
        self.see(|world| world.files.get(&db).cloned())
    }

    fn replace_all(&mut self, files: &[(Db, Vec<u8>)]) -> io::Result<()> {
        let files = files.to_vec();
        self.store(move |world| {
            world.files.extend(files);
            Ok(())
        })
    }

    fn password_spoil(&mut self, who: &Who) -> io::Result<()> {
        let who = who.clone();
        self.change(move |world| {
            let read = |db| world.files.get(&db).cloned().unwrap_or_default();
            let (passwd, mut shadow) = (read(Db::Passwd), read(Db::Shadow));
            if let Some(at) = unix::password_at(&passwd, &shadow, who.name.as_str(), who.uid) {
                shadow[at] = b'!';
                world.files.insert(Db::Shadow, shadow);
            }
            Ok(())
        })
    }

    fn has_program(&mut self, path: &str) -> io::Result<bool> {
        self.see(|world| world.programs.contains(path))
    }

    fn home(&mut self, who: &Who) -> io::Result<Home> {
        self.see(|world| match world.homes.get(who.name.as_str()) {
            None => Home::Absent,
            Some(home) if home.unfinished => Home::Unfinished,
            Some(home) => {
                Home::Present { owner: home.owner, keys: home.keys.clone(), ssh: home.keys.is_some() }
            }
        })
    }

    fn home_create(&mut self, who: &Who, keys: &[u8]) -> io::Result<()> {
        let (who, keys) = (who.clone(), keys.to_vec());
        self.store(move |world| {
            let name = who.name.to_string();
            if world.homes.get(&name).is_some_and(|home| !home.unfinished) {
                return Err(io::Error::new(
                    io::ErrorKind::AlreadyExists,
                    format!("/home/{name} exists already"),
                ));
            }
            world.homes.insert(name, FakeHome { owner: who.uid, keys: Some(keys), unfinished: false });
            Ok(())
        })
    }

    fn home_remove(&mut self, who: &Who) -> io::Result<()> {
        let who = who.clone();
        self.change(move |world| {
            let home = world.homes.get(who.name.as_str());
            if home.is_some_and(|home| home.unfinished || home.owner == who.uid) {
                world.homes.remove(who.name.as_str());
            }
            Ok(())
        })
    }

    fn keys_write(&mut self, who: &Who, keys: &[u8]) -> io::Result<()> {
        let (who, keys) = (who.clone(), keys.to_vec());
        self.store(move |world| {
            own_home(world, &who).ok_or(io::ErrorKind::NotFound)?.keys = Some(keys);
            Ok(())
        })
    }

    fn keys_remove(&mut self, who: &Who) -> io::Result<()> {
        let who = who.clone();
        self.change(move |world| {
            if let Some(home) = own_home(world, &who) {
                home.keys = None;
            }
            Ok(())
        })
    }

    fn sudo(&mut self, who: &Who) -> io::Result<Option<Vec<u8>>> {
        self.see(|world| world.sudoers.as_ref().and_then(|rules| rules.get(who.name.as_str()).cloned()))
    }

    fn sudo_write(&mut self, who: &Who, rule: &[u8]) -> io::Result<()> {
        let (name, rule) = (who.name.to_string(), rule.to_vec());
        self.store(move |world| {
            world.sudoers.as_mut().ok_or(io::ErrorKind::NotFound)?.insert(name, rule);
            Ok(())
        })
    }

    fn sudo_remove(&mut self, who: &Who) -> io::Result<()> {
        let name = who.name.to_string();
        self.change(move |world| {
            if let Some(rules) = &mut world.sudoers {
                rules.remove(&name);
            }
            Ok(())
        })
    }

    fn has_sudo(&mut self) -> io::Result<bool> {
        self.see(|world| world.sudoers.is_some())
    }

    fn mail(&mut self, who: &Who) -> io::Result<bool> {
        self.see(|world| world.mail.contains(who.name.as_str()))
    }

    fn mail_remove(&mut self, who: &Who) -> io::Result<()> {
        let name = who.name.to_string();
        self.change(move |world| {
            world.mail.remove(&name);
            Ok(())
        })
    }

    fn processes(&mut self, uid: u32) -> io::Result<Vec<i32>> {
        self.see(|world| {
            world.processes.iter().filter(|(_, owner)| **owner == uid).map(|(pid, _)| *pid).collect()
        })
    }

    fn kill_all(&mut self, uid: u32) -> io::Result<()> {
        let immortal = self.state().immortal;
        self.change(move |world| {
            world.processes.retain(|_, owner| immortal || *owner != uid);
            Ok(())
        })
    }

    fn uptime(&mut self) -> Duration {
        let mut state = self.state();
        state.uptime += Duration::from_millis(1);
        state.uptime
    }

    /// Nobody is there to come first.
    fn rest(&mut self, _: Duration) {}

    fn has_uids(&mut self, uids: UidRange) -> io::Result<bool> {
        self.see(|world| world.uid_limit.is_none_or(|limit| uids.last <= limit))
    }

    fn ballast_keep(&mut self) -> io::Result<()> {
        if self.state().ballast {
            return self.see(|_| ());
        }
        if self.state().room.is_some() {
            return self.no_room();
        }
        self.change(|_| Ok(()))?;
        self.state().ballast = true;
        Ok(())
    }

    fn ballast_drop(&mut self) -> io::Result<()> {
        if !self.state().ballast {
            return self.see(|_| ());
        }
        self.change(|_| Ok(()))?;
        let mut state = self.state();
        state.ballast = false;
        state.room = state.room.map(|left| left + BALLAST);
        Ok(())
    }

    fn has_root_keys(&mut self) -> io::Result<bool> {
        self.see(|world| world.root_keys.is_some())
    }

    fn root_keys(&mut self, who: &Who) -> io::Result<Option<Vec<u8>>> {
        self.see(|world| world.root_keys.as_ref().and_then(|keys| keys.get(who.name.as_str()).cloned()))
    }

    fn root_keys_write(&mut self, who: &Who, keys: &[u8]) -> io::Result<()> {
        let (name, keys) = (who.name.to_string(), keys.to_vec());
        self.store(move |world| {
            world.root_keys.as_mut().ok_or(io::ErrorKind::NotFound)?.insert(name, keys);
            Ok(())
        })
    }

    fn root_keys_remove(&mut self, who: &Who) -> io::Result<()> {
        let name = who.name.to_string();
        self.change(move |world| {
            if let Some(keys) = &mut world.root_keys {
                keys.remove(&name);
            }
            Ok(())
        })
    }

    fn litter_remove(&mut self, whose: &[Who], litter: Litter) -> io::Result<Cleared> {
        let uids: Vec<u32> = whose.iter().map(|who| who.uid).collect();
        let removes = self.with(|world| world.litter_of(&uids, litter).any(|found| found.removed.is_ok()));
        if !removes {
            return self.see(|world| Cleared {
                found: world.litter_of(&uids, litter).collect(),
                unswept: Vec::new(),
            });
        }
        self.change(move |world| {
            let found = world.litter_of(&uids, litter).collect();
            let World { litter: all, immovable, .. } = world;
            all.retain(|(of, name), (_, uid)| {
                *of != litter || !uids.contains(uid) || immovable.contains(name)
            });
            Ok(Cleared { found, unswept: Vec::new() })
        })
    }

    fn notice_write(&mut self, line: &str, status: &[u8]) -> io::Result<()> {
        let notice = (line.to_owned(), status.to_vec());
        if self.with(|world| world.notice == notice) {
            return self.see(|_| ());
        }
        self.store(move |world| {
            world.notice = notice;
            Ok(())
        })
    }

    fn tell(&mut self, who: &Who, text: &str) -> io::Result<()> {
        self.see(|_| ())?;
        self.state().told.push((who.uid, text.to_owned()));
        Ok(())
    }
}

/// One that bears the name and belongs to somebody else is none.
fn own_home<'a>(world: &'a mut World, who: &Who) -> Option<&'a mut FakeHome> {
    world.homes.get_mut(who.name.as_str()).filter(|home| home.owner == who.uid)
}
