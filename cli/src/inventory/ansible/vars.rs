//! Ansible's variables that say how a host is reached.

use super::super::Said;
use super::words;
use model::ssh::SshAccess;
use std::collections::BTreeMap;

pub(super) type Vars = BTreeMap<String, Value>;

#[derive(Clone)]
pub(super) enum Value {
    Text(String),
    /// Never a template, whatever it looks like.
    Exact(String),
    /// Behind a tag such as `!vault`.
    Tagged(String),
}

// The newer name goes before the older.
const HOST: &[&str] = &["ansible_host", "ansible_ssh_host"];
const PORT: &[&str] = &["ansible_port", "ansible_ssh_port"];
const USER: &[&str] = &["ansible_user", "ansible_ssh_user"];
const PASSWORD: &[&str] = &["ansible_password", "ansible_ssh_password", "ansible_ssh_pass"];
const SUDO_PASSWORD: &[&str] =
    &["ansible_become_password", "ansible_become_pass", "ansible_sudo_password", "ansible_sudo_pass"];
const KEY_FILE: &[&str] = &["ansible_ssh_private_key_file", "ansible_private_key_file"];
const PASSPHRASE: &[&str] = &["ansible_ssh_private_key_passphrase", "ansible_private_key_passphrase"];
const ARGUMENTS: &[&str] = &["ansible_ssh_common_args", "ansible_ssh_extra_args", "ansible_ssh_args"];
const CONNECTION: &[&str] = &["ansible_connection"];
const BECOME: &[&str] = &["ansible_become_method"];

/// Whether anything here depends on it.
pub(super) fn is_used(name: &str) -> bool {
    let all =
        [HOST, PORT, USER, PASSWORD, SUDO_PASSWORD, KEY_FILE, PASSPHRASE, ARGUMENTS, CONNECTION, BECOME];
    all.iter().any(|names| names.contains(&name))
}

pub(super) fn said(name: &str, vars: &Vars, labels: BTreeMap<String, String>) -> Result<Said, String> {
    let get = |names| text(vars, names);
    let connection = get(CONNECTION)?.unwrap_or_default();
    let kind = connection.rsplit('.').next().unwrap_or_default();
    if !matches!(kind, "" | "ssh" | "smart" | "paramiko" | "paramiko_ssh") {
        return Err("ansible_connection is another than ssh: machines are reached over SSH only".to_owned());
    }
    let method = get(BECOME)?.unwrap_or_default();
    if !matches!(method.as_str(), "" | "sudo" | "ansible.builtin.sudo") {
        return Err("ansible_become_method is another than sudo: log in as root, or allow sudo".to_owned());
    }
    let access = SshAccess {
        user: get(USER)?,
        password: get(PASSWORD)?.map(Into::into),
        sudo_password: get(SUDO_PASSWORD)?.map(Into::into),
        passphrase: get(PASSPHRASE)?.map(Into::into),
        jump: jump(vars)?,
        ..SshAccess::default()
    };
    Ok(Said {
        host: get(HOST)?.unwrap_or_else(|| name.to_owned()),
        port: get(PORT)?,
        labels,
        access,
        private_key_file: get(KEY_FILE)?,
    })
}

/// The first of these that is set; empty is not set.
fn text(vars: &Vars, names: &[&str]) -> Result<Option<String>, String> {
    let set = names.iter().filter_map(|name| Some((name, vars.get(*name)?)));
    for (name, value) in set {
        match value {
            Value::Tagged(tag) => {
                return Err(format!(
                    "{name} is behind `{tag}`: take it from a file of its own, \
                                    `--password-file` or `--private-key-file`"
                ));
            }
            Value::Text(text) if text.contains("{{") || text.contains("{%") => {
                return Err(format!("{name} is a template, and nothing renders it here: write its value"));
            }
            Value::Text(text) | Value::Exact(text) if text.is_empty() => {}
            Value::Text(text) | Value::Exact(text) => return Ok(Some(text.clone())),
        }
    }
    Ok(None)
}

