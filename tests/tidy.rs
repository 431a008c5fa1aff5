//! Reads every source file and holds the rules of the house: who may import whom, what a file must
//! open with, how long it may be, what it may not say. Each message names the replacement.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

/// Who may import whom: a module, and the modules below it that it may name.
///
/// `time`, `error` and `limits` are open to all and left out.
const LAYERS: &[(&str, &[&str])] = &[
    (
        "cli",
        &[
            "api",
            "job",
            "cluster",
            "dataflow",
            "connectors",
            "formats",
            "serve",
            "snapshot",
            "spill",
            "state",
            "plan",
            "sql",
            "batch",
            "config",
            "telemetry",
        ],
    ),
    (
        "api",
        &[
            "job",
            "cluster",
            "serve",
            "snapshot",
            "formats",
            "plan",
            "sql",
            "batch",
            "config",
            "telemetry",
        ],
    ),
    (
        "job",
        &[
            "cluster",
            "dataflow",
            "connectors",
            "formats",
            "serve",
            "snapshot",
            "spill",
            "state",
            "plan",
            "sql",
            "batch",
            "config",
            "telemetry",
        ],
    ),
    (
        "cluster",
        &[
            "dataflow",
            "connectors",
            "serve",
            "snapshot",
            "state",
            "plan",
            "sql",
            "batch",
            "config",
            "telemetry",
        ],
    ),
    (
        "dataflow",
        &["connectors", "serve", "spill", "state", "plan", "sql", "batch", "config", "telemetry"],
    ),
    ("spill", &["state", "batch", "telemetry"]),
    ("connectors", &["formats", "plan", "sql", "batch", "config", "telemetry"]),
    ("serve", &["state", "plan", "sql", "batch", "config", "telemetry"]),
    ("snapshot", &["state", "batch", "config", "telemetry"]),
    ("formats", &["sql", "batch", "config", "telemetry"]),
    ("state", &["plan", "sql", "batch"]),
    ("plan", &["sql", "batch"]),
    ("sql", &["batch"]),
    ("batch", &[]),
    ("config", &["sql", "batch"]),
    ("telemetry", &[]),
    ("time", &[]),
    ("error", &[]),
    ("limits", &[]),
];

/// Open to every module.
const BASE: &[&str] = &["time", "error", "limits"];

/// Words that no source file may hold, and what to write instead. `cfg(test)` code is exempt from
/// those with `false`.
const BANNED: &[(&str, &str, bool)] = &[
    (concat!("TO", "DO"), "an issue, or the thing itself", true),
    (concat!("FIX", "ME"), "an issue, or the repair", true),
    (concat!("dbg", "!("), "tracing, or nothing", true),
    (concat!("to", "do!("), "the code", true),
    (concat!("un", "implemented!("), "an Error of kind Sql that says what is not supported", true),
    (concat!("#[ig", "nore"), "a test that runs, or none", true),
    (concat!(".unw", "rap()"), "`?` with an Error that says what was wrong", false),
    (concat!(".exp", "ect("), "`?` with an Error that says what was wrong", false),
    (concat!("pan", "ic!("), "an Error of kind Internal", false),
    (
        concat!("unreach", "able!("),
        "an Error of kind Internal, or a type that has no such case",
        false,
    ),
    (concat!("std::process::", "exit"), "an ExitCode returned from main", false),
];

/// Where a banned word may stand, with the reason.
const ALLOWED: &[(&str, &str, &str)] = &[
    (
        "src/cli/worker/engine.rs",
        concat!("std::process::", "exit"),
        "a dataflow whose peers are lost cannot be taken apart: the process ends, at once",
    ),
    (
        "src/cluster/lost.rs",
        concat!("std::process::", "exit"),
        "the same where the data of a peer stops",
    ),
];

const LINE_COLUMNS_MAX: usize = 100;
const FILE_LINES_MAX: usize = 900;
const FILE_LINES_AIM: usize = 600;

