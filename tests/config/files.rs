//! Files and folders: what is read, how it is joined, and what is said when it cannot be.

use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::Duration;

use peerway::config::{self, Reach};
use tempfile::TempDir;

use super::{CATALOGUE, env, load};

const MAIN: &str = "listeners: { l: { bind: '127.0.0.1:1', pool: p } }\npools: { p: { backends: '10.0.0.1:1' } }\n";

/// A folder with these files.
fn folder(files: &[(&str, &str)]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    folder
}

/// The errors of loading `names`, with the folder's own path cut out.
fn errors(folder: &TempDir, names: &[&str]) -> String {
    let paths: Vec<PathBuf> = names.iter().map(|name| folder.path().join(name)).collect();
    let errors = load(&paths).map(|loaded| loaded.plan).expect_err("accepted");
    errors.replace(&format!("{}/", folder.path().display()), "").replace(&folder.path().display().to_string(), ".")
}

fn names(files: &[PathBuf], folder: &Path) -> Vec<String> {
    files.iter().map(|file| file.strip_prefix(folder).unwrap().display().to_string()).collect()
}

#[test]
fn includes_are_merged_in_lexical_order_relative_to_their_file() {
    let folder = folder(&[
        ("main.yaml", &format!("include: [\"conf.d/*.yaml\", one/?.yml, extra.yaml]\n{MAIN}")),
        ("conf.d/20.yaml", "pools: { b: { backends: unix:b.sock } }\n"),
        ("conf.d/10.yaml", "version: 1\nx-note: 1\nlisteners: { a: { bind: '127.0.0.1:2', pool: b } }\n"),
        ("conf.d/.hidden.yaml", "nonsense"),
        ("conf.d/readme.md", "nonsense"),
        ("one/a.yml", "pools:\n"),
        ("one/ab.yml", "nonsense"),
        ("extra.yaml", "listeners: { c: { bind: '127.0.0.1:3', pool: p } }\n"),
    ]);
    let loaded = load(&[folder.path().join("main.yaml")]).unwrap();
    let order = ["main.yaml", "conf.d/10.yaml", "conf.d/20.yaml", "one/a.yml", "extra.yaml"];
    assert_eq!(names(&loaded.files, folder.path()), order);
    let listeners: Vec<_> = loaded.plan.listeners.iter().map(|listener| &*listener.name).collect();
    assert_eq!(listeners, ["l", "a", "c"]);
    let socket = loaded.plan.pools[1].backends[0].address.to_string();
    assert_eq!(socket, format!("unix:{}", folder.path().join("conf.d/b.sock").display()));
}

#[test]
fn folders_and_several_files_are_merged() {
    let folder = folder(&[
        ("d/b.yml", "pools: { p: { backends: '10.0.0.1:1' } }\n"),
        ("d/a.yaml", "listeners: { l: { bind: '127.0.0.1:1', pool: p } }\n"),
        ("d/c.txt", "nonsense"),
        ("d/sub.yaml/x", "a folder"),
        ("e.yaml", "listeners: { m: { bind: '127.0.0.1:2', pool: p } }\n"),
    ]);
    let paths = [folder.path().join("d"), folder.path().join("e.yaml"), folder.path().join("d/a.yaml")];
    let loaded = load(&paths).unwrap();
    assert_eq!(names(&loaded.files, folder.path()), ["d/a.yaml", "d/b.yml", "e.yaml"]);
    assert_eq!(loaded.plan.listeners.len(), 2);
}

#[test]
fn what_two_files_say_is_an_error_with_both_places() {
    let folder = folder(&[
        ("a.yaml", &format!("include: b.yaml\nlog: {{}}\n{MAIN}")),
        ("b.yaml", "log: { level: info }\nlisteners:\n  l: {}\npools:\n  p: {}\n  q: { backends: [] }\n"),
    ]);
    assert_eq!(
        errors(&folder, &["a.yaml"]),
        "b.yaml:1:1: log: already said at a.yaml:2:1; only `listeners` and `pools` may be in several files\n\
         b.yaml:3:3: listeners.l: already defined at a.yaml:3:14\n\
         b.yaml:5:3: pools.p: already defined at a.yaml:4:10"
    );
}

