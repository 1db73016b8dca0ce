//! What holds of any request in these words.

use super::{Added, Asked};
use crate::api::body;
use crate::api::laws::is_theirs;
use crate::api::query::Query;

pub(in crate::api) fn law(bytes: &[u8]) {
    let in_query = Query::parse(&String::from_utf8_lossy(bytes)).map(Asked::from);
    for asked in [body::parse(bytes), in_query] {
        asked.and_then(|asked| asked.read(String::new)).map_or_else(is_theirs, |reading| {
            assert!(reading.minutes >= 1 && !reading.create.username.is_empty());
        });
    }
    let added = body::parse(bytes).and_then(Added::read);
    added.map_or_else(is_theirs, |create| assert_ne!(create.port, 0));
}
