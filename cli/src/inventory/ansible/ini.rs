//! `[groups]` of hosts, with variables behind each and in `[group:vars]`.

use super::super::{Malformed, lines};
use super::tree::{ALL, Tree, UNGROUPED};
use super::vars::{Value, Vars, is_used};
use super::{range, words};
use std::collections::BTreeSet;

enum Section {
    Hosts(String),
    Vars(String),
    Children(String),
}

pub(super) fn parse(text: &str) -> Result<Tree, Malformed> {
    let mut tree = Tree::default();
    tree.group(ALL, 1);
    let mut section = Section::Hosts(UNGROUPED.to_owned());
    let mut declared = BTreeSet::from([ALL.to_owned(), UNGROUPED.to_owned()]);
    let mut spoken_of: Vec<(u64, String)> = Vec::new();
    for (number, line) in lines(text, &['#', ';']) {
        let at = |why: String| Malformed::at(number, why);
        if line.starts_with('[') {
            section = header(line).map_err(at)?;
            match &section {
                Section::Vars(name) => spoken_of.push((number, name.clone())),
                Section::Hosts(name) | Section::Children(name) => {
                    tree.group(name, number);
                    declared.insert(name.clone());
                }
            }
            continue;
        }
        match &section {
            Section::Hosts(group) => hosts(&mut tree, group, number, line)?,
            Section::Vars(group) => tree.group_vars(group, variable(line).map_err(at)?),
            Section::Children(group) => {
                let child = child(line).map_err(at)?;
                tree.child(group, child, number);
                spoken_of.push((number, child.to_owned()));
            }
        }
    }
    match spoken_of.into_iter().find(|(_, name)| !declared.contains(name)) {
        Some((number, name)) => {
            Err(Malformed::at(number, format!("there is no group `{name}`: add `[{name}]`")))
        }
        None => Ok(tree),
    }
}

/// `[web]`, `[web:vars]` or `[web:children]`, perhaps with a comment.
fn header(line: &str) -> Result<Section, String> {
    let odd = || "is no section: write `[group]`, `[group:vars]` or `[group:children]`".to_owned();
    let (inside, behind) = line[1..].split_once(']').ok_or_else(odd)?;
    if !matches!(behind.trim_start().chars().next(), None | Some('#')) {
        return Err(odd());
    }
    let (name, kind) = inside.split_once(':').unwrap_or((inside, "hosts"));
    if name.is_empty() || name.contains(char::is_whitespace) {
        return Err(odd());
    }
    match kind {
        "hosts" => Ok(Section::Hosts(name.to_owned())),
        "vars" => Ok(Section::Vars(name.to_owned())),
        "children" => Ok(Section::Children(name.to_owned())),
        _ => Err(odd()),
    }
}

fn hosts(tree: &mut Tree, group: &str, number: u64, line: &str) -> Result<(), Malformed> {
    let at = |why: String| Malformed::at(number, why);
    let words = words::split(line).map_err(at)?;
    let Some((pattern, assignments)) = words.split_first() else { return Ok(()) };
    let hosts = range::expand(pattern).map_err(at)?;
    let mut vars = Vars::new();
    vars.extend(hosts.port.map(|port| ("ansible_port".to_owned(), Value::Text(port))));
    for (nth, assignment) in (2..).zip(assignments) {
        let (key, value) =
            assignment.split_once('=').ok_or_else(|| at(format!("word {nth} is not `variable=value`")))?;
        vars.extend(used(key, value));
    }
    hosts.names.iter().try_for_each(|name| tree.host(group, name, number, vars.clone()))
}

fn variable(line: &str) -> Result<Vars, String> {
    let (key, value) = line.split_once('=').ok_or("is not `variable=value`")?;
    Ok(used(key.trim(), value).into_iter().collect())
}

fn used(key: &str, value: &str) -> Option<(String, Value)> {
    is_used(key).then(|| (key.to_owned(), Value::Text(words::literal(value))))
}

fn child(line: &str) -> Result<&str, String> {
    let (name, _) = line.split_once('#').unwrap_or((line, ""));
    let name = name.trim_end();
    if name.contains(char::is_whitespace) { Err("is not one group".to_owned()) } else { Ok(name) }
}
