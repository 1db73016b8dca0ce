//! Ansible's inventories. Both spellings make the same tree of groups.

mod ini;
mod range;
#[cfg(test)]
mod tests;
mod tree;
mod vars;
mod words;
mod yaml;

use super::{Found, Malformed};

pub(super) fn parse_ini(text: &str) -> Result<Vec<Found>, Malformed> {
    ini::parse(text)?.machines()
}

pub(super) fn parse_yaml(text: &str) -> Result<Vec<Found>, Malformed> {
    yaml::parse(text)?.machines()
}
