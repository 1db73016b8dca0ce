//! Groups with `hosts`, `children` and `vars`.

use super::super::Malformed;
use super::super::yaml::{self, Pairs};
use super::range;
use super::tree::{ALL, Tree};
use super::vars::{self, Value};
use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_saphyr::{Spanned, Tagged};
use std::fmt;

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, expecting = "a group with `hosts:`, `children:` or `vars:`")]
struct Group {
    hosts: Option<Pairs<Option<Vars>>>,
    children: Option<Pairs<Option<Group>>>,
    vars: Option<Vars>,
}

/// Those that are of use here.
struct Vars(vars::Vars);

pub(super) fn parse(text: &str) -> Result<Tree, Malformed> {
    let groups: Option<Pairs<Option<Group>>> = yaml::parse(text)?;
    let mut tree = Tree::default();
    tree.group(ALL, 1);
    for (name, group) in groups.map_or_else(Vec::new, |Pairs(groups)| groups) {
        tree.group(&name.value, name.referenced.line());
        plant(&mut tree, &name.value, group.unwrap_or_default())?;
    }
    Ok(tree)
}

fn plant(tree: &mut Tree, name: &str, group: Group) -> Result<(), Malformed> {
    let Group { hosts, children, vars } = group;
    tree.group_vars(name, vars.map(|Vars(vars)| vars).unwrap_or_default());
    for (host, vars) in hosts.map_or_else(Vec::new, |Pairs(hosts)| hosts) {
        plant_hosts(tree, name, &host, vars.map(|Vars(vars)| vars).unwrap_or_default())?;
    }
    for (child, group) in children.map_or_else(Vec::new, |Pairs(children)| children) {
        tree.child(name, &child.value, child.referenced.line());
        plant(tree, &child.value, group.unwrap_or_default())?;
    }
    Ok(())
}

fn plant_hosts(
    tree: &mut Tree,
    group: &str,
    host: &Spanned<String>,
    said: vars::Vars,
) -> Result<(), Malformed> {
    let line = host.referenced.line();
    let hosts = range::expand(&host.value).map_err(|why| Malformed::at(line, why))?;
    let port = hosts.port.map(|port| ("ansible_port".to_owned(), Value::Text(port)));
    let vars: vars::Vars = port.into_iter().chain(said).collect();
    hosts.names.iter().try_for_each(|name| tree.host(group, name, line, vars.clone()))
}

impl<'de> Deserialize<'de> for Vars {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(VarsVisitor)
    }
}

struct VarsVisitor;

impl<'de> Visitor<'de> for VarsVisitor {
    type Value = Vars;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("variables, `name: value`")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Vars, A::Error> {
        let mut vars = vars::Vars::new();
        while let Some(name) = map.next_key::<String>()? {
            if !vars::is_used(&name) {
                map.next_value::<IgnoredAny>()?;
                continue;
            }
            // What is read as text stays as it is written: `0123` is no number.
            if let Some(Tagged(text, tag)) = map.next_value::<Option<Tagged<String>>>()? {
                vars.insert(name, value(text, tag));
            }
        }
        Ok(Vars(vars))
    }
}

fn value(text: String, tag: Option<String>) -> Value {
    match tag.as_deref() {
        None | Some("tag:yaml.org,2002:str") => Value::Text(text),
        Some("!unsafe") => Value::Exact(text),
        Some(tag) => Value::Tagged(tag.to_owned()),
    }
}
