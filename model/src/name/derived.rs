//! Names made of other names.

use super::{AccountName, CLAIMED, UserName};

const LONGEST_ACCOUNT: usize = 63;
const LONGEST_USER: usize = 31;

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
}

impl UserName {
    /// What somebody's Unix user is called who has not said it.
    pub fn of(account: &AccountName) -> Self {
        let fit = account.as_str().replace('.', "-");
        let is_claimed = CLAIMED.contains(&fit.as_str()) || fit.starts_with("systemd-");
        let fit = if is_claimed { format!("u-{fit}") } else { fit };
        Self(fit.chars().take(LONGEST_USER).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn people_have_accounts_and_accounts_have_users() {
        let names = |text| {
            let account = AccountName::like(text);
            (account.to_string(), UserName::of(&account).to_string())
        };
        let both = |account: &str, user: &str| (account.to_owned(), user.to_owned());
        assert_eq!(names("Ada Lovelace"), both("ada-lovelace", "ada-lovelace"));
        assert_eq!(names(" J. von  Neumann! "), both("j.-von-neumann", "j--von-neumann"));
        assert_eq!(names("Root"), both("root", "u-root"));
        assert_eq!(names("007"), both("u007", "u007"));
        assert_eq!(names("Łukasz"), both("ukasz", "ukasz"));
        assert_eq!(names(""), both("u", "u"));
        let ada = AccountName::like("ada");
        assert_eq!((ada.numbered(1), ada.numbered(2).as_str()), (ada.clone(), "ada-2"));
    }

    proptest! {
        #[test]
        fn they_are_names(text in "\\PC{0,80}", number in 0u32..1_000_000) {
            let account = AccountName::like(&text).numbered(number);
            prop_assert!(account.as_str().parse::<AccountName>().is_ok(), "{account}");
            prop_assert!(UserName::of(&account).as_str().parse::<UserName>().is_ok(), "{account}");
        }
    }
}