struct SourceFile {
    /// Relative to the root of the checkout, with forward slashes.
    path: String,
    text: String,
}

impl SourceFile {
    /// The first folder or file below `src/`; `None` for the roots of the crate and for tests.
    fn module(&self) -> Option<&str> {
        let inner = self.path.strip_prefix("src/")?;
        let name = inner.split('/').next()?.trim_end_matches(".rs");
        (!["lib", "main"].contains(&name)).then_some(name)
    }

    /// The folder that holds the modules which this file declares.
    fn folder(&self) -> &str {
        let stem = self.path.trim_end_matches(".rs");
        let stem = stem.strip_suffix("/mod").unwrap_or(stem);
        stem.strip_suffix("/lib").unwrap_or(stem)
    }

    /// The modules that this file declares for tests only, as paths without an ending.
    fn test_modules(&self) -> Vec<String> {
        let mut found = Vec::new();
        let mut is_for_tests = false;
        for line in self.text.lines().map(str::trim) {
            let name = line.rsplit("mod ").next().and_then(|rest| rest.strip_suffix(';'));
            if let (true, true, Some(name)) = (is_for_tests, line.contains("mod "), name) {
                found.push(format!("{}/{name}", self.folder()));
            }
            let named = line.strip_prefix("#[path = \"").and_then(|rest| rest.split('"').next());
            if let (true, Some(name), Some((parent, _))) =
                (is_for_tests, named, self.path.rsplit_once('/'))
            {
                found.push(format!("{parent}/{}", name.trim_end_matches(".rs")));
            }
            // Other attributes may stand between `#[cfg(test)]` and the declaration.
            is_for_tests = line == "#[cfg(test)]" || (is_for_tests && line.starts_with("#["));
        }
        found
    }

    /// The lines of code with their numbers: no comments, up to the unit tests at the end.
    fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        // The tests at the end of a file; `mod tests;` stands for a file of its own.
        let end = self.text.find("\n#[cfg(test)]\nmod tests {").unwrap_or(self.text.len());
        let numbered = self.text[..end].lines().enumerate().map(|(n, line)| (n + 1, line));
        numbered.filter(|(_, line)| !line.trim_start().starts_with("//"))
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_path_buf()
}

