//! Words for errors: the name that was perhaps meant, and lists of those there are.

use super::keys::{self, Key, Kind};
use super::tree::shorten;

/// More names than these are not searched for a near one: a file full of slips must not take seconds to refuse.
const MOST_CANDIDATES: usize = 1000;

/// ` (did you mean …)`, or nothing when no known name is near.
pub(crate) fn hint<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> String {
    // Short words are all alike; a third of the letters may be wrong in longer ones.
    let reach = (name.chars().count() / 3).max(1);
    let near = known
        .take(MOST_CANDIDATES)
        .map(|candidate| (strsim::damerau_levenshtein(name, candidate), candidate))
        .filter(|(distance, _)| *distance <= reach)
        .min_by_key(|(distance, _)| *distance);
    near.map_or_else(String::new, |(_, candidate)| did_you_mean(candidate))
}

/// What to say about a key that is not in `keys`: a near name, or the same name one level down, or what there is.
pub(super) fn unknown_key(name: &str, keys: &'static [Key]) -> String {
    let near = hint(name, keys.iter().map(|key| key.name));
    if !near.is_empty() {
        return format!("unknown key{near}");
    }
    if let Some(path) = keys.iter().filter(|key| !key.later).find_map(|key| inside(key, name)) {
        return format!("unknown key{}", did_you_mean(&path));
    }
    let built = keys.iter().filter(|key| !key.later).map(|key| key.name);
    format!("unknown key; here may stand {}", listing(built, "and"))
}

/// The path to `name` just below `key`.
fn inside(key: &Key, name: &str) -> Option<String> {
    let (keys, path) = match key.kind {
        Kind::Named(keys) => (keys, format!("{}.NAME.{name}", key.name)),
        kind => (keys::map_of(kind)?, format!("{}.{name}", key.name)),
    };
    keys::find(keys, name).map(|_| path)
}

/// `` `a`, `b` or `c` ``.
pub(crate) fn listing<'a>(names: impl Iterator<Item = &'a str>, conjunction: &str) -> String {
    join(&names.map(quote).collect::<Vec<_>>(), conjunction)
}

/// `a, b or c`.
pub(super) fn join(names: &[String], conjunction: &str) -> String {
    match names {
        [] => "nothing".to_owned(),
        [only] => only.clone(),
        [head @ .., last] => format!("{} {conjunction} {last}", head.join(", ")),
    }
}

/// A name from a file, cut to a readable length.
pub(super) fn quote(name: &str) -> String {
    format!("`{}`", shorten(name))
}

pub(super) fn did_you_mean(name: &str) -> String {
    format!(" (did you mean `{name}`?)")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_near_names_are_hinted_at() {
        let known = || ["round_robin", "random", "least_connections"].into_iter();
        assert_eq!(hint("randm", known()), " (did you mean `random`?)");
        assert_eq!(hint("round-robin", known()), " (did you mean `round_robin`?)");
        assert_eq!(hint("leastconn", known()), "");
        assert_eq!(hint("", known()), "");
        assert_eq!(hint("zz", ["a", "zq"].into_iter()), " (did you mean `zq`?)");
    }

    #[test]
    fn lists_read_like_sentences() {
        assert_eq!(listing(["a"].into_iter(), "or"), "`a`");
        assert_eq!(listing(["a", "b", "c"].into_iter(), "or"), "`a`, `b` or `c`");
    }
}
