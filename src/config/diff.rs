//! What differs between two trees of [`Setting`]s: a list of changes that leads from one to the other.
//!
//! Pure: applying the difference of two trees to the first gives the second.

use std::collections::BTreeMap;
use std::fmt;

use super::keys;
use super::settings::Setting;

/// One step into a tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// A key or a name.
    Key(String),
    /// A place in a list, counted from 0.
    Index(usize),
}

/// Where something stands in a tree.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Path(pub Vec<Step>);

impl Path {
    fn then(&self, step: Step) -> Self {
        Self(self.0.iter().cloned().chain([step]).collect())
    }

    /// The keys and names on the way, up to the first place in a list.
    pub fn names(&self) -> Vec<&str> {
        let names = self.0.iter().map_while(|step| match step {
            Step::Key(name) => Some(name.as_str()),
            Step::Index(_) => None,
        });
        names.collect()
    }

    /// The same without its first `depth` steps.
    pub fn below(&self, depth: usize) -> Self {
        Self(self.0.iter().skip(depth).cloned().collect())
    }
}

impl fmt::Display for Path {
    /// `pools.pg.backends["10.0.0.1:5432"].weight`, `listeners.web.bind[0]`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, step) in self.0.iter().enumerate() {
            match step {
                Step::Index(place) => write!(f, "[{place}]")?,
                Step::Key(name) if name.contains(|c: char| matches!(c, '.' | '[' | ']') || c.is_control()) => {
                    write!(f, "[{name:?}]")?;
                }
                Step::Key(name) => write!(f, "{}{name}", if index > 0 { "." } else { "" })?,
            }
        }
        Ok(())
    }
}

/// What became of a setting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// It was not there.
    Added(Setting),
    /// It is no longer there.
    Removed(Setting),
    /// It was the first and is the second.
    Changed(Setting, Setting),
    /// The members here stand in another order: these, the names of all of them.
    Ordered(Vec<String>, Vec<String>),
}

/// A change and where it is.
pub type ChangeAt = (Path, Change);

/// The changes that lead from `old` to `new`, in the order of the tree; none if they are equal.
pub fn diff(old: &Setting, new: &Setting) -> Vec<ChangeAt> {
    let mut changes = Vec::new();
    compare(&Path::default(), old, new, &mut changes);
    changes
}

/// Keys that a running process cannot follow, of all that `changes` touch; each once, in words.
pub fn restarts(changes: &[ChangeAt]) -> Vec<String> {
    let mut found: Vec<String> = changes.iter().filter_map(|(path, _)| keys::restart_key(&path.names())).collect();
    found.dedup();
    found
}

fn compare(path: &Path, old: &Setting, new: &Setting, changes: &mut Vec<ChangeAt>) {
    match (old, new) {
        _ if old == new => {}
        (Setting::Map(old), Setting::Map(new)) => {
            let names = old.keys().chain(new.keys().filter(|name| !old.contains_key(*name)));
            let mut names: Vec<&String> = names.collect();
            names.sort_unstable();
            for name in names {
                entry(path.then(Step::Key(name.clone())), old.get(name), new.get(name), changes);
            }
        }
        (Setting::Members(before), Setting::Members(after)) => members(path, before, after, changes),
        (Setting::List(old), Setting::List(new))
            if old.iter().chain(new).any(|item| matches!(item, Setting::Map(_))) =>
        {
            for index in 0..old.len().max(new.len()) {
                entry(path.then(Step::Index(index)), old.get(index), new.get(index), changes);
            }
        }
        _ => changes.push((path.clone(), Change::Changed(old.clone(), new.clone()))),
    }
}

fn entry(path: Path, old: Option<&Setting>, new: Option<&Setting>, changes: &mut Vec<ChangeAt>) {
    match (old, new) {
        (Some(old), Some(new)) => compare(&path, old, new, changes),
        (Some(old), None) => changes.push((path, Change::Removed(old.clone()))),
        (None, Some(new)) => changes.push((path, Change::Added(new.clone()))),
        (None, None) => {}
    }
}

/// By name; and if those that stay, with the new ones behind them, do not stand as they should, that is a change too.
fn members(path: &Path, old: &[(String, Setting)], new: &[(String, Setting)], changes: &mut Vec<ChangeAt>) {
    let before: BTreeMap<&str, &Setting> = old.iter().map(|(name, setting)| (name.as_str(), setting)).collect();
    let after: BTreeMap<&str, &Setting> = new.iter().map(|(name, setting)| (name.as_str(), setting)).collect();
    let arrived = new.iter().filter(|(name, _)| !before.contains_key(name.as_str()));
    for (name, setting) in old {
        entry(path.then(Step::Key(name.clone())), Some(setting), after.get(name.as_str()).copied(), changes);
    }
    for (name, setting) in arrived.clone() {
        entry(path.then(Step::Key(name.clone())), None, Some(setting), changes);
    }
    let stay = old.iter().filter(|(name, _)| after.contains_key(name.as_str()));
    let stands: Vec<&String> = stay.chain(arrived).map(|(name, _)| name).collect();
    if stands.iter().ne(&new.iter().map(|(name, _)| name).collect::<Vec<_>>()) {
        let names = |of: &[(String, Setting)]| of.iter().map(|(name, _)| name.clone()).collect();
        changes.push((path.clone(), Change::Ordered(names(old), names(new))));
    }
}