#[test]
fn errors_of_every_file_come_in_one_run_sorted() {
    let folder = folder(&[
        ("b.yaml", "include: c/*.yaml\nlisteners:\n  l: { bind: 5, pool: p }\n"),
        ("a.yaml", "pools: { p: { policy: fast } }\nqueue: 1\n"),
        ("c/1.yaml", "listeners: [\n"),
        ("c/2.yaml", "pools:\n  r:\n    backends:\n    - { adress: h:1 }\n"),
    ]);
    assert_eq!(
        errors(&folder, &["b.yaml", "a.yaml"]),
        "a.yaml:1:23: pools.p.policy: unknown policy `fast`\n\
         a.yaml:2:1: queue: unknown key (did you mean `pools.NAME.queue`?)\n\
         b.yaml:3:14: listeners.l.bind: `5` has no address: write `127.0.0.1:5` for this machine alone, `0.0.0.0:5` for \
         every IPv4 address or `[::]:5` for every IPv6 address\n\
         c/1.yaml:1:12: not valid YAML: unclosed bracket '['\n\
         c/2.yaml:4:7: pools.r.backends[0]: `address` is missing, such as `address: 10.0.0.2:8080`\n\
         c/2.yaml:4:9: pools.r.backends[0].adress: unknown key (did you mean `address`?)"
    );
}

#[test]
fn what_a_broken_file_may_define_is_not_called_missing() {
    let folder = folder(&[
        ("a.yaml", "include: b.yaml\nlisteners: { l: { bind: '127.0.0.1:1', pool: in-b } }\n"),
        ("b.yaml", "pools: { in-b: ]\n"),
    ]);
    let errors = errors(&folder, &["a.yaml"]);
    assert!(errors.starts_with("b.yaml:1:8: not valid YAML") && errors.lines().count() == 1, "{errors}");
}

#[test]
fn includes_that_go_wrong() {
    let folder = folder(&[
        (
            "a.yaml",
            &format!("include: [missing.yaml, \"*.nothing\", a.yaml, sub, nested.yaml, 5, \"${{UNSET}}\"]\n{MAIN}"),
        ),
        ("nested.yaml", "include: other.yaml\n"),
        ("sub/x.yaml", ""),
    ]);
    assert_eq!(
        errors(&folder, &["a.yaml"]),
        "a.yaml:1:11: include[0]: missing.yaml: cannot be read: No such file or directory (os error 2)\n\
         a.yaml:1:38: include[2]: `a.yaml` is already part of the configuration\n\
         a.yaml:1:46: include[3]: sub: is a folder, not a file\n\
         a.yaml:1:64: include[5]: expected a path, found the number 5; put it in quotes\n\
         a.yaml:1:67: include[6]: the environment variable `UNSET` is not set (`${UNSET:-default}` gives it a default)\n\
         nested.yaml:1:1: include: an included file may not include others"
    );
}

#[test]
fn a_pattern_may_match_its_own_file() {
    let folder =
        folder(&[("a.yaml", &format!("include: \"*.yaml\"\n{MAIN}")), ("b.yaml", "pools: { q: { backends: h:1 } }\n")]);
    let loaded = load(&[folder.path().join("a.yaml")]).unwrap();
    assert_eq!(names(&loaded.files, folder.path()), ["a.yaml", "b.yaml"]);
    assert_eq!(loaded.warnings.len(), 1, "the pool q is not used: {:?}", loaded.warnings);
}

#[test]
fn files_that_cannot_be_read() {
    let folder = folder(&[("empty.yaml", ""), ("dir/note.txt", "")]);
    std::fs::write(folder.path().join("latin1.yaml"), b"a: 1\nb: \"gr\xfc\"\n").unwrap();
    assert_eq!(
        errors(&folder, &["none.yaml"]),
        "none.yaml:1:1: cannot be read: No such file or directory (os error 2)"
    );
    assert_eq!(errors(&folder, &["dir"]), "dir:1:1: the folder holds no *.yaml or *.yml file");
    assert_eq!(errors(&folder, &["latin1.yaml"]), "latin1.yaml:2:7: not UTF-8 text");
    let empty = "empty.yaml:1:1: the file is empty: a configuration has at least `listeners` and `pools`, a part of one at least a comment";
    assert_eq!(errors(&folder, &["empty.yaml"]), empty);
    assert_eq!(errors(&folder, &["empty.yaml", "empty.yaml"]), empty);
}

#[test]
fn a_part_may_be_empty_and_the_whole_may_not() {
    let folder = folder(&[
        ("main.yaml", &format!("include: conf.d/*\n{MAIN}")),
        ("conf.d/a.yaml", "# nothing yet\n"),
        ("conf.d/b.yaml", "{}\n"),
        ("conf.d/c.yaml", "include: off\n"),
    ]);
    assert_eq!(load(&[folder.path().join("main.yaml")]).unwrap().files.len(), 4);
    assert_eq!(load(&[folder.path().join("conf.d/a.yaml"), folder.path().join("main.yaml")]).unwrap().files.len(), 4);
    let empty = "conf.d/a.yaml:1:1: the file is empty: a configuration has at least `listeners` and `pools`";
    assert_eq!(errors(&folder, &["conf.d/a.yaml", "conf.d/b.yaml"]), empty);
    // One that is about to be written holds nothing at all.
    std::fs::write(folder.path().join("conf.d/b.yaml"), "\n").unwrap();
    let blank = "conf.d/b.yaml:1:1: the file is empty: a configuration has at least `listeners` and `pools`, a part of one at least a comment";
    assert_eq!(errors(&folder, &["main.yaml"]), blank);
}

