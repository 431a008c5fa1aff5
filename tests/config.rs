//! The sample configurations: what they start is what the program takes.

mod common;

use std::collections::BTreeSet;
use std::fs;
use std::process::{Command, Stdio};

use common::{floodmark, root_dir, tests_dir};

fn sample(name: &str) -> String {
    let path = root_dir().join("config").join(name);
    fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// The options that a text gives to `floodmark worker`.
fn options(text: &str) -> BTreeSet<String> {
    let from = text.find("floodmark worker").expect("it starts a worker");
    let end = text[from..].find("\n\n").map_or(text.len(), |end| from + end);
    let lines = text[from..end].lines().filter(|line| !line.trim_start().starts_with('#'));
    let words = lines.flat_map(str::split_whitespace).filter(|word| word.starts_with("--"));
    words.map(str::to_owned).collect()
}

fn is_known_to_help(name: &str) {
    let help = floodmark(&tests_dir(), &["worker", "--help"]).success();
    let options = options(&sample(name));
    assert!(options.len() >= 5, "{name}: {options:?}");
    for option in options {
        assert!(help.contains(&format!("{option} ")), "{name}: {option} is not in\n{help}");
    }
}

#[test]
fn the_unit_starts_a_worker_as_it_is() {
    is_known_to_help("floodmark@.service");
    let unit = sample("floodmark@.service");
    for section in ["[Unit]", "[Service]", "[Install]"] {
        assert_eq!(unit.matches(section).count(), 1, "{section}");
    }
    let mut last = String::new();
    for line in unit.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let is_section = line.starts_with('[') && line.ends_with(']');
        assert!(is_section || line.contains('='), "after {last}: {line}");
        last = line.to_owned();
    }
    let line = unit.lines().find(|line| line.starts_with("ExecStart=")).expect("a command");
    assert!(line.contains("--process %i"), "{line}");
}

#[test]
fn the_pods_start_workers_that_find_one_another() {
    is_known_to_help("kubernetes.yaml");
    let text = sample("kubernetes.yaml");
    assert!(!text.contains('\t'), "a tab is no indentation");
    let peers = text.matches(".floodmark-peers:7700 ").count();
    assert!(text.contains(&format!("replicas: {peers}")), "{peers} lines in the hostfile");
    for (name, uses) in [("floodmark-hostfile", 2), ("floodmark-secret", 2), ("floodmark-peers", 2)]
    {
        assert!(text.matches(name).count() >= uses, "{name} is used or defined alone");
    }
    // PyYAML is not part of Python: where it is there, it has the last word.
    let check = "import sys, yaml\n\
        kinds = [document['kind'] for document in yaml.safe_load_all(sys.stdin)]\n\
        assert kinds == ['ConfigMap', 'Service', 'Service', 'StatefulSet'], kinds";
    let has_yaml = Command::new("python3")
        .args(["-c", "import yaml"])
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success());
    if has_yaml {
        let file = fs::File::open(root_dir().join("config/kubernetes.yaml")).expect("the sample");
        let checked = Command::new("python3").args(["-c", check]).stdin(Stdio::from(file)).output();
        let checked = checked.expect("python runs");
        assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
    }
}

/// The sample is read: what is refused is the number of a process that it does not have.
#[test]
fn the_hostfile_is_read() {
    let dir = tempfile::tempdir().expect("a folder");
    fs::write(dir.path().join("secret"), "a secret of the tests, long enough").expect("a file");
    let hostfile = root_dir().join("config/hostfile").display().to_string();
    let args = ["worker", "--hostfile", &hostfile, "--process", "3", "--data-dir", "data"];
    let more = ["--cluster-secret-file", "secret", "--workers", "1"];
    let ran = floodmark(dir.path(), &[&args[..], &more].concat());
    ran.refused_with(&["3", "process"]);
}
