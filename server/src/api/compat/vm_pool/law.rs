//! What holds of any body in these words.

use super::lending::Meant;
use super::size::Asked;
use super::users::{Change, NewUser};
use crate::api::body;
use crate::api::laws::is_theirs;

pub(in crate::api) fn law(bytes: &[u8]) {
    body::parse::<NewUser>(bytes).map_or_else(is_theirs, drop);
    body::parse::<Change>(bytes).map_or_else(is_theirs, drop);
    body::parse::<Meant>(bytes).map_or_else(is_theirs, drop);
    let size = body::parse::<Asked>(bytes).and_then(|asked| asked.size());
    size.map_or_else(is_theirs, |size| assert!((1..=10_000).contains(&size)));
}