#[test]
fn a_file_too_long_to_be_a_configuration_is_not_read_to_its_end() {
    let folder = folder(&[]);
    let path = folder.path().join("long.yaml");
    std::fs::File::create(&path).unwrap().set_len(1 << 40).unwrap();
    assert_eq!(errors(&folder, &["long.yaml"]), "long.yaml:1:1: longer than 64 MiB, which no configuration is");
}

#[test]
fn file_names_cannot_forge_lines() {
    let folder = folder(&[("a\nb.yaml", "x: 1")]);
    let errors = errors(&folder, &["a\nb.yaml"]);
    assert!(errors.lines().all(|line| line.starts_with("a\\nb.yaml:1:1: ")), "{errors}");
}

#[test]
fn memory_has_no_includes() {
    let errors = super::config::parse("m.yaml", &format!("include: a.yaml\n{MAIN}"), &super::CATALOGUE, &super::env);
    let errors = errors.map(drop).unwrap_err().to_string();
    assert_eq!(errors, "m.yaml:1:1: include: a configuration in memory may not include files");
}

#[test]
fn warnings_do_not_refuse() {
    let folder = folder(&[(
        "a.yaml",
        "admin: { listen: 0.0.0.0:1 }\nlisteners: { l: { bind: '127.0.0.1:2', pool: p } }\npools: { p: { backends: [] }, q: { backends: h:1 } }\n",
    )]);
    let loaded = load(&[folder.path().join("a.yaml")]).unwrap();
    let warnings: Vec<_> =
        loaded.warnings.iter().map(|w| format!("{}:{}: {}: {}", w.line, w.column, w.path, w.message)).collect();
    assert_eq!(
        warnings,
        [
            "1:1: admin: nobody may change anything here without a token: name its file in `admin.token_file`",
            "3:15: pools.p.backends: the pool has no backends",
            "3:31: pools.q: no listener uses this pool",
        ]
    );
}

#[test]
fn workers_that_would_spin_in_each_other_s_way_are_warned_about() {
    let warnings = |workers: &str| -> Vec<String> {
        let listener = "listeners: { l: { bind: '127.0.0.1:2', pool: p } }";
        let folder = folder(&[("a.yaml", &format!("{workers}\n{listener}\npools: {{ p: {{ backends: h:1 }} }}\n"))]);
        let loaded = load(&[folder.path().join("a.yaml")]).unwrap();
        loaded.warnings.iter().map(|w| format!("{}:{}: {}: {}", w.line, w.column, w.path, w.message)).collect()
    };
    let cpus = std::thread::available_parallelism().unwrap();
    let crowded = format!(
        "1:12: workers.threads: with `busy_poll` more workers than CPUs take time from each other, and this process may \
         use {cpus} here: write `auto`"
    );
    assert_eq!(warnings("workers: { threads: 4096, busy_poll: 50us }"), [crowded]);
    for good in ["threads: 4096, busy_poll: off", "threads: 4096", "threads: 1, busy_poll: 50us", "busy_poll: 50us"] {
        assert!(warnings(&format!("workers: {{ {good} }}")).is_empty(), "{good}");
    }
}

#[test]
fn queues_and_zones_that_mean_nothing_are_warned_about() {
    let warnings = |top: &str, pools: &str| -> Vec<String> {
        let text =
            format!("{top}\nlisteners: {{ l: {{ bind: '127.0.0.1:2', pool: p }} }}\npools: {{ p: {{ {pools} }} }}\n");
        let folder = folder(&[("a.yaml", &text)]);
        let loaded = load(&[folder.path().join("a.yaml")]).unwrap();
        loaded.warnings.iter().map(|w| format!("{}:{}: {}: {}", w.line, w.column, w.path, w.message)).collect()
    };
    let wait = "nothing will ever wait: no backend of the pool `p` has a limit; give them `max_connections`";
    let zone = "zones of backends do not matter until this instance has one: set `zone` at the top of the file";
    let limited = "{ address: h:2, max_connections: 1 }";
    let zoned = "backends: [h:1, { address: h:2, zone: a }, { address: h:3, zone: b }]";

    assert_eq!(warnings("", "backends: h:1, queue: {}"), [format!("3:30: pools.p.queue: {wait}")]);
    let inherited = warnings("defaults: { pool: { queue: {} } }", "backends: h:1");
    assert_eq!(inherited, [format!("1:21: defaults.pool.queue: {wait}")]);
    assert!(warnings("", &format!("backends: [h:1, {limited}], queue: {{}}")).is_empty());
    assert!(warnings("", "backends: h:1, queue: {}, backend: { max_connections: 1 }").is_empty());
    assert!(warnings("", "backends: h:1, queue: off").is_empty());

    assert_eq!(warnings("", zoned), [format!("3:47: pools.p.backends[1].zone: {zone}")]);
    assert_eq!(warnings("zone: off", zoned), [format!("3:47: pools.p.backends[1].zone: {zone}")]);
    let inherited = warnings("defaults: { backend: { zone: a } }", "backends: [h:1, h:2]");
    assert_eq!(inherited, [format!("1:24: defaults.backend.zone: {zone}")]);
    assert!(warnings("zone: c", zoned).is_empty());
    assert!(warnings("zone: c", "backends: h:1").is_empty());
    assert!(warnings("", "backends: { address: h:1, zone: off }").is_empty());
}

