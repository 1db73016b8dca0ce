//! Tokens and password hashes.

use crate::store::Failure;
use data_encoding::{BASE32_NOPAD, HEXLOWER};
use model::account::{Password, PasswordHash};
use sha_crypt::{PasswordHasher, ShaCrypt};
use sha2::{Digest, Sha256};

/// crypt(3) keeps 16 characters of salt, which these make.
const SALT_BYTES: usize = 12;
const TOKEN: &str = "berth_";
const TOKEN_BYTES: usize = 32;
/// Nobody guesses 120 bits.
const PASSWORD_BYTES: usize = 15;

/// Cannot be guessed by whoever has not heard it. Without random numbers it can, and two machines with one key are not
/// told apart; nothing else depends on it.
pub fn challenge() -> u64 {
    // As large as both databases can keep it.
    getrandom::u64().unwrap_or_default() >> 1
}

/// A fresh token with which one agent may enrol.
pub fn join_token() -> String {
    format!("berth_join_{}", HEXLOWER.encode(&random::<32>()))
}

/// A fresh token of an account.
pub fn token() -> String {
    format!("{TOKEN}{}", HEXLOWER.encode(&random::<TOKEN_BYTES>()))
}

/// Whether it is one as we make them.
pub fn is_token(text: &str) -> bool {
    let random = text.strip_prefix(TOKEN).and_then(|digits| HEXLOWER.decode(digits.as_bytes()).ok());
    random.is_some_and(|random| random.len() == TOKEN_BYTES)
}

/// A password for one who asked for none, without what is easily misread.
pub fn password() -> String {
    BASE32_NOPAD.encode(&random::<PASSWORD_BYTES>()).to_ascii_lowercase()
}

/// What is stored of a token: its SHA-256 in hex.
pub fn digest(text: &str) -> String {
    HEXLOWER.encode(&Sha256::digest(text))
}

/// A `$6$` hash for the machines' shadow files, which Debian, Alpine and BusyBox all verify.
pub fn hash(password: &Password) -> Result<PasswordHash, Failure> {
    let failed =
        |error: &dyn std::fmt::Display| Failure::Internal(format!("cannot hash the password: {error}"));
    let hash = ShaCrypt::default()
        .hash_password_with_salt(password.expose().as_bytes(), &random::<SALT_BYTES>())
        .map_err(|error| failed(&error))?;
    hash.as_str().parse().map_err(|error: String| failed(&error))
}

pub(crate) fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    // The kernel's generator does not fail once the system is up; without it nothing here could be kept safe.
    getrandom::fill(&mut bytes).unwrap_or_else(|error| panic!("no randomness: {error}"));
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_salted_and_of_the_form_crypt_knows() {
        let password = Password::try_from("test".to_owned()).unwrap();
        let (one, two) = (hash(&password).unwrap(), hash(&password).unwrap());
        assert_ne!(one, two);
        let parts: Vec<&str> = one.as_str().split('$').collect();
        assert_eq!(parts[1], "6", "{:?}", one.as_str());
        assert_eq!(parts[parts.len() - 2].len(), 16);
        assert_eq!(parts[parts.len() - 1].len(), 86);
    }

    #[test]
    fn tokens_are_never_the_same() {
        assert_ne!(join_token(), join_token());
        assert_ne!(token(), token());
        assert!(is_token(&token()));
        for none in ["", "berth_", "berth_00", &join_token(), &format!("{}0", token())] {
            assert!(!is_token(none), "{none}");
        }
        assert_eq!(digest("").len(), 64);
    }
}
