//! A gateway and a controller that see the machine differently. The controller is in another namespace of processes or
//! of the clock, as in containers that share a volume. Other tests mount over the home, or kill and restart the gateway
//! during a wait. They use real processes and files. Only root can run most of them, and others see what is skipped.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Output, Stdio};

use serde_json::Value;
use tidegate::home::Home;
use tidegate::request::DrainRequest;
use tidegate::{Gateway, Origin};

/// Whether namespaces of this kind can be created here.
fn can(unshare: &[&str]) -> bool {
    let tried = Command::new("unshare").args(unshare).arg("true").output();
    let can = tried.is_ok_and(|it| it.status.success());
    if !can {
        println!("`unshare {}` is not permitted here; not tried", unshare.join(" "));
    }
    can
}

/// The command's program.
const BUILT: &str = env!("CARGO_BIN_EXE_tidegate");

const PID: &[&str] = &["--pid", "--fork", "--mount-proc"];
const TIME: &[&str] = &["--time", "--boottime", "100000", "--fork"];

fn home() -> (tempfile::TempDir, Home) {
    let dir = tempfile::tempdir().expect("temp dir");
    let home = Home::at(dir.path());
    (dir, home)
}

/// The command in new namespaces of these kinds, or in those of this process if none are given.
fn command(home: &Home, unshare: &[&str], arguments: &[&str]) -> Command {
    let mut command = if unshare.is_empty() {
        Command::new(BUILT)
    } else {
        let mut command = Command::new("unshare");
        command.args(unshare).arg(BUILT);
        command
    };
    command.args(arguments).arg("--json").arg("--home").arg(home.path());
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

#[track_caller]
fn answer(output: &Output, code: i32) -> Value {
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(
        output.status.code(),
        Some(code),
        "{}{told}",
        String::from_utf8_lossy(&output.stdout)
    );
    serde_json::from_slice(&output.stdout).unwrap_or(Value::Null)
}

#[track_caller]
fn run(home: &Home, unshare: &[&str], arguments: &[&str]) -> Value {
    answer(&command(home, unshare, arguments).output().expect("the command runs"), 0)
}

/// The request of a controller in another container counts, and its `observe` agrees with the gateway. F20.
#[test]
fn a_controller_in_another_pid_namespace_is_heard() {
    if !can(PID) {
        return;
    }
    let (_dir, home) = home();
    let gateway = Gateway::builder(home.path()).start().expect("starts");
    let drained = run(&home, PID, &["drain"]);
    assert_eq!((&drained["draining"], &drained["epoch_of"]), (&true.into(), &"gateway".into()));
    assert_eq!(drained["epoch"], gateway.status().epoch.as_str());
    assert!(gateway.admit(Origin::User).is_err());
    assert_eq!(run(&home, PID, &["observe"])["verdict"], "active");
    let waited = run(&home, PID, &["drain", "--holder", "ci", "--wait", "--timeout", "30s"]);
    assert_eq!((&waited["quiesced"], &waited["draining"]), (&true.into(), &true.into()));
    assert!(waited["safe_until_uptime_ms"].is_u64(), "its clock is the gateway's: {waited}");
    run(&home, PID, &["renew", "--holder", "ci"]);
    gateway.reconcile_now();
    assert_eq!(gateway.status().holders.len(), 2);
    run(&home, PID, &["cancel", "--all", "--force"]);
    gateway.reconcile_now();
    assert!(gateway.is_ready());
    assert_eq!(run(&home, PID, &["observe"])["verdict"], "absent");
}

/// A time since boot has a meaning in one namespace only. A reader in another one learns how long acting is safe, and
/// not until when. F20.
#[test]
fn a_controller_in_another_time_namespace_is_told_how_long() {
    if !can(TIME) {
        return;
    }
    let (_dir, home) = home();
    let gateway = Gateway::builder(home.path()).start().expect("starts");
    let waits = ["drain", "--wait", "--timeout", "30s", "--lease", "10m"];
    let waited = run(&home, TIME, &waits);
    assert_eq!(
        (&waited["quiesced"], &waited["safe_until_uptime_ms"]),
        (&true.into(), &Value::Null)
    );
    let safe_for = waited["safe_for_s"].as_f64().expect("a number");
    assert!((500.0..=600.0).contains(&safe_for), "{waited}");
    let written = fs::read_to_string(home.marker_path()).expect("reads");
    assert!(!written.contains("requested_uptime_ms"), "{written}");
    assert_eq!(run(&home, TIME, &["observe"])["verdict"], "active");
    // The gateway counts the lease down on its own clock.
    let left = gateway.status().holders[0].lease_left_s.expect("leased");
    assert!((500.0..=600.0).contains(&left), "{left}");
}

/// Without a running gateway, the answer says which gateway the request is for. F20.
#[test]
fn where_nobody_lives_the_answer_says_for_whom_the_request_is() {
    let (_dir, home) = home();
    let drained = run(&home, &[], &["drain"]);
    assert_eq!((&drained["pending"], &drained["epoch_of"]), (&true.into(), &"next".into()));
    assert!(drained["reason"].as_str().is_some_and(|it| it.contains("no gateway is running")));
    let refused = command(&home, &[], &["drain", "--this-run", "--holder", "ci"]);
    let refused = { refused }.output().expect("the command runs");
    answer(&refused, 4);
    assert!(String::from_utf8_lossy(&refused.stderr).contains("start the gateway, or leave out"));
    assert!(!home.requests_path().exists(), "nothing was written");
}

/// The example's program.
fn example() -> PathBuf {
    Path::new(BUILT).parent().expect("a folder").join("examples/gateway")
}

/// A gateway in its own process, which can be killed.
struct Process(Child);

impl Process {
    fn start(home: &Home) -> Process {
        let mut command = Command::new(example());
        command.arg("--home").arg(home.path()).args(["--interval-s", "0.01"]);
        let mut child = command.stdout(Stdio::piped()).spawn().expect("the gateway starts");
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().expect("piped")).read_line(&mut line).expect("reads");
        assert!(line.contains("address"), "{line}");
        Process(child)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A request for this run ends with the run, and a request for any run does not.
#[test]
fn a_request_for_this_run_ends_with_it() {
    let (_dir, home) = home();
    let first = Process::start(&home);
    assert_eq!(run(&home, &[], &["drain", "--this-run"])["draining"], true);
    let renewed = run(&home, &[], &["renew"]);
    assert!(renewed["request_id"].is_string());
    let written = fs::read_to_string(home.marker_path()).expect("reads");
    assert!(written.contains("incarnation"), "a renewal keeps it: {written}");
    drop(first);
    assert_eq!(run(&home, &[], &["observe"])["verdict"], "other_run");
    let _second = Process::start(&home);
    run(&home, &[], &["wait", "ready"]);
    assert_eq!(run(&home, &[], &["observe"])["verdict"], "other_run");
    assert_eq!(run(&home, &[], &["drain"])["draining"], true);
}

/// A `drain --wait` that has just been started, and its stderr.
fn waiting(home: &Home) -> (Child, BufReader<ChildStderr>) {
    let arguments = ["drain", "--holder", "ci", "--wait", "--timeout", "60s"];
    let mut child = command(home, &[], &arguments).spawn().expect("the command starts");
    let stderr = BufReader::with_capacity(1, child.stderr.take().expect("piped"));
    (child, stderr)
}

fn until_it_says(stderr: &mut BufReader<ChildStderr>, what: &str) {
    let mut told = String::new();
    while !told.contains(what) {
        assert_ne!(stderr.read_line(&mut told).expect("reads"), 0, "it ended: {told}");
    }
}

/// The lock file of a live gateway is removed while a command waits for a turn in flight. F18.
#[test]
fn a_lock_file_that_is_removed_is_no_end_of_a_wait() {
    let (_dir, home) = home();
    let gateway = Gateway::builder(home.path()).start().expect("starts");
    let turn = gateway.admit(Origin::User).expect("open");
    let (child, mut stderr) = waiting(&home);
    until_it_says(&mut stderr, "1 in flight");
    fs::remove_file(home.lock_path()).expect("removes");
    let second = Gateway::builder(home.path()).start();
    assert!(second.is_err(), "a second gateway starts beside the first");
    gateway.reconcile_now();
    assert!(home.status().expect("reads").is_alive());
    drop(turn);
    let waited = answer(&child.wait_with_output().expect("the command ends"), 0);
    assert_eq!(waited["quiesced"], true);
}

/// Found in the field: `kill -9` and a restart during a wait was reported as "lost", though nobody removed the request.
#[test]
fn a_restart_is_no_end_of_a_wait() {
    let (_dir, home) = home();
    for _ in 0..10 {
        let first = Process::start(&home);
        // The default request does not hold internal work, so the goal is only draining.
        let ask = DrainRequest::default();
        let request = home.begin_drain(&ask).expect("writes");
        let holder = tidegate::request::Holder::Shared;
        let mut drain = tidegate::pending::PendingDrain::new(&holder, &request);
        let mut look = || home.check_drain(&mut drain, tidegate::pending::Goal::Draining);
        while look().expect("it lives").0.is_none() {}
        drop(first);
        // Between the two gateways no process holds the home, and the wait goes on.
        assert!(look().expect("it may come back").0.is_none());
        let second = Process::start(&home);
        loop {
            match look() {
                Ok((Some(_), _)) => break,
                Ok((None, _)) => {}
                Err(error) => panic!("{error}"),
            }
        }
        drop(second);
        assert!(home.cancel_drain(&holder).expect("removes"));
    }
}

/// A request for this run is lost when the run ends, and a wait for it says so.
#[test]
fn a_wait_for_this_run_is_lost_with_it() {
    let (_dir, home) = home();
    let first = Process::start(&home);
    let holder = tidegate::request::Holder::Shared;
    let request = home.begin_drain(&DrainRequest::default().with_this_run(true)).expect("writes");
    let mut drain = tidegate::pending::PendingDrain::new(&holder, &request);
    let mut look = || home.check_drain(&mut drain, tidegate::pending::Goal::Draining);
    while look().expect("it lives").0.is_none() {}
    drop(first);
    let _second = Process::start(&home);
    let lost = loop {
        match look() {
            Ok(_) => {}
            Err(error) => break error.to_string(),
        }
    };
    assert!(lost.contains("the run of the gateway"), "{lost}");
}

/// A mount over the home does not release its requests, and a look there finds no gateway. F18.
#[test]
fn a_home_that_is_mounted_over_is_kept() {
    if !can(&["--mount"]) {
        return;
    }
    let (_dir, home) = home();
    let script = r#"
        set -e
        "$GATEWAY" --home "$H" --interval-s 0.01 > /dev/null & gateway=$!
        trap 'kill -9 $gateway' EXIT
        "$TIDEGATE" --home "$H" wait ready > /dev/null
        "$TIDEGATE" --home "$H" drain > /dev/null
        mount -t tmpfs none "$H"
        "$TIDEGATE" --home "$H" wait stopped
        "$TIDEGATE" --home "$H" observe --json
        ls -A "$H"
        umount "$H"
        "$TIDEGATE" --home "$H" status --check alive && echo alive
        "$TIDEGATE" --home "$H" drain --json
    "#;
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", script]).env("H", home.path());
    command.env("GATEWAY", example()).env("TIDEGATE", BUILT);
    let output = command.stdin(Stdio::null()).output().expect("runs");
    let text = String::from_utf8_lossy(&output.stdout);
    let told = String::from_utf8_lossy(&output.stderr);
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 4, "nothing was written into the mount: {text}{told}");
    assert!(lines[0].contains("stopped") && lines[1].contains("absent"), "{text}{told}");
    assert!(lines[2].contains("alive") && lines[3].contains("\"draining\":true"), "{text}{told}");
}
