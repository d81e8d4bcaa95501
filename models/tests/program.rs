//! The program, as a CI calls it: its output, and its exit codes.

use std::process::{Command, Output, Stdio};

use serde_json::Value;

fn verify(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate-verify"));
    command.args(arguments).stdin(Stdio::null());
    command
}

fn run(arguments: &[&str]) -> Output {
    verify(arguments).output().expect("the program runs")
}

#[test]
fn a_part_is_run_alone_and_reported_as_json_and_as_a_document() {
    let dir = tempfile::tempdir().expect("temp dir");
    let path = dir.path().join("new").join("report.md");
    let folder = path.parent().and_then(std::path::Path::to_str).expect("a path");
    let output = run(&["quick", "--only", "I-14", "--only", "tg-l5", "--json", "--report", folder]);
    assert_eq!(output.status.code(), Some(0));
    let report: Value = serde_json::from_slice(&output.stdout).expect("one JSON document");
    assert_eq!((&report["ok"], &report["complete"]), (&Value::from(true), &Value::from(true)));
    let faults = report["ablations"].as_array().expect("a list");
    let off: Vec<_> = faults.iter().map(|it| it["off"][0].as_str().expect("a guard")).collect();
    assert_eq!(off, ["children", "delivery_counted"]);
    assert_eq!(faults[1]["incidents"], serde_json::json!(["I-14", "I-47"]));
    assert!(faults.iter().all(|it| it["story"].as_array().is_some_and(|it| it.len() > 2)));
    let document = std::fs::read_to_string(path).expect("it is written");
    for part in
        ["without delivery_counted (I-14, I-47)", "stateDiagram", "cargo verify quick --only"]
    {
        assert!(document.contains(part), "{part}");
    }
}

/// A newcomer reads the end first. It has the result, and where to read more.
#[test]
fn the_text_ends_with_the_result_and_where_to_read() {
    let output = run(&["--only", "TG-L5"]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let parts =
        ["OK: 1 of 1 properties hold", "models/README.md", "src/guide/incidents.md", "--list"];
    for part in parts {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(!text.contains("not run"), "what was not asked for is not listed: {text}");
}

/// The first command of a newcomer runs the quick suite.
#[test]
fn without_a_command_it_is_the_quick_suite() {
    let listed = run(&["--only", "TG-L5", "--json"]);
    assert_eq!(listed.status.code(), Some(0));
    let report: Value = serde_json::from_slice(&listed.stdout).expect("one JSON document");
    assert_eq!(report["command"], "quick --only TG-L5");
}

#[test]
fn what_has_no_name_is_wrong_usage_and_what_has_one_is_listed() {
    let unknown = run(&["quick", "--only", "TG-S99"]);
    assert_eq!(unknown.status.code(), Some(2));
    let error = String::from_utf8_lossy(&unknown.stderr).into_owned();
    assert!(error.contains("is named TG-S99; --list prints all names"), "{error}");
    assert_eq!(run(&["sideways"]).status.code(), Some(2));
    let listed = run(&["--list"]);
    assert_eq!(listed.status.code(), Some(0));
    let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
    for name in ["TG-L3", "controllers", "second_listing", "U12", "off: it acts on an idle reading"]
    {
        assert!(listed.contains(name), "{name}");
    }
}

/// Exit code 3: nothing is falsified, but not everything is shown.
#[test]
fn an_interrupt_is_reported_with_what_was_not_shown() {
    let mut command = verify(&["full", "--only", "gateway", "--json"]);
    command.stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().expect("the program starts");
    let pid = rustix::process::Pid::from_child(&child);
    // Waits until the program handles both signals, SIGTERM last. Before that, a signal would kill it without a report.
    let terminate = 1u64 << (rustix::process::Signal::TERM.as_raw() - 1);
    while caught(child.id()) & terminate == 0 {
        std::thread::yield_now();
    }
    rustix::process::kill_process(pid, rustix::process::Signal::INT).expect("signals");
    let status = child.wait().expect("it ends");
    let mut printed = String::new();
    let mut stdout = child.stdout.take().expect("piped");
    std::io::Read::read_to_string(&mut stdout, &mut printed).expect("reads");
    assert_eq!(status.code(), Some(3), "{printed}");
    let report: Value = serde_json::from_str(&printed).expect("one JSON document");
    assert_eq!(report["complete"], false);
    assert!(report["unfinished"].as_array().is_some_and(|it| !it.is_empty()));
}

/// The signals that a process has handlers for.
fn caught(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("procfs");
    let mask = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).expect("a mask");
    u64::from_str_radix(mask.trim(), 16).expect("hexadecimal")
}
