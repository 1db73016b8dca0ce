//! What is sent of what a file says, and what is refused.

use super::{Completion, Entry, Format, KnownHosts, parse};
use model::ssh::SshAccess;
use model::wire::MachineView;

fn entries(text: &str, mut completion: Completion) -> Vec<Entry> {
    let found = parse(text, Format::Auto, "-").unwrap_or_else(|malformed| panic!("{malformed}"));
    completion.entries(found, &[])
}

/// A machine a line, as it is sent, or why it is not.
fn told(entries: &[Entry]) -> String {
    let told = |entry: &Entry| match &entry.machine {
        Ok(machine) => format!("{} {}", entry.level, serde_json::to_string(machine).unwrap()),
        Err(why) => format!("{}: {why}", entry.name),
    };
    entries.iter().map(told).collect::<Vec<_>>().join("\n")
}

fn refusals(text: &str) -> String {
    let entries = entries(text, Completion::default());
    let why = |entry: &Entry| Some(format!("{}: {}", entry.name, entry.machine.as_ref().err()?));
    entries.iter().filter_map(why).collect::<Vec<_>>().join("\n")
}

#[test]
fn what_the_file_leaves_out_is_filled_up() {
    let usual = || SshAccess {
        user: Some("ops".to_owned()),
        private_key: Some("KEY".to_owned().into()),
        passphrase: Some("phrase".to_owned().into()),
        ..SshAccess::default()
    };
    let completion = Completion {
        access: usual(),
        labels: vec!["lab=1".parse().unwrap()],
        accept_new: true,
        ..Completion::default()
    };
    let text = "web1 10.0.0.1 22 root pw\nweb2 10.0.0.2";
    let expected = r#"
0 {"name":"web1","host":"10.0.0.1","port":22,"labels":{"lab":"1"},"ssh":{"user":"root","password":"pw","host_key":"accept-new"}}
0 {"name":"web2","host":"10.0.0.2","port":22,"labels":{"lab":"1"},"ssh":{"user":"ops","private_key":"KEY","passphrase":"phrase","host_key":"accept-new"}}"#;
    assert_eq!(told(&entries(text, completion)), expected.trim_start());
}

