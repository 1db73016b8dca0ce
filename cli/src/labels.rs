//! Labels given one flag at a time, and changed one at a time.

use model::Labels;
use std::collections::BTreeMap;

pub(crate) fn merged(given: &[Labels]) -> Result<Labels, String> {
    changed(&Labels::default(), given, &[])
}

/// What is there, with some set and some taken away.
pub(crate) fn changed(have: &Labels, set: &[Labels], remove: &[String]) -> Result<Labels, String> {
    let pairs = std::iter::once(have).chain(set).flat_map(Labels::iter);
    let mut pairs: BTreeMap<String, String> =
        pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
    pairs.retain(|key, _| !remove.contains(key));
    Labels::try_from(pairs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn set_and_removed() {
        let have: Labels = "os=debian,size=small".parse().unwrap();
        let set = ["size=large".parse().unwrap(), "rack=7".parse().unwrap()];
        let now = changed(&have, &set, &["os".to_owned()]).unwrap();
        assert_eq!(now.to_string(), "rack=7,size=large");
    }
}