fn jump(vars: &Vars) -> Result<Option<String>, String> {
    for name in ARGUMENTS {
        let Some(arguments) = text(vars, &[name])? else { continue };
        let words = words::split(&arguments).map_err(|why| format!("{name}: {why}"))?;
        if let Some(jump) = jump_in(&words).map_err(|why| format!("{name}: {why}"))? {
            return Ok(Some(jump));
        }
    }
    Ok(None)
}

/// Of `-J host`, `-Jhost`, `-o ProxyJump=host` and `-oProxyJump host`.
fn jump_in(words: &[String]) -> Result<Option<String>, String> {
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let mut value = |flag: &str| match word.strip_prefix(flag) {
            Some("") => words.next().cloned(),
            joined => joined.map(str::to_owned),
        };
        if let Some(host) = value("-J") {
            return Ok(Some(host));
        }
        let Some(option) = value("-o") else { continue };
        let (key, host) = option.split_once(['=', ' ']).unwrap_or_default();
        match key.trim().to_ascii_lowercase().as_str() {
            "proxyjump" if host.trim() != "none" => return Ok(Some(host.trim().to_owned())),
            "proxycommand" if host.trim() != "none" => {
                return Err("a ProxyCommand cannot be run by the server: write `-J HOST`".to_owned());
            }
            _ => {}
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vars(pairs: &[(&str, &str)]) -> Vars {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), Value::Text((*value).to_owned()))).collect()
    }

    #[test]
    fn the_newer_name_counts_and_the_older_is_known() {
        let new = [("ansible_user", "new"), ("ansible_ssh_user", "old"), ("ansible_ssh_pass", "pw")];
        let said = said("web1", &vars(&new), BTreeMap::new()).unwrap();
        assert_eq!((said.host.as_str(), said.access.user.as_deref()), ("web1", Some("new")));
        assert_eq!(said.access.password.unwrap().expose(), "pw");
    }

    #[test]
    fn what_is_jumped_through() {
        for (arguments, jump) in [
            ("-J bastion", Some("bastion")),
            ("-q -Jroot@bastion:2222 -A", Some("root@bastion:2222")),
            ("-o ProxyJump=bastion", Some("bastion")),
            ("-oProxyJump=bastion -o X=y", Some("bastion")),
            ("-o 'ProxyJump bastion'", Some("bastion")),
            ("-o proxyjump=none", None),
            ("-o StrictHostKeyChecking=no", None),
            ("-J", None),
            ("", None),
        ] {
            let vars = vars(&[("ansible_ssh_common_args", arguments)]);
            assert_eq!(super::jump(&vars), Ok(jump.map(str::to_owned)), "{arguments}");
        }
    }

    #[test]
    fn what_cannot_be_known_here() {
        for (name, value, why) in [
            ("ansible_password", "{{ hunter2 }}", "ansible_password is a template"),
            ("ansible_host", "{% if hunter2 %}a{% endif %}", "ansible_host is a template"),
            ("ansible_connection", "local", "ansible_connection is another than ssh"),
            ("ansible_connection", "community.docker.docker", "ansible_connection is another than ssh"),
            ("ansible_become_method", "su", "ansible_become_method is another than sudo"),
            ("ansible_ssh_common_args", "-o ProxyCommand=\"ssh -W %h:%p hunter2\"", "write `-J HOST`"),
            ("ansible_ssh_common_args", "-o 'hunter2", "a quote is not closed"),
        ] {
            let refused = said("web1", &vars(&[(name, value)]), BTreeMap::new()).err().unwrap();
            assert!(refused.contains(why) && !refused.contains("hunter2"), "{value}: {refused}");
        }
        let secret = Value::Tagged("!vault".to_owned());
        let vault = Vars::from([("ansible_password".to_owned(), secret)]);
        let refused = said("web1", &vault, BTreeMap::new()).err().unwrap();
        assert!(refused.starts_with("ansible_password is behind `!vault`"), "{refused}");
    }

    #[test]
    fn other_variables_may_be_templates() {
        let other = [("motd", "{{ it }}"), ("ansible_connection", "ansible.builtin.ssh")];
        assert!(said("web1", &vars(&other), BTreeMap::new()).is_ok());
    }
}
