//! Looking at a pretend machine: who can log in, and what of ours is there.

use model::machine::{FIRST_UID, LAST_UID};
use playbooks::fake::World;
use playbooks::{Db, FakeHost};

/// Something of ours on a machine: whose it is, and where it is, as an operator would see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trace {
    whose: Whose,
    pub place: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Whose {
    Uid(u32),
    Name(String),
}

impl Trace {
    fn of_uid(uid: u32, place: String) -> Self {
        Self { whose: Whose::Uid(uid), place }
    }

    fn of_name(name: &str, place: String) -> Self {
        Self { whose: Whose::Name(name.to_owned()), place }
    }

    pub fn belongs_to(&self, name: &str, uid: u32) -> bool {
        match &self.whose {
            Whose::Uid(of) => *of == uid,
            Whose::Name(of) => of == name,
        }
    }
}

/// What Berth has left on a machine: everything of its UIDs, and every name that no account of the machine's own has.
pub fn traces(world: &World) -> Vec<Trace> {
    let mut found = Vec::new();
    for db in Db::ALL {
        found.extend(lines(world, db).filter_map(|line| trace_in(world, db, line)));
        found.extend(lines(world, db).flat_map(|line| memberships(world, db, line)));
    }
    let homes = world.homes.iter().filter(|(_, home)| is_managed(home.owner));
    found.extend(homes.map(|(name, home)| Trace::of_uid(home.owner, format!("/home/{name}"))));
    let rules = world.sudoers.iter().flatten();
    found.extend(rules.map(|(name, _)| Trace::of_name(name, format!("/etc/sudoers.d/berth-{name}"))));
    let mail = world.mail.iter().filter(|name| !is_theirs(world, name));
    found.extend(mail.map(|name| Trace::of_name(name, format!("/var/mail/{name}"))));
    let keys = world.root_keys.iter().flatten();
    found.extend(keys.map(|(name, _)| Trace::of_name(name, format!("/etc/ssh/berth-keys/{name}"))));
    let litter = world.litter.iter().filter(|(_, (_, uid))| is_managed(*uid));
    found.extend(
        litter.map(|((_, name), (kind, uid))| Trace::of_uid(*uid, format!("{}: {name}", kind.name()))),
    );
    let processes = world.processes.iter().filter(|(_, uid)| is_managed(**uid));
    found.extend(processes.map(|(pid, uid)| Trace::of_uid(*uid, format!("process {pid} of uid {uid}"))));
    found
}

/// The machine without anything of ours: what no agent may ever change.
pub fn theirs(world: &World) -> World {
    let mut rest = world.clone();
    for db in Db::ALL {
        let kept = lines(world, db).filter(|line| trace_in(world, db, line).is_none());
        let text: String = kept.map(|line| without_strangers(world, db, line) + "\n").collect();
        rest.files.insert(db, text.into_bytes());
    }
    rest.homes.retain(|_, home| !is_managed(home.owner));
    rest.sudoers.iter_mut().for_each(|rules| rules.clear());
    rest.mail.retain(|name| is_theirs(world, name));
    rest.root_keys.iter_mut().for_each(|keys| keys.clear());
    rest.litter.retain(|_, (_, uid)| !is_managed(*uid));
    rest.notice = Default::default();
    rest.processes.retain(|_, uid| !is_managed(*uid));
    rest.ledger = None;
    rest
}

/// What of ours there is, in words.
pub fn ours(host: &FakeHost) -> Vec<String> {
    traces(&host.world()).into_iter().map(|trace| trace.place).collect()
}

/// The UID under which somebody can log in by this name, if that is an account of ours.
pub fn login_of(world: &World, username: &str) -> Option<u32> {
    let entry = lines(world, Db::Passwd).find(|line| field(line, 0) == username)?;
    let uid = field(entry, 2).parse().ok().filter(|uid| is_managed(*uid))?;
    let shadow = lines(world, Db::Shadow).find(|line| field(line, 0) == username)?;
    let locked = field(shadow, 1).starts_with('!');
    let home = world.homes.get(username).is_some_and(|home| home.owner == uid && !home.unfinished);
    (!locked && home).then_some(uid)
}

/// Whether somebody could log in.
pub fn has_account(host: &FakeHost, username: &str) -> bool {
    login_of(&host.world(), username).is_some()
}

fn trace_in(world: &World, db: Db, line: &str) -> Option<Trace> {
    let (name, id) = (field(line, 0), field(line, 2).parse());
    let place = || format!("/etc/{}: {line}", db.file_name());
    match (db, id) {
        (Db::Passwd | Db::Group, Ok(id)) => is_managed(id).then(|| Trace::of_uid(id, place())),
        _ => (!is_theirs(world, name)).then(|| Trace::of_name(name, place())),
    }
}

/// Of a line of group or gshadow: the members that the machine does not know by itself.
fn memberships<'a>(world: &'a World, db: Db, line: &'a str) -> impl Iterator<Item = Trace> + 'a {
    let strange = members(db, line).filter(|name| !is_theirs(world, name));
    strange.map(move |name| Trace::of_name(name, format!("/etc/{}: {line}", db.file_name())))
}

fn without_strangers(world: &World, db: Db, line: &str) -> String {
    let known: Vec<&str> = members(db, line).filter(|name| is_theirs(world, name)).collect();
    match line.rsplit_once(':') {
        Some((rest, _)) if members(db, line).next().is_some() => format!("{rest}:{}", known.join(",")),
        _ => line.to_owned(),
    }
}

/// Whom a line of group or gshadow lists, at its end.
fn members(db: Db, line: &str) -> impl Iterator<Item = &str> {
    let list = if matches!(db, Db::Group | Db::Gshadow) { field(line, 3) } else { "" };
    list.split(',').filter(|name| !name.is_empty())
}

/// Whether the machine has an account or a group of this name that is not ours.
fn is_theirs(world: &World, name: &str) -> bool {
    [Db::Passwd, Db::Group].into_iter().any(|db| {
        let mut entries = lines(world, db).filter(|line| field(line, 0) == name);
        entries.any(|line| field(line, 2).parse().is_ok_and(|id: u32| !is_managed(id)))
    })
}

fn is_managed(id: u32) -> bool {
    (FIRST_UID..=LAST_UID).contains(&id)
}

fn lines(world: &World, db: Db) -> impl Iterator<Item = &str> {
    let bytes = world.files.get(&db).map_or(&[][..], Vec::as_slice);
    std::str::from_utf8(bytes).expect("pretend machines hold text").lines()
}

fn field(line: &str, at: usize) -> &str {
    line.split(':').nth(at).unwrap_or_default()
}
