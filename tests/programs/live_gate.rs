//! The acceptance test of the live gate (R13) and related tests, with a real process, real files and the real
//! command. They look at nothing inside the process. They wait for replies on a socket or for a status, and never
//! for time to pass; `PATIENCE` only turns a hang into a failure.
//!
//! Run with `--nocapture` to see the measured times.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(30);

/// More than a loopback socket's buffers hold.
const HELD_BYTES: usize = 32 << 20;

/// Calls `look` again and again until it returns an answer.
fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(answer) = look() {
            return answer;
        }
        assert!(began.elapsed() < PATIENCE, "never happened: {what}");
        // Gives the processor to the other processes.
        std::thread::park_timeout(Duration::from_millis(2));
    }
}

/// The example gateway, running.
struct Process {
    child: Child,
    output: BufReader<ChildStdout>,
    address: String,
}

impl Process {
    fn command(home: &Path) -> Command {
        let beside = Path::new(env!("CARGO_BIN_EXE_tidegate")).parent().expect("a folder");
        let example = beside.join("examples/gateway");
        assert!(example.exists(), "build the example first: cargo build --examples");
        let mut command = Command::new(example);
        command.arg("--home").arg(home);
        command
    }

    fn start(home: &Path) -> Process {
        Process::begin(&mut Process::command(home))
    }

    fn begin(command: &mut Command) -> Process {
        let mut child = command.stdout(Stdio::piped()).spawn().expect("the example starts");
        let mut output = BufReader::new(child.stdout.take().expect("piped"));
        let mut line = String::new();
        output.read_line(&mut line).expect("a ready line");
        let ready: Value = serde_json::from_str(&line).expect("the ready line is JSON");
        let address = ready["address"].as_str().expect("an address").to_owned();
        assert_eq!(ready["pid"], child.id());
        Process { child, output, address }
    }

    fn connect(&self) -> User {
        let stream = TcpStream::connect(&self.address).expect("the example listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        stream.set_nodelay(true).expect("no delay");
        User { replies: BufReader::new(stream) }
    }

    fn terminate(&self) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("SIGTERM");
    }

    fn is_up(&mut self) -> bool {
        self.child.try_wait().expect("a child").is_none()
    }