fn make_fifo(path: &Path) {
    let mode = rustix::fs::Mode::from_raw_mode(0o600);
    rustix::fs::mknodat(rustix::fs::CWD, path, rustix::fs::FileType::Fifo, mode, 0).unwrap();
}

/// What `act` gives, or a panic when it waits for something.
fn at_once<T: Send + 'static>(act: impl FnOnce() -> T + Send + 'static) -> T {
    let (tell, told) = mpsc::channel();
    std::thread::spawn(move || drop(tell.send(act())));
    told.recv_timeout(Duration::from_secs(60)).expect("it waits")
}

#[test]
fn nothing_that_a_file_names_can_hold_up_its_reader() {
    let cases = [
        ("include: F", "", ""),
        ("admin: { listen: '127.0.0.1:2', token_file: F }", "", ""),
        ("", ", tls: { certificates: { cert: F, key: F } }", ""),
        ("", ", tls: { certificates: { cert: a.pem, key: F }, ticket_keys: F }", ""),
        ("", ", tls: { certificates: { cert: a.pem, key: a.pem }, client_auth: { ca: F, crl: F } }", ""),
        ("", "", ", tls: { ca: F }"),
        ("", "", ", health: { probe: { redis: { password_file: F } } }"),
    ];
    for (top, listener, pool) in cases {
        let main = format!(
            "{top}\nlisteners: {{ l: {{ bind: '127.0.0.1:1', pool: p{listener} }} }}\n\
             pools: {{ p: {{ backends: '10.0.0.1:1'{pool} }} }}\n"
        );
        let folder = folder(&[("main.yaml", &main), ("a.pem", "")]);
        make_fifo(&folder.path().join("F"));
        let main = folder.path().join("main.yaml");
        let errors = at_once(move || load(&[main]).map(drop)).unwrap_err();
        assert!(
            errors.contains("F: it is not a regular file") || errors.contains("F: cannot be read: it is not"),
            "{errors}"
        );
    }
}

#[test]
fn a_stream_is_read_where_someone_waits_for_the_answer_and_nowhere_else() {
    let folder = tempfile::tempdir().unwrap();
    let fifo = folder.path().join("main.yaml");
    make_fifo(&fifo);
    let paths = [fifo.clone()];
    let writer = std::thread::spawn(move || std::fs::write(fifo, MAIN).unwrap());
    let read = paths.clone();
    assert_eq!(at_once(move || load(&read).unwrap().plan.listeners.len()), 1);
    writer.join().unwrap();
    let again = paths.clone();
    let running = move || config::load_within(&Reach::default(), &again, &CATALOGUE, &env).map(drop);
    let errors = at_once(running).unwrap_err().to_string();
    assert!(errors.ends_with("main.yaml:1:1: cannot be read: it is not a regular file"), "{errors}");
    at_once(move || config::fingerprint(&paths, &env));
}

#[test]
fn secrets_and_folders_that_are_not_there_are_errors_at_their_keys() {
    let main = |top: &str| format!("{top}\n{MAIN}");
    let admin = "admin: { listen: '127.0.0.1:2', token_file: token }";
    let folder = folder(&[("main.yaml", &main(admin)), ("blank", " \n")]);
    let write = |text: &str| std::fs::write(folder.path().join("main.yaml"), text).unwrap();
    let said = |errors: String, key: &str, words: &str| {
        assert!(errors.contains(words) && errors.starts_with(&format!("main.yaml:{key}: ")), "{errors}");
        assert_eq!(errors.lines().count(), 1, "{errors}");
    };
    said(errors(&folder, &["main.yaml"]), "1:45: admin.token_file", "cannot read token: No such file");
    write(&main(&admin.replace("token }", "blank }")));
    said(errors(&folder, &["main.yaml"]), "1:45: admin.token_file", "the file is empty; it must hold the token");
    write(&main("state_file: not/there/state.json"));
    said(errors(&folder, &["main.yaml"]), "1:13: state_file", "there is no folder not/there");
    write(&main("state_file: state.json"));
    load(&[folder.path().join("main.yaml")]).unwrap();
}