/// Makes `changes` in `tree`. Changes that do not fit it are left out.
pub fn apply(tree: &mut Setting, changes: &[ChangeAt]) {
    // From the back, so that what is removed from a list leaves the places before it as they are, and again forwards
    // for what is added to one.
    let (removed, others): (Vec<_>, Vec<_>) =
        changes.iter().partition(|(_, change)| matches!(change, Change::Removed(_)));
    for (path, change) in removed.into_iter().rev().chain(others) {
        make(tree, &path.0, change);
    }
}

fn make(tree: &mut Setting, path: &[Step], change: &Change) {
    match (path, tree) {
        ([], tree) => here(tree, change),
        ([Step::Key(name)], Setting::Map(entries)) => match change {
            Change::Added(new) => drop(entries.insert(name.clone(), new.clone())),
            Change::Removed(_) => drop(entries.remove(name)),
            _ => entries.get_mut(name).into_iter().for_each(|entry| here(entry, change)),
        },
        ([Step::Key(name)], Setting::Members(members)) => match change {
            Change::Added(new) => members.push((name.clone(), new.clone())),
            Change::Removed(_) => members.retain(|(member, _)| member != name),
            _ => member(members, name).into_iter().for_each(|entry| here(entry, change)),
        },
        ([Step::Index(index)], Setting::List(items)) => match change {
            Change::Added(new) => items.push(new.clone()),
            Change::Removed(_) if *index < items.len() => drop(items.remove(*index)),
            _ => items.get_mut(*index).into_iter().for_each(|entry| here(entry, change)),
        },
        ([Step::Key(name), rest @ ..], Setting::Map(entries)) => {
            entries.get_mut(name).into_iter().for_each(|entry| make(entry, rest, change));
        }
        ([Step::Key(name), rest @ ..], Setting::Members(members)) => {
            member(members, name).into_iter().for_each(|entry| make(entry, rest, change));
        }
        ([Step::Index(index), rest @ ..], Setting::List(items)) => {
            items.get_mut(*index).into_iter().for_each(|entry| make(entry, rest, change));
        }
        _ => {}
    }
}

fn here(tree: &mut Setting, change: &Change) {
    match (change, tree) {
        (Change::Changed(_, new) | Change::Added(new), tree) => *tree = new.clone(),
        (Change::Ordered(_, order), Setting::Members(members)) => {
            members.sort_by_key(|(name, _)| order.iter().position(|other| other == name));
        }
        (Change::Ordered(..) | Change::Removed(_), _) => {}
    }
}

fn member<'a>(members: &'a mut [(String, Setting)], name: &str) -> Option<&'a mut Setting> {
    members.iter_mut().find(|(member, _)| member == name).map(|(_, setting)| setting)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn trees() -> impl Strategy<Value = Setting> {
        let name = "[a-d]";
        let leaf = prop_oneof!["[a-c]{0,2}".prop_map(Setting::text), "[xy]".prop_map(Setting::secret)];
        leaf.prop_recursive(4, 40, 5, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Setting::List),
                prop::collection::btree_map(name, inner.clone(), 0..4).prop_map(Setting::Map),
                prop::collection::btree_map(name, inner, 0..4)
                    .prop_map(|map| map.into_iter().collect::<Vec<_>>())
                    .prop_shuffle()
                    .prop_map(Setting::Members),
            ]
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]
        #[test]
        fn applied_to_the_old_it_gives_the_new(old in trees(), new in trees()) {
            let changes = diff(&old, &new);
            let mut tree = old.clone();
            apply(&mut tree, &changes);
            prop_assert_eq!(&tree, &new, "{:?}", changes);
            prop_assert_eq!(changes.is_empty(), old == new);
        }

        #[test]
        fn nothing_that_does_not_fit_panics(old in trees(), new in trees(), mut other in trees()) {
            apply(&mut other, &diff(&old, &new));
        }
    }

    #[test]
    fn one_change_is_one_line() {
        let backend = |weight: &str| Setting::Map([("weight".to_owned(), Setting::text(weight))].into());
        let pool = |members: &[(&str, &str)]| {
            Setting::Members(members.iter().map(|(name, weight)| ((*name).to_owned(), backend(weight))).collect())
        };
        let said = |old: &[(&str, &str)], new: &[(&str, &str)]| {
            let changes = diff(&pool(old), &pool(new));
            changes.iter().map(|(path, change)| format!("{path}: {change:?}")).collect::<Vec<_>>()
        };
        assert_eq!(
            said(&[("a", "1"), ("b.c", "1")], &[("a", "1"), ("b.c", "2")]),
            [r#"["b.c"].weight: Changed(1, 2)"#]
        );
        assert_eq!(said(&[("a", "1")], &[("a", "1"), ("b", "1")]), ["b: Added({ weight: 1 })"]);
        assert_eq!(said(&[("a", "1"), ("b", "1")], &[("b", "1")]), ["a: Removed({ weight: 1 })"]);
        assert_eq!(
            said(&[("a", "1"), ("b", "1")], &[("b", "1"), ("a", "1")]),
            [r#": Ordered(["a", "b"], ["b", "a"])"#]
        );
    }

    #[test]
    fn what_needs_a_restart_is_named_once_and_by_its_key() {
        let path = |names: &[&str]| Path(names.iter().map(|name| Step::Key((*name).to_owned())).collect());
        let change = |names: &[&str]| (path(names), Change::Added(Setting::text("x")));
        let changes = [
            change(&["admin", "listen"]),
            change(&["admin", "protect"]),
            change(&["listeners", "admin", "pool"]),
            change(&["metrics", "backend_histograms"]),
            change(&["metrics", "listen"]),
            change(&["workers"]),
        ];
        assert_eq!(restarts(&changes), ["admin", "metrics.listen", "workers"]);
    }
}
