//! What is known of texts that were parsed once: as much of it as finding files takes.

use std::collections::{HashMap, HashSet};

use xxhash_rust::xxh3::xxh3_128;

use super::super::tree::Node;

/// What texts of configuration files say at `include`, so that finding the files again parses none that is unchanged.
/// Texts are known by 128 bits of their hash.
#[derive(Debug, Clone, Default)]
pub struct Known(HashMap<u128, Option<Node>>);

impl Known {
    /// What stands at `include` in `text`, variables not expanded, if that is known. Its places are those of the file that
    /// the text was learnt from.
    pub(super) fn include_of(&self, text: &str) -> Option<&Option<Node>> {
        self.0.get(&xxh3_128(text.as_bytes()))
    }

    /// Learns what `root`, which was parsed from `text`, says at `include`; without a root the text is no YAML.
    pub(super) fn learn(&mut self, text: &str, root: Option<&Node>) {
        let include = root.and_then(super::include_of).cloned();
        self.0.insert(xxh3_128(text.as_bytes()), include);
    }

    /// Forgets all other texts.
    pub(super) fn keep<'a>(&mut self, texts: impl Iterator<Item = &'a str>) {
        let kept: HashSet<u128> = texts.map(|text| xxh3_128(text.as_bytes())).collect();
        self.0.retain(|text, _| kept.contains(text));
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on should panic")]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::super::super::error::Report;
    use super::super::super::{Whereabouts, yaml};
    use super::super::Streams;
    use super::*;

    fn write(folder: &Path, name: &str, text: &str) {
        fs::write(folder.join(name), text).unwrap();
    }

    fn names(found: &Whereabouts) -> String {
        let name = |file: &std::path::PathBuf| file.file_name().unwrap().display().to_string();
        found.files.iter().map(name).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn a_text_is_parsed_once_and_another_one_is_parsed() {
        let dir = tempfile::tempdir().unwrap();
        let paths = [dir.path().join("main.yaml")];
        let (first, second) = ("include: a.yaml\n", "include: [ b.yaml ]\n");
        ["a.yaml", "b.yaml", "c.yaml"].iter().for_each(|name| write(dir.path(), name, "pools: {}\n"));
        write(dir.path(), "main.yaml", first);
        let mut known = Known::default();
        let find = |known: &mut Known| names(&Whereabouts::of(&paths, &|_| None, known));
        assert_eq!(find(&mut known), "main.yaml a.yaml");
        // What is known is believed: a wrong word shows that nobody looked it up.
        let mut report = Report::default();
        let start = report.open(Path::new("elsewhere/t.yaml"));
        known.learn(first, yaml::parse("include: [ c.yaml, b.yaml ]", start, &mut report).as_ref());
        assert_eq!(find(&mut known), "main.yaml c.yaml b.yaml");
        write(dir.path(), "main.yaml", second);
        assert_eq!(find(&mut known), "main.yaml b.yaml");
        assert_eq!(known.0.len(), 1, "the text of before is forgotten, and one that may not include is not learnt");
        write(dir.path(), "main.yaml", first);
        assert_eq!(find(&mut known), "main.yaml a.yaml");
    }

    #[test]
    fn whatever_is_known_the_same_is_found() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("more")).unwrap();
        ["a.yaml", "more/b.yaml", "more/c.yaml"].iter().for_each(|name| write(dir.path(), name, "pools: {}\n"));
        let texts = [
            "include: a.yaml",
            "include: more/*.yaml\ninclude: a.yaml",
            "include: [ a.yaml, 7, 'no/*/x.yaml', a.yaml ]",
            "a: [",
            "- 1",
            "",
            "include: { a: b }",
            "defaults: &x [ more/b.yaml ]\ninclude: *x",
            "\"\\x69nclude\": a.yaml",
            "x: include\n",
        ];
        for text in texts {
            write(dir.path(), "main.yaml", text);
            let paths = [dir.path().join("main.yaml"), dir.path().join("more")];
            let mut known = Known::default();
            let parsed = Whereabouts::of(&paths, &|_| None, &mut known);
            assert_eq!(Whereabouts::of(&paths, &|_| None, &mut known), parsed, "{text}");
            let mut report = Report::default();
            let loaded = super::super::load_all(&paths, &|_| None, &Default::default(), Streams::Refused, &mut report);
            assert_eq!(
                loaded.sources.iter().map(|source| &source.path).collect::<Vec<_>>(),
                parsed.files.iter().collect::<Vec<_>>()
            );
            assert_eq!(Whereabouts::of(&paths, &|_| None, &mut loaded.known.clone()), parsed, "{text}");
        }
    }

    #[test]
    fn variables_are_looked_up_each_time() {
        let dir = tempfile::tempdir().unwrap();
        let paths = [dir.path().join("main.yaml")];
        write(dir.path(), "main.yaml", "include: [ '${WHICH}.yaml', '${LEFT_OUT}.yaml' ]\n");
        ["a.yaml", "b.yaml"].iter().for_each(|name| write(dir.path(), name, "pools: {}\n"));
        let mut known = Known::default();
        for which in ["a", "b", "a"] {
            let env = |name: &str| (name == "WHICH").then(|| which.into());
            assert_eq!(names(&Whereabouts::of(&paths, &env, &mut known)), format!("main.yaml {which}.yaml"));
        }
    }
}
