//! Groups, who is in them, and what they say of their hosts.

use super::super::{Found, MOST_MACHINES, Malformed};
use super::vars::{self, Vars};
use std::collections::{BTreeMap, BTreeSet, HashMap};

pub(super) const ALL: &str = "all";
pub(super) const UNGROUPED: &str = "ungrouped";

#[derive(Default)]
pub(super) struct Tree {
    groups: BTreeMap<String, Group>,
    /// In the order of the file.
    hosts: Vec<Host>,
    index: HashMap<String, usize>,
}

#[derive(Default)]
struct Group {
    line: u64,
    parents: BTreeSet<String>,
    vars: Vars,
}

struct Host {
    name: String,
    line: u64,
    groups: BTreeSet<String>,
    vars: Vars,
}

impl Tree {
    pub(super) fn group(&mut self, name: &str, line: u64) {
        self.groups.entry(name.to_owned()).or_insert_with(|| Group { line, ..Group::default() });
    }

    pub(super) fn group_vars(&mut self, group: &str, vars: Vars) {
        self.groups.entry(group.to_owned()).or_default().vars.extend(vars);
    }

    pub(super) fn child(&mut self, parent: &str, child: &str, line: u64) {
        self.group(child, line);
        if let Some(child) = self.groups.get_mut(child) {
            child.parents.insert(parent.to_owned());
        }
    }

    /// One that stands in several places is one host; what is said last of it counts.
    pub(super) fn host(&mut self, group: &str, name: &str, line: u64, vars: Vars) -> Result<(), Malformed> {
        if !self.index.contains_key(name) {
            if self.hosts.len() == MOST_MACHINES {
                return Err(Malformed::too_many(line));
            }
            self.index.insert(name.to_owned(), self.hosts.len());
            let (name, groups) = (name.to_owned(), BTreeSet::new());
            self.hosts.push(Host { name, line, groups, vars: Vars::default() });
        }
        if let Some(host) = self.index.get(name).and_then(|&index| self.hosts.get_mut(index)) {
            host.groups.insert(group.to_owned());
            host.vars.extend(vars);
        }
        Ok(())
    }

    pub(super) fn machines(self) -> Result<Vec<Found>, Malformed> {
        let depths = self.depths()?;
        let machine = |host: &Host| {
            let groups = self.groups_of(host);
            let labelled = groups.iter().filter(|group| !matches!(**group, ALL | UNGROUPED));
            let labels = labelled.map(|group| (format!("group.{group}"), "true".to_owned())).collect();
            let vars = self.vars_of(host, groups, &depths);
            Found { line: host.line, name: host.name.clone(), said: vars::said(&host.name, &vars, labels) }
        };
        Ok(self.hosts.iter().map(machine).collect())
    }

    /// Those it is in, and those that these are in.
    fn groups_of<'a>(&'a self, host: &'a Host) -> BTreeSet<&'a str> {
        let mut all = BTreeSet::from([ALL]);
        let mut next: Vec<&str> = host.groups.iter().map(String::as_str).collect();
        while let Some(name) = next.pop() {
            if all.insert(name) {
                next.extend(
                    self.groups.get(name).iter().flat_map(|group| &group.parents).map(String::as_str),
                );
            }
        }
        all
    }

    /// The host's own count most, then those of the groups deepest down; of two as deep, the later by name.
    fn vars_of(&self, host: &Host, groups: BTreeSet<&str>, depths: &HashMap<&str, usize>) -> Vars {
        let mut groups: Vec<&str> = groups.into_iter().collect();
        groups.sort_by_key(|name| (depths.get(name), *name));
        let mut vars = Vars::default();
        for group in groups.iter().filter_map(|name| self.groups.get(*name)) {
            vars.extend(group.vars.clone());
        }
        vars.extend(host.vars.clone());
        vars
    }

    /// How far each group is below `all`, by the longest way. A circle of groups has none.
    fn depths(&self) -> Result<HashMap<&str, usize>, Malformed> {
        let mut children: HashMap<&str, Vec<&str>> = HashMap::new();
        let mut waits_for: HashMap<&str, usize> = HashMap::new();
        for (name, group) in &self.groups {
            let parents = group.parents.iter().filter(|parent| *parent != ALL);
            for parent in parents.clone() {
                children.entry(parent).or_default().push(name);
            }
            waits_for.insert(name, parents.count());
        }
        let mut depths = HashMap::from([(ALL, 0)]);
        let mut ready: Vec<&str> =
            waits_for.iter().filter(|(_, count)| **count == 0).map(|(name, _)| *name).collect();
        while let Some(name) = ready.pop() {
            let depth = if name == ALL { 0 } else { *depths.entry(name).or_insert(1) };
            for child in children.remove(name).unwrap_or_default() {
                let deepest = depths.entry(child).or_default();
                *deepest = (*deepest).max(depth + 1);
                let waits = waits_for.entry(child).or_default();
                *waits -= 1;
                if *waits == 0 {
                    ready.push(child);
                }
            }
        }
        match waits_for.iter().filter(|(_, count)| **count > 0).map(|(name, _)| *name).min() {
            Some(name) => Err(self.circle(name)),
            None => Ok(depths),
        }
    }

    fn circle(&self, name: &str) -> Malformed {
        let line = self.groups.get(name).map_or(1, |group| group.line);
        Malformed::at(line, format!("the group `{name}` is in a circle of groups: take one out of the other"))
    }
}