/// Every file below `dir` (relative to the root) that ends in one of `endings`, sorted.
fn files(dir: &str, endings: &[&str]) -> Vec<SourceFile> {
    let mut found = Vec::new();
    let mut folders = vec![PathBuf::from(dir)];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = fs::read_dir(root().join(&folder)) else { continue };
        for entry in entries {
            let entry = entry.expect("an entry of a folder");
            let path = folder.join(entry.file_name());
            let kind = entry.file_type().expect("a kind of file");
            let name = path.display().to_string();
            if kind.is_dir() {
                folders.push(path);
            } else if endings.iter().any(|ending| name.ends_with(ending)) {
                let text = fs::read_to_string(root().join(&path));
                found.push(SourceFile { text: text.expect("a source file is UTF-8"), path: name });
            }
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

/// The files of `src/` that are part of the program.
fn program_files() -> Vec<SourceFile> {
    let mut found = files("src", &[".rs"]);
    let tests: Vec<String> = found.iter().flat_map(SourceFile::test_modules).collect();
    found.retain(|file| {
        let stem = file.path.trim_end_matches(".rs");
        !tests.iter().any(|t| stem == t || stem.starts_with(&format!("{t}/")))
    });
    found
}

fn rust_files() -> Vec<SourceFile> {
    let mut found = files("src", &[".rs"]);
    found.extend(files("tests", &[".rs"]));
    assert!(found.len() > 30, "the sources are not where they are looked for");
    found
}

fn assert_none(faults: &str) {
    assert!(faults.is_empty(), "\n{faults}");
}

#[test]
fn modules_import_only_from_below() {
    let mut faults = String::new();
    for file in files("src", &[".rs"]) {
        let Some(module) = file.module() else { continue };
        let Some((_, below)) = LAYERS.iter().find(|(name, _)| *name == module) else {
            let _ = writeln!(faults, "{}: '{module}' has no row in LAYERS: give it one", file.path);
            continue;
        };
        for (number, line) in file.code() {
            for used in line.split("crate::").skip(1) {
                let end = used.find(|c: char| !c.is_ascii_lowercase() && c != '_');
                let used = &used[..end.unwrap_or(used.len())];
                let known = LAYERS.iter().any(|(name, _)| *name == used);
                let open = used == module || BASE.contains(&used) || below.contains(&used);
                if known && !open {
                    let _ = writeln!(
                        faults,
                        "{}:{number}: '{module}' must not import '{used}': hand the thing in from \
                         above, or move it to a layer below both",
                        file.path
                    );
                }
            }
        }
    }
    assert_none(&faults);
}

/// Only `cluster` and `dataflow` know timely, only `api` HTTP, and so on: absences that keep the
/// rest simple.
#[test]
fn what_a_module_must_not_know() {
    const ABSENCES: &[(&str, &[&str], &str)] = &[
        ("axum::", &["api", "cli"], "only api knows HTTP"),
        ("hyper::", &["api", "cli"], "only api knows HTTP"),
        ("timely::execute", &["cluster"], "only cluster owns timely workers"),
        (
            "std::fs",
            &["cli", "job", "connectors", "formats", "cluster", "snapshot", "spill", "telemetry"],
            "no I/O in the core",
        ),
        ("rocksdb::", &["snapshot"], "only snapshot knows RocksDB"),
        ("object_store::", &["snapshot"], "only snapshot knows object stores"),
        ("std::env::var", &["cli"], "only cli reads the environment: hand the value in"),
        ("std::thread::spawn", &[], "name the thread: std::thread::Builder"),
        (
            "telemetry::clock",
            &[
                "cli",
                "api",
                "job",
                "cluster",
                "dataflow",
                "connectors",
                "serve",
                "spill",
                "telemetry",
            ],
            "sql, plan, batch and state read no clock",
        ),
    ];
    let mut faults = String::new();
    for file in program_files() {
        let module = file.module().unwrap_or_default();
        for (number, line) in file.code() {
            for (word, allowed, why) in ABSENCES {
                if line.contains(word) && !allowed.contains(&module) {
                    let _ = writeln!(faults, "{}:{number}: {word}: {why}", file.path);
                }
            }
        }
    }
    assert_none(&faults);
}

#[test]
fn every_file_says_what_it_owns() {
    let mut faults = String::new();
    for file in rust_files().iter().filter(|file| !file.text.starts_with("//! ")) {
        let _ = writeln!(faults, "{}: begin with `//! ` and what the file owns", file.path);
    }
    assert_none(&faults);
}

#[test]
fn lines_and_files_are_short() {
    let mut faults = String::new();
    for file in rust_files() {
        for (index, line) in file.text.lines().enumerate() {
            if line.chars().count() > LINE_COLUMNS_MAX {
                let _ = writeln!(
                    faults,
                    "{}:{}: longer than {LINE_COLUMNS_MAX} columns: break it, or run cargo fmt",
                    file.path,
                    index + 1
                );
            }
        }
        let lines = file.text.lines().count();
        if lines > FILE_LINES_MAX {
            let _ = writeln!(
                faults,
                "{}: {lines} lines, at most {FILE_LINES_MAX}: move a concern to a file of its own",
                file.path
            );
        } else if lines > FILE_LINES_AIM {
            println!("{}: {lines} lines, {FILE_LINES_AIM} is the aim", file.path);
        }
    }
    assert_none(&faults);
}

#[test]
fn banned_words_are_absent() {
    let mut faults = String::new();
    for file in rust_files() {
        for (number, line) in file.text.lines().enumerate().map(|(n, line)| (n + 1, line)) {
            for (word, instead, _) in BANNED.iter().filter(|(_, _, everywhere)| *everywhere) {
                if line.contains(word) {
                    let _ = writeln!(faults, "{}:{number}: '{word}': {instead}", file.path);
                }
            }
        }
    }
    for file in program_files() {
        for (number, line) in file.code() {
            for (word, instead, _) in BANNED.iter().filter(|(_, _, everywhere)| !*everywhere) {
                let allowed = ALLOWED.iter().any(|(path, w, _)| *path == file.path && w == word);
                if line.contains(word) && !allowed {
                    let _ = writeln!(faults, "{}:{number}: '{word}': write {instead}", file.path);
                }
            }
        }
    }
    assert_none(&faults);
}

/// A path of one machine works on no other one.
#[test]
fn no_file_names_a_machine() {
    let words = [concat!("/wo", "rk/"), concat!("/ro", "ot/"), concat!("/ho", "me/")];
    let mut faults = String::new();
    let mut all = rust_files();
    for (dir, endings) in
        [("docs", &[".md"][..]), ("scripts", &[""]), ("dataflows", &[".sql"]), (".ci", &[""])]
    {
        all.extend(files(dir, endings));
    }
    for name in ["README.md", "CHANGELOG.md", "Cargo.toml", "clippy.toml", "deny.toml"] {
        let text = fs::read_to_string(root().join(name)).unwrap_or_default();
        all.push(SourceFile { path: name.to_owned(), text });
    }
    for file in all {
        for (index, line) in file.text.lines().enumerate() {
            if words.iter().any(|word| line.contains(word)) {
                let _ = writeln!(faults, "{}:{}: a path of one machine", file.path, index + 1);
            }
        }
    }
    assert_none(&faults);
}

#[test]
fn every_limit_is_used() {
    let sources = files("src", &[".rs"]);
    let limits = sources.iter().find(|file| file.path == "src/limits.rs").expect("limits.rs");
    let names = limits.text.lines().filter_map(|line| {
        let declared = line.strip_prefix("pub const ")?;
        declared.split_once(':').map(|(name, _)| name)
    });
    let mut faults = String::new();
    for name in names {
        let used = sources.iter().any(|file| {
            file.path != limits.path && file.code().any(|(_, line)| line.contains(name))
        });
        // A bound may also be part of another one.
        let used = used || limits.text.matches(name).count() > 1;
        if !used {
            let _ = writeln!(faults, "src/limits.rs: {name} bounds nothing: use it or remove it");
        }
    }
    assert_none(&faults);
}

#[test]
fn every_limit_says_what_it_bounds() {
    let text = fs::read_to_string(root().join("src/limits.rs")).expect("limits.rs");
    let mut faults = String::new();
    let mut before = "";
    for line in text.lines() {
        if line.starts_with("pub const ") && !before.starts_with("/// ") {
            let _ = writeln!(faults, "src/limits.rs: no doc above `{line}`");
        }
        before = line;
    }
    assert_none(&faults);
}

/// The code map of the crate names every module, and only those there are.
#[test]
fn the_crate_doc_is_the_code_map() {
    let text = fs::read_to_string(root().join("src/lib.rs")).expect("lib.rs");
    let mut faults = String::new();
    for line in text.lines() {
        if let Some(name) = line.strip_prefix("pub mod ").and_then(|rest| rest.strip_suffix(';')) {
            if !text.contains(&format!("[`{name}`]")) {
                let _ = writeln!(faults, "src/lib.rs: the doc does not mention `{name}`");
            }
            if !LAYERS.iter().any(|(known, _)| *known == name) {
                let _ = writeln!(faults, "tests/tidy.rs: LAYERS has no row for `{name}`");
            }
        }
    }
    assert_none(&faults);
}
