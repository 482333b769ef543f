//! What holds for any input.

use proptest::collection::vec;
use proptest::prelude::*;

use super::{CATALOGUE, config, env};

/// Errors stand inside the text, in order, each on one line.
fn check(text: &str) -> Result<(), TestCaseError> {
    let Err(errors) = config::parse("t.yaml", text, &CATALOGUE, &env) else { return Ok(()) };
    let lines: Vec<&str> = text.split('\n').collect();
    let mut last = (0, 0);
    for error in &errors {
        prop_assert_eq!(error.to_string().lines().count(), 1);
        let place = (error.line, error.column);
        prop_assert!(place >= last, "{} after {:?}", error, last);
        last = place;
        // One past the last line is where a text ends that ends with a newline.
        prop_assert!(error.line >= 1 && error.line as usize <= lines.len() + 1, "{}", error);
        let length = lines.get(error.line as usize - 1).map_or(0, |line| line.chars().count());
        prop_assert!(error.column >= 1 && error.column as usize <= length + 1, "{} in {:?}", error, text);
    }
    Ok(())
}

const VALID: &str = "admin: { listen: 127.0.0.1:1 }
log: { access: { when: [end, interval 5s], sample: 20% } }
defaults: { listener: { timeouts: { idle: 5s } } }
listeners:
  l:
    bind: [127.0.0.1:2, { address: unix:a, mode: \"0600\" }]
    pool: ${WORD}
    tcp: { keepalive: { idle: 5s } }
pools:
  word:
    policy: { random: {} }
    backends:
      - h:1
      - { name: x, address: 10.0.0.1:1, weight: 5 }
";

/// Words that mean something somewhere.
fn token() -> impl Strategy<Value = String> {
    let words = prop::sample::select(vec![
        "listeners",
        "pools",
        "bind",
        "pool",
        "defaults",
        "log",
        "access",
        "admin",
        "listen",
        "backends",
        "address",
        "policy",
        "off",
        "auto",
        "true",
        "5",
        "5s",
        "20%",
        "h:1",
        "127.0.0.1:1",
        "0.0.0.0:1-3",
        "x-a",
        "&a",
        "*a",
        "<<",
        "${TEN}",
        "${X:-5}",
        "$$",
        "'",
        "\"",
        "- ",
        ": ",
        ", ",
        "{ ",
        " }",
        "[",
        "]",
        "\n",
        "\n  ",
        "\n    ",
        "|\n",
        "é",
        "\t",
        "#",
        "---\n",
        "!!str ",
    ]);
    prop_oneof![9 => words.prop_map(str::to_owned), 1 => any::<String>()]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn any_text_is_judged_inside_itself(text in any::<String>()) {
        check(&text)?;
    }

    #[test]
    fn any_soup_of_words_is_judged_inside_itself(tokens in vec(token(), 0..60)) {
        check(&tokens.concat())?;
    }

    #[test]
    fn a_valid_file_with_a_hole_or_an_insertion_is_judged_inside_itself(at in 0..VALID.len(), cut in 0..20usize, put in token()) {
        let end = (at + cut).min(VALID.len());
        check(&format!("{}{put}{}", &VALID[..at], &VALID[end..]))?;
    }

    #[test]
    fn variables_that_hold_anything_are_never_expanded_again(value in any::<String>()) {
        let text = "x: ${V}\nlisteners: { l: { bind: '127.0.0.1:1', pool: '${V}' } }\npools: { p: { backends: '10.0.0.1:1' } }\n";
        let errors = config::parse("t.yaml", text, &CATALOGUE, &|_| Some(value.clone().into())).map(drop).unwrap_err();
        prop_assert!(errors.iter().all(|error| !error.message.contains("environment variable")));
    }
}

#[test]
fn the_valid_file_is_valid() {
    config::parse("t.yaml", VALID, &CATALOGUE, &env).unwrap();
}
