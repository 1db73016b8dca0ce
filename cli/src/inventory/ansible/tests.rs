//! Inventories as Ansible's own documentation and other people write them.

use super::super::{Found, Malformed};
use super::{parse_ini, parse_yaml};

/// A machine a line: `line name user@host:port password labels…`, or why not; `~` is what was not said.
fn told(found: Result<Vec<Found>, Malformed>) -> String {
    let found = match found {
        Ok(found) => found,
        Err(malformed) => return malformed.to_string(),
    };
    let told = |found: &Found| {
        let said = match &found.said {
            Ok(said) => said,
            Err(why) => return format!("{} {}: {why}", found.line, found.name),
        };
        let or = |text: Option<&str>| text.unwrap_or("~").to_owned();
        let user = or(said.access.user.as_deref());
        let port = or(said.port.as_deref());
        let password = or(said.access.password.as_ref().map(|password| password.expose()));
        let labels: String = said.labels.iter().map(|(key, value)| format!(" {key}={value}")).collect();
        format!("{} {} {user}@{}:{port} {password}{labels}", found.line, found.name, said.host)
    };
    found.iter().map(told).collect::<Vec<_>>().join("\n")
}

const INI: &str = "
; ours
alone ansible_host=10.0.0.9

[web]
web[01:02].example ansible_user=deploy
db1:2222 ansible_host=10.0.0.5 ansible_password='pass word'   # the database, too

[db]
db1 ansible_ssh_pass=old
db2 ansible_host = 10.0.0.6
";

const INI_WELL: &str = "
; ours
alone ansible_host=10.0.0.9

[web]
web[01:02].example ansible_user=deploy   # two
db1:2222 ansible_host=10.0.0.5 ansible_password='pass word'

[db]
db1 ansible_user=\"dba\"

[site:children]
web
db # the rest

[site:vars]
ansible_user = site
ansible_password = \"site word\" # of all

[web:vars]
ansible_password=web#1

[all:vars]
ansible_user=all
ansible_port = 24 # everywhere
motd={{ it }}
";

#[test]
fn ini() {
    let expected = "\
3 alone all@10.0.0.9:24 ~
6 web01.example deploy@web01.example:24 web#1 group.site=true group.web=true
6 web02.example deploy@web02.example:24 web#1 group.site=true group.web=true
7 db1 dba@10.0.0.5:2222 pass word group.db=true group.site=true group.web=true";
    assert_eq!(told(parse_ini(INI_WELL)), expected);
    assert_eq!(told(parse_ini(&INI_WELL.replace('\n', "\r\n"))), expected);
    assert_eq!(told(parse_ini(INI_WELL.trim_end())), expected);
    assert_eq!(told(parse_ini(&INI_WELL.replace("\nweb[", "\n\tweb["))), expected);
    assert_eq!(told(parse_ini(INI)), "line 11: word 2 is not `variable=value`");
}

const YAML: &str = "
all:
  vars:
    ansible_user: all
    ansible_port: 24
    motd: '{{ it }}'
    list: [1, {a: b}]
  hosts:
    alone: {ansible_host: 10.0.0.9}
  children:
    site:
      vars: {ansible_user: site, ansible_password: 0123}
      children:
        web:
          vars:
            ansible_password: !unsafe 'web {{#1'
          hosts:
            web[01:02].example:
              ansible_user: deploy
              ansible_password: !vault |
                $ANSIBLE_VAULT;1.1;AES256
                3061
            db1:2222: {ansible_host: 10.0.0.5, ansible_user: dba, ansible_password: yes}
        db:
          hosts:
            db1:
            db2: {ansible_connection: local}
ungrouped:
  hosts:
    late:
";