#[test]
fn beside_a_key_the_password_is_for_sudo() {
    let text = "- {name: a, host: h, key_file: /k, password: pw}\n\
                - {name: b, host: i, key_file: /k, password: pw, sudo_password: su}\n";
    let entries = entries(text, Completion::default());
    let ssh = |entry: &Entry| serde_json::to_string(&entry.machine.as_ref().unwrap().ssh).unwrap();
    assert_eq!(ssh(&entries[0]), r#"{"key_file":"/k","sudo_password":"pw"}"#);
    assert_eq!(ssh(&entries[1]), r#"{"key_file":"/k","sudo_password":"su"}"#);
}

#[test]
fn known_hosts_give_keys_and_revoked_ones_refuse() {
    let key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f";
    let known = KnownHosts::parse(&format!("[h]:2222 {key}\n@revoked i {key}\ni {key}\n"));
    let completion = Completion { known_hosts: Some(known), ..Completion::default() };
    let text = "a h 2222 root pw\nb i 22 root pw\nc j 22 root pw";
    let entries = entries(text, completion);
    let host_key = |entry: &Entry| entry.machine.as_ref().unwrap().ssh.as_ref().unwrap().host_key.clone();
    assert_eq!(host_key(&entries[0]).as_deref(), Some(key));
    assert!(entries[1].machine.as_ref().unwrap_err().starts_with("line 2: its host key is revoked"));
    assert_eq!(host_key(&entries[2]), None);
}

#[test]
fn one_bad_machine_is_refused_with_its_line_and_the_others_are_not() {
    for (text, refused) in [
        ("a h 22 root pw\nB h2 22 root pw", "B: line 2: name: use 1 to 63"),
        ("a h hunter2 root pw", "a: line 1: port: must be 1 to 65535"),
        ("a h 0 root pw", "a: line 1: port: must be 1 to 65535"),
        ("a h 65536 root pw", "a: line 1: port: must be 1 to 65535"),
        ("a h 22 root -", "a: line 1: has neither password nor key"),
        ("- {name: a, host: h, password: p, labels: {'a b': c}}", "a: line 1: labels: label `a b`"),
        (
            "- {name: a, host: h, private_key_file: /nowhere/id}",
            "a: line 1: private key `/nowhere/id`: No such",
        ),
        ("- {name: a, host: h, key_file: /k, private_key_file: /k}", "a: line 1: has `key_file` and"),
    ] {
        let said = refusals(text);
        assert!(said.starts_with(refused) && said.lines().count() == 1, "{text}: {said}");
        assert!(!said.contains("hunter2"), "{said}");
    }
}

#[test]
fn of_twins_none_is_sent() {
    for (text, refused) in [
        (
            "a h1 22 root pw\nb h2 22 root pw\na h3 22 root pw",
            "a: line 1: line 3 has the same name: leave one out\n\
             a: line 3: line 1 has the same name: leave one out",
        ),
        (
            "a h 22 root pw\nb H 22 root pw\nc h 23 root pw",
            "a: line 1: line 2 has the same host and port: leave one out\n\
             b: line 2: line 1 has the same host and port: leave one out",
        ),
        (
            "w[1:2] ansible_host=h ansible_password=pw",
            "w1: line 1: several machines of this line have the same host and port: leave one out\n\
             w2: line 1: several machines of this line have the same host and port: leave one out",
        ),
    ] {
        assert_eq!(refusals(text), refused, "{text}");
    }
    let behind = "- {name: j, host: h0, password: p}\n- {name: k, host: h1, password: p}\n\
                  - {name: a, host: h, password: p, jump: j}\n- {name: b, host: h, password: p, jump: k}\n";
    assert_eq!(refusals(behind), "");
    assert_eq!(refusals(&behind.replace("jump: k", "jump: h0")).lines().count(), 2);
}

#[test]
fn what_is_jumped_through_goes_first() {
    let text = "\
inner ansible_host=10.0.0.1 ansible_ssh_common_args='-J ops@bastion.example:2222'
middle ansible_host=10.0.0.2 ansible_ssh_common_args='-o ProxyJump=inner'
bastion ansible_host=bastion.example ansible_port=2222
[all:vars]
ansible_password=pw
";
    let entries = entries(text, Completion::default());
    let jump = |entry: &Entry| entry.machine.as_ref().unwrap().ssh.as_ref().unwrap().jump.clone();
    assert_eq!(entries.iter().map(|entry| entry.level).collect::<Vec<_>>(), [1, 2, 0]);
    assert_eq!(jump(&entries[0]).as_deref(), Some("bastion"));
    assert_eq!(jump(&entries[1]).as_deref(), Some("inner"));
}

#[test]
fn jumps_that_lead_nowhere() {
    let base = "- {name: a, host: h, password: p, jump: X}\n- {name: b, host: i, password: p, jump: a}\n";
    for (jump, refused) in [
        ("b", "a: line 1: jumps in a circle\nb: line 2: jumps in a circle"),
        ("a", "a: line 1: jumps through what is no other machine of this file"),
        ("nobody", "a: line 1: jumps through what is no other machine of this file"),
        ("'b,c'", "a: line 1: jumps through several machines"),
    ] {
        let said = refusals(&base.replace('X', jump));
        assert!(said.starts_with(refused), "{jump}: {said}");
    }
}

#[test]
fn registered_machines_may_be_jumped_through() {
    let bastion: MachineView = serde_json::from_str(
        r#"{"id": "0198c0de-0000-7000-8000-000000000000", "name": "gate", "host": "bastion.example", "port": 22,
            "labels": {}, "state": "free", "cordoned": false, "created_at": "2026-01-31T12:00:00Z",
            "generation": 1, "seen_generation": 1, "facts": {}}"#,
    )
    .unwrap();
    for jump in ["gate", "root@bastion.example", "bastion.example:22", "ssh://Bastion.example"] {
        let text = format!("- {{name: a, host: h, password: p, jump: '{jump}'}}");
        let found = parse(&text, Format::Auto, "-").unwrap();
        let entries = Completion::default().entries(found, &[&bastion]);
        let ssh = entries[0].machine.as_ref().unwrap().ssh.clone().unwrap();
        assert_eq!(ssh.jump.as_deref(), Some("gate"), "{jump}");
    }
}

#[test]
fn files_as_editors_and_vaults_leave_them() {
    let first = |text: &str| entries(text, Completion::default()).remove(0).name;
    assert_eq!(first("\u{feff}a h 22 root pw\r\n"), "a");
    assert_eq!(first("\u{feff}- {name: a, host: h, password: p}"), "a");
    let vault = parse("$ANSIBLE_VAULT;1.1;AES256\n3061", Format::Auto, "hosts.yml").err().unwrap();
    assert!(vault.to_string().contains("is encrypted"), "{vault}");
    let many: String = (0..10_001).map(|nth| format!("m{nth} h{nth}\n")).collect();
    let refused = parse(&many, Format::Txt, "-").err().unwrap();
    assert_eq!(refused.to_string(), "line 10001: these are more than 10000 machines: split the file");
}
