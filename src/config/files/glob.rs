//! `*` and `?` in paths.

use std::path::{Component, Path, PathBuf};

/// The existing files that `pattern` matches, sorted. A wildcard matches within one part of the path and not a
/// leading dot.
pub(super) fn matches(pattern: &Path) -> Vec<PathBuf> {
    let mut found = vec![PathBuf::new()];
    for component in pattern.components() {
        found = match component {
            Component::Normal(part) => match part.to_str().filter(|part| part.contains(['*', '?'])) {
                Some(part) => found.iter().flat_map(|folder| children(folder, part)).collect(),
                None => found.into_iter().map(|folder| folder.join(part)).collect(),
            },
            other => found.into_iter().map(|folder| folder.join(other)).collect(),
        };
    }
    found.retain(|path| path.is_file());
    found.sort();
    found
}

/// Where a file may come to be that `pattern` matches, without one that is there changing: the folders that are looked
/// through, and the names, or patterns of names, of what counts in them.
pub(in crate::config) fn places(pattern: &Path) -> (Vec<PathBuf>, Vec<String>) {
    let (mut folders, mut names) = (Vec::new(), Vec::new());
    let mut found = vec![PathBuf::new()];
    for component in pattern.components() {
        let Component::Normal(part) = component else {
            found.iter_mut().for_each(|folder| folder.push(component));
            continue;
        };
        let name = part.to_string_lossy();
        let is_wild = name.contains(['*', '?']);
        let (mut next, known) = (Vec::new(), folders.len());
        for folder in found {
            let mut inside = match is_wild {
                true => children(&folder, &name),
                false => vec![folder.join(part)],
            };
            inside.retain(|path| path.exists());
            let folder = if folder.as_os_str().is_empty() { PathBuf::from(".") } else { folder };
            if folder.is_dir() && (is_wild || inside.is_empty()) {
                folders.push(folder);
            }
            next.extend(inside);
        }
        if is_wild || next.is_empty() || folders.len() > known {
            names.push(name.into_owned());
        }
        found = next;
    }
    (folders, names)
}

/// Whether a name of a file or folder is one that a part of a pattern stands for.
pub(in crate::config) fn is_name(pattern: &str, name: &str) -> bool {
    matches_name(&pattern.chars().collect::<Vec<_>>(), &name.chars().collect::<Vec<_>>())
}

fn children(folder: &Path, part: &str) -> Vec<PathBuf> {
    let listed = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let Ok(entries) = std::fs::read_dir(listed) else {
        return Vec::new();
    };
    let pattern: Vec<char> = part.chars().collect();
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    names
        .filter(|name| part.starts_with('.') || !name.starts_with('.'))
        .filter(|name| matches_name(&pattern, &name.chars().collect::<Vec<_>>()))
        .map(|name| folder.join(name))
        .collect()
}

/// Linear in the name for each `*`: on a mismatch only the last `*` takes one character more.
fn matches_name(pattern: &[char], name: &[char]) -> bool {
    let (mut p, mut n) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while n < name.len() {
        match pattern.get(p) {
            Some('*') => {
                star = Some((p, n));
                p += 1;
            }
            Some(c) if *c == '?' || *c == name[n] => {
                p += 1;
                n += 1;
            }
            _ => match star {
                Some((star_p, star_n)) => {
                    p = star_p + 1;
                    n = star_n + 1;
                    star = Some((star_p, star_n + 1));
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|c| *c == '*')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn is_match(pattern: &str, name: &str) -> bool {
        matches_name(&pattern.chars().collect::<Vec<_>>(), &name.chars().collect::<Vec<_>>())
    }

    #[test]
    fn where_a_file_may_come_to_be() {
        let dir = tempfile::tempdir().expect("a folder");
        let seen = |pattern: &str| {
            let (folders, names) = places(&dir.path().join(pattern));
            let below = |folder: &PathBuf| folder.strip_prefix(dir.path()).expect("below").display().to_string();
            (folders.iter().map(below).collect::<Vec<_>>().join(" "), names.join(" "))
        };
        let are = |folders: &str, names: &str| (folders.to_owned(), names.to_owned());
        assert_eq!(seen("conf.d/*.conf"), are("", "conf.d *.conf"), "the folder is not there yet");
        std::fs::create_dir_all(dir.path().join("conf.d/one")).expect("a folder");
        assert_eq!(seen("conf.d/*.conf"), are("conf.d", "*.conf"));
        assert_eq!(seen("conf.d/*/x.yaml"), are("conf.d conf.d/one", "* x.yaml"));
        assert_eq!(seen("conf.d/extra.yaml"), are("conf.d", "extra.yaml"));
        std::fs::write(dir.path().join("conf.d/extra.yaml"), "").expect("a file");
        assert_eq!(seen("conf.d/extra.yaml"), are("", ""), "a file that is there is watched by itself");
        std::fs::create_dir(dir.path().join("conf.d/two")).expect("a folder");
        std::fs::write(dir.path().join("conf.d/one/x.yaml"), "").expect("a file");
        assert_eq!(seen("conf.d/*/x.yaml"), are("conf.d conf.d/two", "* x.yaml"), "it may yet come to be in the other");
    }

    #[test]
    fn wildcards() {
        for (pattern, name) in [
            ("*", ""),
            ("*", "a"),
            ("a*c", "abc"),
            ("a*c", "ac"),
            ("a*b*c", "aXbbXc"),
            ("?", "é"),
            ("**", "x"),
            ("*.yaml", ".yaml"),
        ] {
            assert!(is_match(pattern, name), "{pattern} {name}");
        }
        for (pattern, name) in [("", "a"), ("?", ""), ("?", "ab"), ("a*c", "abd"), ("*.yaml", "a.yml"), ("a", "A")] {
            assert!(!is_match(pattern, name), "{pattern} {name}");
        }
        assert!(!is_match(&"*a".repeat(50), &"a".repeat(10_000).replace("aa", "ab")[..9_999].replace('a', "b")));
    }

    proptest! {
        #[test]
        fn it_agrees_with_the_plain_definition(pattern in "[ab*?]{0,8}", name in "[ab]{0,8}") {
            fn plain(pattern: &[u8], name: &[u8]) -> bool {
                match (pattern, name) {
                    ([], []) => true,
                    ([b'*', rest @ ..], _) => (0..=name.len()).any(|skip| plain(rest, &name[skip..])),
                    ([b'?', rest @ ..], [_, tail @ ..]) => plain(rest, tail),
                    ([a, rest @ ..], [b, tail @ ..]) => a == b && plain(rest, tail),
                    _ => false,
                }
            }
            prop_assert_eq!(is_match(&pattern, &name), plain(pattern.as_bytes(), name.as_bytes()));
        }
    }
}