#[test]
fn yaml() {
    let vault = "ansible_password is behind `!vault`: take it from a file of its own, `--password-file` or \
                 `--private-key-file`";
    let expected = format!(
        "\
9 alone all@10.0.0.9:24 ~
18 web01.example: {vault}
18 web02.example: {vault}
23 db1 dba@10.0.0.5:2222 yes group.db=true group.site=true group.web=true
27 db2: ansible_connection is another than ssh: machines are reached over SSH only
30 late all@late:24 ~"
    );
    assert_eq!(told(parse_yaml(YAML)), expected);
    let plain = YAML.replace("!vault |", "|").replace("3061", "x");
    assert!(told(parse_yaml(&plain)).contains("18 web01.example deploy@web01.example:24 $ANSIBLE_VAULT"));
    let unset = YAML.replace("ansible_password: yes", "ansible_password: ");
    assert!(told(parse_yaml(&unset)).contains("23 db1 dba@10.0.0.5:2222 web {{#1"));
    let outer = unset.replace("ansible_password: !unsafe", "motd:");
    assert!(told(parse_yaml(&outer)).contains("23 db1 dba@10.0.0.5:2222 0123"));
}

/// The deeper group counts, by the longest way down; of two as deep, the later by name.
#[test]
fn precedence() {
    let ini = "
[a]
h
[b]
h
[deep]
h
[b:children]
deep
[all:vars]
ansible_user=all
[a:vars]
ansible_user=a
[b:vars]
ansible_user=b
[deep:vars]
ansible_user=deep
";
    let user = |text: &str| {
        let mut found = parse_ini(text).unwrap();
        found.remove(0).said.unwrap().access.user.unwrap()
    };
    assert_eq!(user(ini), "deep");
    let without = |text: &str, value: &str| text.replace(&format!("ansible_user={value}\n"), "");
    let ini = without(ini, "deep");
    assert_eq!(user(&ini), "b");
    let ini = without(&ini, "b");
    assert_eq!(user(&ini), "a");
    assert_eq!(user(&without(&ini, "a")), "all");
    assert_eq!(user(&ini.replace("[a]\nh", "[a]\nh ansible_user=host")), "host");
}

#[test]
fn what_cannot_be_made_out() {
    for (text, said) in [
        ("[web", "line 1: is no section"),
        ("[web:hosts:x]\n", "line 1: is no section"),
        ("[a b]", "line 1: is no section"),
        ("[]", "line 1: is no section"),
        ("[web] x", "line 1: is no section"),
        ("\n[web:vars]\na=b", "line 2: there is no group `web`"),
        ("[web:children]\ndb\n", "line 2: there is no group `db`"),
        ("[web:children]\ndb web\n", "line 2: is not one group"),
        ("[a:children]\nb\n[b:children]\na\n", "line 1: the group `a` is in a circle"),
        ("[a:children]\na\n", "line 1: the group `a` is in a circle"),
        ("[web]\n[web:vars]\nhunter2", "line 3: is not `variable=value`"),
        ("w[1:100000]", "line 1: this range names more than 10000 hosts"),
        ("w[1:9999]\nx\ny\n", "line 3: these are more than 10000 machines"),
        ("w 'hunter2", "line 1: a quote is not closed"),
    ] {
        let told = told(parse_ini(text));
        assert!(told.starts_with(said) && !told.contains("hunter2"), "{text}: {told}");
    }
    for (text, said) in [
        ("all:\n  host:\n    a:\n", "line 2, column 3: unknown field `host`"),
        ("all:\n  hosts: hunter2\n", "line 2, column 10: expected names"),
        ("all:\n  hosts:\n    - hunter2\n", "line 3, column 5: "),
        ("all: hunter2\n", "line 1, column 6: expected names"),
        ("all:\n  hosts:\n    a: hunter2\n", "line 3, column 8: expected names"),
        ("all:\n  hosts: {a: {ansible_port: [hunter2]}}\n", "line 2, column 29: "),
        ("all:\n  hosts:\n    a:\n    a:\n", "line 4, column 5: duplicate mapping key `a`"),
        ("all:\n  hosts:\n    w[1:100000]:\n", "line 3: this range names more than"),
        ("a: {children: {b: {children: {a: }}}}", "line 1: the group `a` is in a circle"),
    ] {
        let told = told(parse_yaml(text));
        assert!(told.starts_with(said) && !told.contains("hunter2"), "{text}: {told}");
    }
}

#[test]
fn nothing_is_in_an_empty_file() {
    for text in ["", "# nothing\n", "---\n"] {
        assert_eq!(told(parse_yaml(text)), "", "{text}");
    }
    assert_eq!(told(parse_ini("# nothing\n[web]\n")), "");
    assert_eq!(told(parse_yaml("all:\n  hosts:\n")), "");
}
