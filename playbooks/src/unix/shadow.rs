//! `/etc/shadow`: `name:hash:last_change:min:max:warn:inactive:expire:`.

use super::{Account, lines};

const HASH: usize = 1;
const EXPIRE: usize = 7;
/// Nobody's password, and yet no locked account: sshd lets its keys in.
const NO_PASSWORD: &[u8] = b"*";

/// Sets the hash and the expiry. An empty `last_change` turns password ageing off, so no clock is needed.
pub fn ensure(bytes: &[u8], account: &Account) -> Vec<u8> {
    let hash = account.password_hash.as_ref().map_or(NO_PASSWORD, |hash| hash.as_str().as_bytes());
    let expire = account.expires_on.map_or(String::new(), |day| day.to_string());
    lines::ensure(bytes, &account.name, |old| match old {
        Some(fields) if fields.len() == 9 => {
            let mut fields = fields.to_vec();
            (fields[HASH], fields[EXPIRE]) = (hash, expire.as_bytes());
            fields.join(&b':')
        }
        _ => [account.name.as_bytes(), b":", hash, b"::0:99999:7::", expire.as_bytes(), b":"].concat(),
    })
}

/// Makes the hash match nothing and lets the account expire in 1970, which PAM holds against keys, cron and
/// su as well.
pub fn lock(bytes: &[u8], name: &str) -> Vec<u8> {
    if lines::find(bytes, name).is_none() {
        return bytes.to_vec();
    }
    lines::ensure(bytes, name, |old| {
        let mut fields = old.unwrap_or_default().to_vec();
        fields.resize(9, b"");
        let locked = [b"!", fields[HASH]].concat();
        if !fields[HASH].starts_with(b"!") {
            fields[HASH] = &locked;
        }
        fields[EXPIRE] = b"1";
        fields.join(&b':')
    })
}

/// Where the hash begins in these bytes, unless it matches nothing already.
pub(super) fn hash_at(bytes: &[u8], name: &str) -> Option<usize> {
    let mut at = 0;
    for line in lines::lines(bytes) {
        let fields = lines::fields(line);
        let opens = fields.get(HASH).is_some_and(|hash| !hash.is_empty() && !hash.starts_with(b"!"));
        if fields[0] == name.as_bytes() && opens {
            return Some(at + name.len() + 1);
        }
        at += line.len();
    }
    None
}

pub fn remove(bytes: &[u8], name: &str) -> Vec<u8> {
    lines::remove(bytes, &[name])
}