    /// Waits for the process to end. Returns its exit code and its last line.
    fn end(&mut self) -> (Option<i32>, Value) {
        let status = eventually("the process ends", || self.child.try_wait().expect("a child"));
        let mut line = String::new();
        self.output.read_line(&mut line).expect("a last line");
        (status.code(), serde_json::from_str(&line).unwrap_or_default())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// One user's connection.
struct User {
    replies: BufReader<TcpStream>,
}

impl User {
    fn says(&mut self, line: &str) {
        let line = line.to_owned() + "\n";
        self.replies.get_mut().write_all(line.as_bytes()).expect("the gateway reads");
    }

    fn hears(&mut self) -> String {
        let mut reply = String::new();
        self.replies.read_line(&mut reply).expect("a reply");
        reply.trim_end().to_owned()
    }

    /// Starts a turn that lasts until its reply is [read](User::ends_turn). The reply is more than a socket holds, and
    /// its delivery is part of the turn (F11).
    fn begins_turn(&mut self) {
        self.says(&"x".repeat(HELD_BYTES));
    }

    fn ends_turn(&mut self) {
        let reply = self.hears();
        assert!(reply.starts_with("echo: xxx") && reply.len() == "echo: ".len() + HELD_BYTES);
    }

    fn asks(&mut self, line: &str) -> String {
        self.says(line);
        self.hears()
    }
}

struct Operator {
    home: PathBuf,
}

impl Operator {
    fn run(&self, arguments: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_tidegate"))
            .args(arguments)
            .arg("--json")
            .env("TIDEGATE_HOME", &self.home)
            .output()
            .expect("the command runs")
    }

    fn json(&self, arguments: &[&str]) -> Value {
        let output = self.run(arguments);
        assert!(
            output.status.success(),
            "{arguments:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        serde_json::from_slice(&output.stdout).expect("one line of JSON")
    }

    /// Waits for such a status. It reads the file itself: no process starts for each look.
    fn status_where(&self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let file = self.home.join("gateway_state.json");
        eventually(what, || {
            let status = serde_json::from_slice(&std::fs::read(&file).ok()?).ok()?;
            wanted(&status).then_some(status)
        })
    }
}

fn home() -> (tempfile::TempDir, Operator) {
    let dir = tempfile::tempdir().expect("temp dir");
    let home = dir.path().to_owned();
    (dir, Operator { home })
}

/// The live gate: the five steps (a) to (e) of R13.
#[test]
fn live_gate() {
    const REFUSALS: usize = 20;

    let (dir, operator) = home();
    let mut process = Process::start(dir.path());
    let mut in_flight: Vec<User> = (0..3).map(|_| process.connect()).collect();
    for user in &mut in_flight {
        user.begins_turn();
    }
    operator.status_where("three turns are in flight", |status| status["in_flight"]["user"] == 3);

    // (a) The marker is observed within the interval, and the status says draining.
    let began = Instant::now();
    let reply = operator.json(&["drain", "--principal", "live-gate"]);
    let observed = began.elapsed();
    assert_eq!(reply["draining"], true, "a live gateway confirms: {reply}");
    let draining =
        operator.status_where("draining", |status| status["gateway_state"] == "draining");
    assert_eq!(draining["holders"][0]["request_id"], reply["request_id"]);
    assert_eq!(
        (&draining["active_agents"], &draining["ready"]),
        (&Value::from(3), &Value::from(false))
    );
    assert_eq!(draining["desired_state"], "draining");

    // (b) New user turns are refused, and internal events pass.
    let mut newcomer = process.connect();
    for _ in 0..REFUSALS {
        let reply = newcomer.asks("hello");
        assert!(reply.starts_with("refused: the gateway is draining"), "{reply}");
    }
    assert_eq!(newcomer.asks("internal job is done"), "echo: internal job is done");
    let refused = began.elapsed();

    // (c) The turns in flight finish untouched.
    for user in &mut in_flight {
        user.ends_turn();
    }
    let finished = began.elapsed();

    // (d) In flight reaches zero, and the process is still up.
    let idle = operator.status_where("idle", |status| status["idle"] == true);
    let at_rest = began.elapsed();
    assert_eq!(
        (&idle["active_agents"], &idle["gateway_state"]),
        (&Value::from(0), &Value::from("draining"))
    );
    assert_eq!(idle["generation"], draining["generation"]);
    assert!(process.is_up());

    // (e) Cancel returns it to running, and it admits again.
    let began_again = Instant::now();
    assert_eq!(operator.json(&["cancel"])["was_draining"], true);
    operator.status_where("running", |status| status["gateway_state"] == "running");
    assert_eq!(newcomer.asks("hello"), "echo: hello");
    let reopened = began_again.elapsed();
    assert_eq!(operator.json(&["cancel"])["was_draining"], false);

    println!("(a) closed and confirmed {observed:?} after the command began");
    println!("(b) {REFUSALS} user turns refused, 1 internal admitted, by {refused:?}");
    println!("(c) 3 of 3 turns in flight finished untouched, by {finished:?}");
    println!("(d) idle {:?} after the last of them, process up", at_rest.saturating_sub(finished));
    println!("(e) running and admitting {reopened:?} after the cancel began");

    process.terminate();
    let (code, last) = process.end();
    assert_eq!((code, &last["ended"]), (Some(0), &Value::from("clean")));
    let stopped = operator.json(&["status"]);
    assert_eq!(
        (&stopped["gateway_state"], &stopped["alive"]),
        (&Value::from("stopped"), &Value::from(false))
    );
    assert_eq!(
        (&stopped["exit_reason"], &stopped["desired_state"]),
        (&Value::from("SIGTERM"), &Value::from("running"))
    );
}

/// The original admits for about a second after such a restart. U2, U35.
#[test]
fn a_restart_with_a_live_marker_never_admits_before_it_has_reconciled() {
    let (dir, operator) = home();
    let mut process = Process::start(dir.path());
    assert_eq!(operator.json(&["drain"])["draining"], true);
    for _ in 0..5 {
        process.child.kill().expect("kill -9");
        process.child.wait().expect("dead");
        assert_eq!(
            operator.json(&["status"])["alive"],
            false,
            "a status that it left behind does not make it alive (U41)"
        );
        process = Process::start(dir.path());
        // The very first turn, as soon as the process listens.
        let reply = process.connect().asks("hello");
        assert!(reply.starts_with("refused: the gateway is draining"), "{reply}");
        let status = operator.json(&["status"]);
        assert_eq!(
            (&status["alive"], &status["gateway_state"]),
            (&Value::from(true), &Value::from("draining"))
        );
    }
    assert_eq!(operator.json(&["cancel"])["was_draining"], true);
    operator.status_where("running", |status| status["gateway_state"] == "running");
    assert_eq!(process.connect().asks("hello"), "echo: hello");
}

/// A release during a shutdown changes nothing. TG-S1.
#[test]
fn shutdown_wins() {
    let (dir, operator) = home();
    let mut process = Process::begin(Process::command(dir.path()).args(["--interval-s", "0.05"]));
    let mut in_flight = process.connect();
    let mut newcomer = process.connect();
    in_flight.begins_turn();
    operator.status_where("one turn is in flight", |status| status["in_flight"]["user"] == 1);
    assert_eq!(operator.json(&["drain"])["draining"], true);

    process.terminate();
    let down =
        operator.status_where("shutting down", |status| status["lifecycle"] == "shutting_down");
    assert_eq!(
        (&down["gateway_state"], &down["ready"]),
        (&Value::from("draining"), &Value::from(false))
    );
    assert_eq!(operator.json(&["cancel"])["was_draining"], true);
    // Once the watcher has seen that the marker is gone, the gate still stays shut.
    operator.status_where("the release is seen", |status| {
        status["holders"] == Value::Array(Vec::new())
    });
    let reply = newcomer.asks("hello");
    assert!(reply.starts_with("refused: the gateway is shutting down"), "{reply}");

    in_flight.ends_turn();
    let (code, last) = process.end();
    assert_eq!((code, &last["ended"]), (Some(0), &Value::from("clean")));
    assert_eq!(operator.json(&["status"])["lifecycle"], "stopped");
}

/// The start fails, names the first process, and leaves its status as it is. F17.
#[test]
fn a_second_gateway_on_the_same_home_is_told_so() {
    let (dir, operator) = home();
    let first = Process::start(dir.path());
    let second = Process::command(dir.path()).output().expect("the example runs");
    assert!(!second.status.success());
    let complaint = String::from_utf8_lossy(&second.stderr);
    assert!(
        complaint.contains("is in use by another gateway")
            && complaint.contains(&first.child.id().to_string()),
        "{complaint}"
    );
    assert_eq!(
        operator.json(&["status"])["pid"],
        first.child.id(),
        "the first one's status is untouched"
    );
}

#[test]
fn the_command_answers_in_its_shapes() {
    let (dir, operator) = home();
    let observed = operator.json(&["observe"]);
    assert_eq!(
        observed,
        serde_json::json!({ "requested": false, "suppressed": false, "verdict": "absent", "body": null })
    );

    let drained = operator.json(&["drain", "--suppress-notification"]);
    assert_eq!((&drained["ok"], &drained["action"]), (&Value::from(true), &Value::from("drain")));
    assert_eq!(
        (&drained["draining"], &drained["pending"]),
        (&Value::from(false), &Value::from(true)),
        "nobody is there"
    );
    assert_eq!(drained["suppress_notification"], true);

    let observed = operator.json(&["observe"]);
    assert_eq!(
        (&observed["verdict"], &observed["suppressed"]),
        (&Value::from("active"), &Value::from(true))
    );
    assert_eq!(observed["body"]["request_id"], drained["request_id"]);
    assert_eq!(observed["body"]["epoch"], operator.json(&["epoch"])["epoch"]);

    let status = operator.json(&["status"]);
    assert_eq!(status, serde_json::json!({ "alive": false, "busy": false, "drainable": false }));

    let cancelled = operator.json(&["cancel"]);
    assert_eq!(
        cancelled,
        serde_json::json!({ "ok": true, "action": "cancel", "was_draining": true })
    );

    // A removal that fails is reported as a failure (U8, U38).
    std::fs::create_dir(dir.path().join(".drain_request.json")).expect("mkdir");
    let failed = operator.run(&["cancel"]);
    assert_eq!(failed.status.code(), Some(1));
    let reply: Value = serde_json::from_slice(&failed.stdout).expect("JSON");
    assert_eq!((&reply["ok"], &reply["was_draining"]), (&Value::from(false), &Value::from(true)));
    assert!(String::from_utf8_lossy(&failed.stderr).contains("the drain stays on"));
    assert_eq!(operator.json(&["observe"])["verdict"], "unreadable");

    let homeless = Command::new(env!("CARGO_BIN_EXE_tidegate"))
        .args(["status"])
        .env_remove("TIDEGATE_HOME")
        .env_remove("HERMES_HOME")
        .output()
        .expect("the command runs");
    assert_eq!(homeless.status.code(), Some(2));
}
