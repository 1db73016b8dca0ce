//! Names made of other names.

use super::{AccountName, LONGEST_USER, UserName, check_user};

const LONGEST_ACCOUNT: usize = 63;

impl AccountName {
    /// The nearest to how people write a name: `Ada Lovelace` is `ada-lovelace`.
    pub fn like(text: &str) -> Self {
        let mut name = String::new();
        for c in text.trim().to_lowercase().chars() {
            let is_plain = c.is_ascii_lowercase() || c.is_ascii_digit() || "._".contains(c);
            match (is_plain, name.ends_with('-')) {
                (true, _) => name.push(c),
                (false, true) => {}
                (false, false) => name.push('-'),
            }
        }
        let name = name.trim_matches(['-', '.', '_']);
        let starts_well = name.starts_with(|first: char| first.is_ascii_lowercase());
        let name = if starts_well { name.to_owned() } else { format!("u{name}") };
        Self(name.chars().take(LONGEST_ACCOUNT).collect())
    }

    /// The first of this name has it as it is, the second one with a 2 behind it.
    pub fn numbered(&self, number: u32) -> Self {
        if number <= 1 {
            return self.clone();
        }
        let number = format!("-{number}");
        let room = LONGEST_ACCOUNT - number.len();
        Self(self.0.chars().take(room).chain(number.chars()).collect())
    }

    /// The Unix user of somebody who asks for none: the same name, as far as it is fit for one.
    pub fn as_user(&self) -> UserName {
        let plain = self.0.replace('.', "_");
        let fit = |text: &str| text.chars().take(LONGEST_USER).collect::<String>();
        let user = UserName(fit(&plain));
        if check_user(&user.0).is_ok() { user } else { UserName(fit(&format!("u-{plain}"))) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn people_have_accounts() {
        let like = |text| AccountName::like(text).to_string();
        assert_eq!(like("Ada Lovelace"), "ada-lovelace");
        assert_eq!(like(" J. von  Neumann! "), "j.-von-neumann");
        assert_eq!(["Root", "007", "Łukasz", ""].map(like), ["root", "u007", "ukasz", "u"]);
        let ada = AccountName::like("ada");
        assert_eq!((ada.numbered(1), ada.numbered(2).as_str()), (ada.clone(), "ada-2"));
    }

    #[test]
    fn every_account_has_a_user() {
        let long = "a".repeat(63);
        for (account, user) in [
            ("alice", "alice"),
            ("al.ice-1_x", "al_ice-1_x"),
            ("root", "u-root"),
            ("admin", "u-admin"),
            ("systemd-x", "u-systemd-x"),
            (&long, &long[..31]),
        ] {
            let made = account.parse::<AccountName>().unwrap().as_user();
            assert_eq!(made.as_str(), user);
            assert_eq!(made.as_str().parse::<UserName>(), Ok(made));
        }
    }

    proptest! {
        #[test]
        fn they_are_names(text in "\\PC{0,80}", number in 0u32..1_000_000) {
            let account = AccountName::like(&text).numbered(number);
            prop_assert!(account.as_str().parse::<AccountName>().is_ok(), "{account}");
            prop_assert!(account.as_user().as_str().parse::<UserName>().is_ok(), "{account}");
        }
    }
}
