//! The `tidegate` command and a gateway that runs in this process: what the command waits for, what it answers, and
//! how it distinguishes failures. Nothing here sleeps: the tests make the gateway look, and wait for the command.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use serde_json::Value;
use tidegate::home::Home;
use tidegate::machine::ShutdownCause;
use tidegate::request::{DrainRequest, Holder};
use tidegate::{Gateway, Origin};

const LONG: Duration = Duration::from_secs(600);

/// Turns a hang into a failure.
const PATIENCE: &str = "30s";

/// Fast enough that no test waits for it.
const INTERVAL: Duration = Duration::from_millis(2);

fn ci() -> Holder {
    Holder::named("ci").expect("a name")
}

struct Scene {
    dir: tempfile::TempDir,
    home: Home,
    gateway: Gateway,
}

impl Scene {
    fn new() -> Scene {
        let dir = tempfile::tempdir().expect("temp dir");
        let gateway = Gateway::builder(dir.path()).interval(INTERVAL).start().expect("starts");
        Scene { home: Home::at(dir.path()), gateway, dir }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
        command.args(arguments).arg("--json").env("TIDEGATE_HOME", self.dir.path());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    fn run(&self, arguments: &[&str]) -> Answer {
        Answer::of(&self.command(arguments).output().expect("the command runs"))
    }

    /// Begins a `drain --wait` for `ci`. Returns once the command has seen that the gateway drains for it: from then
    /// on the command notices the loss of the drain.
    fn waiting(&self, more: &[&str]) -> Child {
        let arguments =
            [&["drain", "--holder", "ci", "--wait", "--timeout", PATIENCE], more].concat();
        // With default signals, as a person starts it: this suite may have been started with ignored signals.
        let program = self.command(&arguments);
        let mut command = Command::new("env");
        command.args(["--default-signal=INT,TERM,HUP,QUIT", env!("CARGO_BIN_EXE_tidegate")]);
        command.args(program.get_args()).env("TIDEGATE_HOME", self.dir.path());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the command starts");
        let mut told = String::new();
        let mut stderr = BufReader::with_capacity(1, child.stderr.as_mut().expect("piped"));
        while !told.contains("waiting: 1 in flight") {
            assert_ne!(stderr.read_line(&mut told).expect("reads"), 0, "it ended: {told}");
        }
        child
    }

    fn asks(&self) -> bool {
        self.home.observe().verdict().asks_for_drain()
    }
}

#[derive(Debug)]
struct Answer {
    code: Option<i32>,
    json: Value,
    text: String,
    told: String,
}

impl Answer {
    fn of(output: &Output) -> Answer {
        Answer {
            code: output.status.code(),
            json: serde_json::from_slice(&output.stdout).unwrap_or(Value::Null),
            text: String::from_utf8_lossy(&output.stdout).into_owned(),
            told: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    fn of_waiting(child: Child) -> Answer {
        Answer::of(&child.wait_with_output().expect("the command ends"))
    }
}

/// The exit code is 0 only if a live gateway is quiesced for exactly this request, and the answer says until when
/// acting is safe. A renewed drain is another request. TG-S14 receipt_is_true, F9, U12.
#[test]
fn receipt_is_true() {
    let scene = Scene::new();
    let turn = scene.gateway.admit(Origin::User).expect("open");
    let child = scene.waiting(&["--lease", "20m"]);
    drop(turn);
    let answer = Answer::of_waiting(child);
    assert_eq!(answer.code, Some(0), "{answer:?}");
    let id = answer.json["request_id"].as_str().expect("named");
    assert_eq!(
        (&answer.json["quiesced"], &answer.json["draining"]),
        (&Value::from(true), &Value::from(true))
    );
    let safe_for = answer.json["safe_for_s"].as_f64().expect("bounded by the lease");
    assert!(safe_for > 1190.0 && safe_for <= 1200.0, "{safe_for}");
    let quiesced = scene.gateway.quiesced().wait().expect("sealed");
    assert_eq!(quiesced.request_ids(), [id.to_owned()]);
    let safe_until = answer.json["safe_until_uptime_ms"].as_u64().map(Duration::from_millis);
    assert!(safe_until <= quiesced.until(), "{safe_until:?} {quiesced:?}");
    assert!(scene.gateway.admit(Origin::Internal).is_err());

    let renewed = scene.run(&["renew", "--holder", "ci", "--lease", "2h"]);
    assert_eq!(renewed.code, Some(0), "{renewed:?}");
    assert_ne!(renewed.json["request_id"], id);
    let cancelled = scene.run(&["cancel", "--holder", "ci"]);
    assert_eq!((cancelled.code, &cancelled.json["was_draining"]), (Some(0), &Value::from(true)));
    let lost = scene.run(&["renew", "--holder", "ci"]);
    assert_eq!(lost.code, Some(4), "{lost:?}");
    assert!(lost.told.contains("ci has no live drain request"), "{lost:?}");
}

/// Over HTTP, an unsigned request belongs to nobody. So the command signs with the name of its user.
#[test]
fn the_command_signs_with_its_user_unless_told_otherwise() {
    let scene = Scene::new();
    let uid = format!("uid:{}", rustix::process::getuid().as_raw());
    for (user, arguments, signer) in [
        (Some("alice"), &["drain"][..], "alice"),
        (Some("alice"), &["drain", "--principal", "bob"], "bob"),
        (Some("alice"), &["drain", "--principal", "drain-control"], "drain-control"),
        (Some(""), &["drain"], &*uid),
        (None, &["drain", "--holder", "ci"], &*uid),
    ] {
        let mut command = scene.command(arguments);
        match user {
            Some(user) => command.env("USER", user),
            None => command.env_remove("USER"),
        };
        let answer = Answer::of(&command.output().expect("the command runs"));
        assert_eq!(answer.code, Some(0), "{arguments:?}");
        let observed = scene.home.observe();
        let signed = |it: &tidegate::request::Request| it.signer() == Some(signer);
        assert!(observed.requests().any(|(_, _, it)| signed(it)), "{user:?} {arguments:?}");
    }
    scene.home.begin_drain(&DrainRequest::default()).expect("writes");
    let observed = scene.home.observe();
    let unsigned = observed.requests().find(|(_, _, it)| it.principal() == Some("drain-control"));
    assert_eq!(unsigned.expect("the library's default").2.signer(), None);
}

#[test]
fn idle_is_enough_lets_internal_work_through() {
    let scene = Scene::new();
    let answer = scene.run(&["drain", "--holder", "ci", "--wait", "--idle-is-enough"]);
    assert_eq!((answer.code, &answer.json["quiesced"]), (Some(0), &Value::from(false)));
    assert_eq!(answer.json["safe_for_s"], Value::Null, "internal work may come at once");
    assert!(scene.gateway.admit(Origin::User).is_err());
    assert!(scene.gateway.admit(Origin::Internal).is_ok());
}

/// A command that gives up leaves no request behind, except with `--keep`. I-1, I-2, I-60.
#[test]
fn timing_out_is_told_with_what_it_waited_for_and_takes_the_request_back() {
    let scene = Scene::new();
    let _turn = scene.gateway.admit_labelled(Origin::User, "chat 7").expect("open");
    let wait = ["drain", "--holder", "ci", "--wait", "--timeout", "1s"];
    let answer = scene.run(&wait);
    assert_eq!((answer.code, &answer.json["ok"]), (Some(3), &Value::from(false)), "{answer:?}");
    assert!(answer.told.contains("waiting: 1 in flight"), "{answer:?}");
    assert!(answer.told.contains("timed out: 1 in flight: chat 7 (user"), "{answer:?}");
    assert!(answer.told.contains("is cancelled") && !scene.asks(), "{answer:?}");

    let hasty = ["drain", "--holder", "ci", "--wait", "--timeout", "1ms", "--keep"];
    let answer = scene.run(&hasty);
    assert_eq!(answer.code, Some(3));
    assert!(answer.told.contains("still exists") && scene.asks(), "{answer:?}");
}

#[test]
fn a_gateway_that_is_gone_or_going_is_told_apart() {
    let scene = Scene::new();
    let turn = scene.gateway.admit(Origin::User).expect("open");
    let child = scene.waiting(&[]);
    let ending = scene.gateway.shut_down(ShutdownCause::Sigterm, LONG);
    let refused = Answer::of_waiting(child);
    assert_eq!(refused.code, Some(4), "{refused:?}");
    assert!(refused.told.contains("a shutdown overrides a drain"), "{refused:?}");
    assert_eq!(refused.json["pending"], false, "it is cancelled: {refused:?}");
    // A command that does not wait leaves its request to the next gateway.
    let refused = scene.run(&["drain", "--holder", "ci"]);
    assert_eq!((refused.code, &refused.json["pending"]), (Some(4), &Value::from(true)));
    assert!(scene.asks(), "{refused:?}");

    drop(turn);
    let _ = ending.wait();
    let gone = scene.run(&["drain", "--holder", "ci", "--wait"]);
    assert_eq!(gone.code, Some(5), "{gone:?}");
    assert!(!scene.asks());
}

/// A gateway whose clock the test moves. The gateway judges leases by that clock, and the command by the system's.
fn with_a_clock(now: tidegate::epoch::Now) -> (Scene, tidegate::epoch::ManualClock) {
    let clock = tidegate::epoch::ManualClock::at(now);
    let dir = tempfile::tempdir().expect("temp dir");
    let builder = Gateway::builder(dir.path()).interval(INTERVAL).clock(clock.clone());
    let gateway = builder.start().expect("starts");
    (Scene { home: Home::at(dir.path()), gateway, dir }, clock)
}

/// The lease of a slow controller runs out, the gate reopens, and the controller learns that. I-2, U12.
#[test]
fn a_drain_that_runs_out_is_lost_to_its_slow_controller() {
    let (scene, clock) = with_a_clock(tidegate::epoch::Now::from_system_clock());
    let _turn = scene.gateway.admit(Origin::User).expect("open");
    let child = scene.waiting(&["--lease", "1h"]);
    clock.advance(Duration::from_secs(3700));
    let lost = Answer::of_waiting(child);
    assert_eq!(lost.code, Some(4), "{lost:?}");
    assert!(lost.told.contains("no longer drains for this request"), "{lost:?}");
}

/// Found in review: another holder's lease was about to end, and with it the promise to all. A controller got a safe
/// time of zero, or a lost drain. F9.
#[test]
fn a_promise_that_ends_with_another_s_lease_is_waited_out() {
    let (scene, clock) = with_a_clock(tidegate::epoch::Now::from_system_clock());
    let brief = DrainRequest::new("ops").with_holder(Holder::named("ops").expect("a name"));
    let brief = brief.with_hold_internal(true).with_lease(Duration::from_millis(1));
    scene.gateway.begin_drain(&brief).expect("writes");
    let mut child = scene
        .command(&["drain", "--holder", "ci", "--wait", "--lease", "1h", "--timeout", PATIENCE])
        .spawn()
        .expect("the command starts");
    let mut told = String::new();
    let mut stderr = BufReader::with_capacity(1, child.stderr.as_mut().expect("piped"));
    while !told.contains("another holder's lease expires") {
        assert_ne!(stderr.read_line(&mut told).expect("reads"), 0, "it ended: {told}");
    }
    clock.advance(Duration::from_secs(1));
    let answer = Answer::of_waiting(child);
    assert_eq!(answer.code, Some(0), "{answer:?}");
    assert!(answer.json["safe_for_s"].as_f64().is_some_and(|safe| safe > 3500.0), "{answer:?}");
}

/// Found in review: a caller that learns of a failure does not cancel a request that may exist. So the command does.
#[test]
fn a_drain_that_may_not_be_durable_is_taken_back() {
    if !rustix::process::geteuid().is_root() {
        println!("only root can be two users; not tried");
        return;
    }
    let scene = Scene::new();
    // A user who may create a request here may not open the directory to sync it.
    let home = scene.dir.path();
    let answer = as_a_stranger_in(&scene, 0o733, &["drain", "--wait"]);
    assert_eq!(answer.code, Some(1), "{answer:?}");
    assert!(answer.told.contains("not synced"), "{answer:?}");
    assert!(!home.join(".drain_request.json").exists(), "{answer:?}");
}

/// A controller learns that its drain is gone, and never that it may act. U12, I-38.
#[test]
fn a_drain_that_is_taken_away_is_lost_also_where_another_one_goes_on() {
    let scene = Scene::new();
    let _turn = scene.gateway.admit(Origin::User).expect("open");
    let child = scene.waiting(&[]);
    let others = DrainRequest::new("ops").with_holder(Holder::named("ops").expect("a name"));
    scene.home.begin_drain(&others).expect("writes");
    scene.home.cancel_drain(&ci()).expect("removes");
    let lost = Answer::of_waiting(child);
    assert_eq!(lost.code, Some(4), "{lost:?}");
    assert!(lost.told.contains("the drain is lost"), "{lost:?}");
    assert!(scene.asks(), "the requests of others are not touched");
}

#[test]
fn an_interrupt_takes_back_one_s_own_request_unless_told_to_keep_it() {
    for (signal, keep) in [
        (rustix::process::Signal::INT, false),
        (rustix::process::Signal::TERM, false),
        // The terminal is closed.
        (rustix::process::Signal::HUP, false),
        (rustix::process::Signal::INT, true),
    ] {
        let scene = Scene::new();
        let _turn = scene.gateway.admit(Origin::User).expect("open");
        let child = scene.waiting(if keep { &["--keep"] } else { &[] });
        let pid = rustix::process::Pid::from_child(&child);
        rustix::process::kill_process(pid, signal).expect("signals");
        let answer = Answer::of_waiting(child);
        assert_eq!(answer.code, Some(1), "{answer:?}");
        assert!(answer.told.contains("interrupted"), "{answer:?}");
        assert_eq!(scene.asks(), keep, "{answer:?}");
    }
}

#[test]
fn what_cannot_be_meant_is_wrong_usage() {
    let scene = Scene::new();
    for arguments in [
        &["drain", "--holder", "../x"][..],
        &["drain", "--timeout", "3s"],
        &["drain", "--wait", "--idle-is-enough", "--hold-internal"],
        &["drain", "--wait", "--timeout", "2h"],
        &["cancel", "--all"],
        &["cancel", "--all", "--force", "--holder", "ci"],
        &["observe", "--mode", "999"],
    ] {
        let answer = scene.run(arguments);
        assert_eq!(answer.code, Some(2), "{arguments:?}: {answer:?}");
    }
    assert!(!scene.asks());
}

#[test]
fn by_force_everybody_s_goes_and_who_did_it_is_told() {
    let scene = Scene::new();
    scene.home.begin_drain(&DrainRequest::new("alice").with_holder(ci())).expect("writes");
    scene.home.begin_drain(&DrainRequest::new("bob")).expect("writes");
    let answer = scene.run(&["cancel", "--all", "--force", "--by", "root"]);
    assert_eq!((answer.code, &answer.json["was_draining"]), (Some(0), &Value::from(true)));
    for (who, what) in [("alice", "ci."), ("bob", "the shared marker")] {
        let line = answer.told.lines().find(|line| line.contains(who)).expect("told");
        assert!(line.contains("root cancelled") && line.contains(what), "{line}");
    }
    assert!(!scene.asks());
}

/// A controller in another container stamps another epoch. Its request is ignored, and a waiting command says so. U10.
#[test]
fn who_waits_is_told_what_the_gateway_complains_of() {
    let scene = Scene::new();
    let _turn = scene.gateway.admit(Origin::User).expect("open");
    let foreign = scene.home.requests_path().join("dash.1.json");
    fs::write(foreign, r#"{"epoch":"other-boot:7","principal":"dashboard"}"#).expect("writes");
    scene.gateway.reconcile_now();
    let answer = scene.run(&["drain", "--wait", "--timeout", "100ms"]);
    assert_eq!(answer.code, Some(3));
    assert!(
        answer.told.contains("dash.1.json by dashboard was made in another boot"),
        "{answer:?}"
    );
}

/// Found in use: a full stdout, or a reader that hung up, left the request behind. F24.
#[test]
fn a_promise_that_nobody_can_read_is_given_up() {
    let full = || Stdio::from(fs::File::options().write(true).open("/dev/full").expect("opens"));
    let hung_up = || Stdio::from(std::io::pipe().expect("a pipe").1);
    let outputs: [&dyn Fn() -> Stdio; 2] = [&full, &hung_up];
    for output in outputs {
        for (keep, idle) in [(false, false), (true, false), (false, true)] {
            let scene = Scene::new();
            let mut arguments = vec!["drain", "--holder", "ci", "--wait"];
            arguments.extend(keep.then_some("--keep"));
            arguments.extend(idle.then_some("--idle-is-enough"));
            let answer = scene.command(&arguments).stdout(output()).output().expect("runs");
            let answer = Answer::of(&answer);
            assert_eq!(answer.code, Some(1), "{answer:?}");
            assert_eq!(scene.asks(), keep, "{answer:?}");
            let request_state = if keep { "still exists" } else { "is cancelled" };
            assert!(answer.told.contains(request_state), "{answer:?}");
        }
    }
}

/// A full pipe whose reader exists and does not read. A write to it blocks, and does not fail.
fn full_pipe() -> (std::io::PipeReader, Stdio) {
    use std::io::Write;

    let (reader, mut writer) = std::io::pipe().expect("a pipe");
    rustix::io::ioctl_fionbio(&writer, true).expect("does not block");
    while writer.write(&[b'x'; 4096]).is_ok() {}
    while writer.write(b"x").is_ok() {}
    rustix::io::ioctl_fionbio(&writer, false).expect("blocks again");
    (reader, writer.into())
}

/// Found in review: while a write blocked, neither the timeout nor a signal ended the command. F24.
#[test]
fn a_full_pipe_holds_nobody_up() {
    use rustix::process::{Pid, Signal, kill_process};

    // The note about what it waits for cannot be written, and the wait goes on all the same.
    let scene = Scene::new();
    let turn = scene.gateway.admit(Origin::User).expect("open");
    let (_reader, stderr) = full_pipe();
    let wait = ["drain", "--holder", "ci", "--wait", "--timeout", "100ms"];
    let output = scene.command(&wait).stderr(stderr).output().expect("runs");
    assert_eq!(output.status.code(), Some(3));
    assert!(!scene.asks());
    drop(turn);

    // A promise that nobody reads is given up at a signal.
    let (_reader, stdout) = full_pipe();
    let wait = ["drain", "--holder", "ci", "--wait", "--timeout", PATIENCE];
    let child = scene.command(&wait).stdout(stdout).spawn().expect("starts");
    let _ = scene.gateway.quiesced().wait();
    let mut changes = scene.gateway.changes();
    while !scene.gateway.phase().as_str().contains("drain") {
        assert!(changes.recv().is_some());
    }
    kill_process(Pid::from_child(&child), Signal::TERM).expect("signals");
    let answer = Answer::of_waiting(child);
    assert_eq!(answer.code, Some(1), "{answer:?}");
    assert!(!scene.asks(), "{answer:?}");
}

/// The command drains the directory that was the home when it began (F18).
#[test]
fn a_wait_goes_on_in_the_directory_that_it_began_in() {
    let dir = tempfile::tempdir().expect("temp dir");
    let (at, aside) = (dir.path().join("home"), dir.path().join("aside"));
    fs::create_dir(&at).expect("mkdir");
    let gateway = Gateway::builder(&at).interval(INTERVAL).start().expect("starts");
    let scene = Scene { home: Home::at(&aside), gateway, dir };
    let turn = scene.gateway.admit(Origin::User).expect("open");
    let at_home = ["--home", at.to_str().expect("a path")];
    let child = scene.waiting(&at_home);
    fs::rename(&at, &aside).expect("moves");
    fs::create_dir(&at).expect("mkdir");
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::QUIT).expect("signals");
    let answer = Answer::of_waiting(child);
    assert_eq!(answer.code, Some(1), "{answer:?}");
    assert!(answer.told.contains("is cancelled") && !scene.asks(), "{answer:?}");
    assert_eq!(fs::read_dir(&at).expect("lists").count(), 0);
    drop(turn);
}

/// The exit code says what was done, even if the answer cannot be printed. F24.
#[test]
fn an_exit_code_is_true_whatever_becomes_of_stdout_and_stderr() {
    let full = || fs::File::options().write(true).open("/dev/full").expect("opens");
    let run = |scene: &Scene, arguments: &[&str], out: bool, error: bool| {
        let mut command = scene.command(arguments);
        if out {
            command.stdout(full());
        }
        if error {
            command.stderr(full());
        }
        command.output().expect("the command runs").status.code()
    };
    for (out, error) in [(true, false), (false, true), (true, true)] {
        let scene = Scene::new();
        let run = |arguments: &[&str]| run(&scene, arguments, out, error);
        assert_eq!(run(&["drain", "--holder", "ci"]), Some(0));
        assert!(scene.asks());
        assert_eq!(run(&["renew", "--holder", "ci"]), Some(0));
        assert_eq!(run(&["cancel", "--holder", "ci"]), Some(0));
        assert!(!scene.asks());
        assert_eq!(run(&["renew", "--holder", "ci"]), Some(4));
        assert_eq!(run(&["drain", "--bogus"]), Some(2));
        assert_eq!(run(&["wait", "stopped", "--timeout", "1ms"]), Some(3));
        assert_eq!(run(&["status", "--check", "ready"]), Some(0), "it prints nothing");
        assert_eq!(run(&["drain", "--holder", "ci"]), Some(0));
        assert_eq!(run(&["cancel", "--all", "--force"]), Some(0));
        assert_eq!(run(&["wait", "ready", "--timeout", PATIENCE]), Some(0));
        let _turn = scene.gateway.admit(Origin::User).expect("open");
        assert_eq!(run(&["drain", "--wait", "--timeout", "1ms"]), Some(3));
        assert!(!scene.asks());
        // A command that only shows something has failed if it cannot show it.
        assert_eq!(run(&["status"]), Some(i32::from(out)));
    }
}

/// Under `nohup`, and in the background of a script, signals are ignored from the start. F24.
#[test]
fn a_signal_that_was_ignored_at_the_start_ends_nothing() {
    use rustix::process::{Pid, Signal, kill_process};

    let scene = Scene::new();
    let turn = scene.gateway.admit(Origin::User).expect("open");
    let mut command = Command::new("sh");
    command.args(["-c", "trap '' HUP INT; exec \"$0\" \"$@\"", env!("CARGO_BIN_EXE_tidegate")]);
    command.args(["drain", "--holder", "ci", "--wait", "--timeout", PATIENCE]);
    command.env("TIDEGATE_HOME", scene.dir.path());
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the shell starts");
    let mut told = String::new();
    let mut stderr = BufReader::with_capacity(1, child.stderr.as_mut().expect("piped"));
    while !told.contains("waiting: 1 in flight") {
        assert_ne!(stderr.read_line(&mut told).expect("reads"), 0, "it ended: {told}");
    }
    let pid = Pid::from_child(&child);
    for signal in [Signal::HUP, Signal::INT] {
        kill_process(pid, signal).expect("signals");
    }
    drop(turn);
    let answer = Answer::of_waiting(child);
    assert_eq!(answer.code, Some(0), "{answer:?}");
    assert!(scene.asks());
}

/// Found in use: a drain whose lease ended before any gateway had seen it was answered with `ok, pending`. F24.
#[test]
fn a_lease_that_runs_out_before_it_is_confirmed_is_a_lost_drain() {
    let scene = Scene::new();
    for lease in ["0s", "1ms", "999ms", "400days"] {
        for arguments in [&["drain", "--lease", lease][..], &["renew", "--lease", lease]] {
            let answer = scene.run(arguments);
            assert_eq!(answer.code, Some(2), "{answer:?}");
        }
    }
    // A gateway that never looks.
    let dir = tempfile::tempdir().expect("temp dir");
    let _gateway = Gateway::builder(dir.path()).manual().start().expect("starts");
    let home = dir.path().to_str().expect("a path");
    let answer = scene.run(&["--home", home, "drain", "--holder", "ci", "--lease", "1s"]);
    assert_eq!((answer.code, &answer.json["ok"]), (Some(4), &Value::from(false)), "{answer:?}");
    assert!(answer.told.contains("its lease expired"), "{answer:?}");
}

/// Found in use: with a mistyped home, each cancel reported that it had cancelled a drain.
#[test]
fn a_home_that_is_not_there_is_said_to_be_none() {
    let scene = Scene::new();
    let gone = scene.dir.path().join("gone");
    let gone = gone.to_str().expect("a path");
    for arguments in [
        &["cancel"][..],
        &["cancel", "--holder", "ci"],
        &["cancel", "--all", "--force"],
        &["drain"],
        &["drain", "--wait"],
        &["renew"],
        &["status"],
        &["wait", "stopped"],
    ] {
        let answer = scene.run(&[&["--home", gone], arguments].concat());
        assert_eq!(answer.code, Some(1), "{arguments:?}: {answer:?}");
        assert!(answer.told.contains("there is no home at"), "{arguments:?}: {answer:?}");
        if arguments[0] == "cancel" {
            let told = (&answer.json["ok"], &answer.json["was_draining"]);
            assert_eq!(told, (&Value::from(false), &Value::from(false)), "{arguments:?}");
        }
    }
    assert_eq!(scene.run(&["--home", gone, "status", "--check", "alive"]).code, Some(1));
    assert_eq!(scene.run(&["--home", gone, "observe"]).json["verdict"], "unreadable");
    let waited = scene.run(&["--home", gone, "wait", "ready", "--timeout", "1ms"]);
    assert_eq!(waited.code, Some(3), "a home may be made by the start: {waited:?}");
}

/// A request that no gateway has confirmed is written, and the answer says `pending`. The next gateway sees it.
#[test]
fn a_drain_without_a_gateway_is_pending() {
    let scene = Scene::new();
    let empty = tempfile::tempdir().expect("temp dir");
    let at = ["--home", empty.path().to_str().expect("a path")];
    let run = |arguments: &[&str]| scene.run(&[&at, arguments].concat());
    let answer = run(&["drain", "--holder", "ci", "--suppress-notification"]);
    let told = (answer.code, &answer.json["pending"], &answer.json["suppress_notification"]);
    assert_eq!(told, (Some(0), &Value::from(true), &Value::from(true)), "{answer:?}");
    let observed = run(&["observe"]);
    assert_eq!(observed.json["suppressed"], true, "{observed:?}");
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
    let table = command.args(at).arg("status").output().expect("runs");
    assert!(String::from_utf8_lossy(&table.stdout).contains("requested   a drain"), "{table:?}");

    // A request that cannot be removed stays, and the answer never says that there was none.
    fs::create_dir(Home::at(empty.path()).marker_path()).expect("mkdir");
    let stuck = run(&["cancel", "--all", "--force"]);
    let told = (stuck.code, &stuck.json["ok"], &stuck.json["was_draining"]);
    assert_eq!(told, (Some(1), &Value::from(false), &Value::from(true)), "{stuck:?}");
    let equal = run(&["drain", "--wait", "--lease", "5m", "--timeout", "5m"]);
    assert_eq!(equal.code, Some(2), "{equal:?}");
}

/// A failing `drain --wait` prints an answer to programs only.
#[test]
fn a_failure_is_no_answer_for_people() {
    let scene = Scene::new();
    let _turn = scene.gateway.admit(Origin::User).expect("open");
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
    command.args(["drain", "--holder", "ci", "--wait", "--timeout", "1ms"]);
    let output = command.env("TIDEGATE_HOME", scene.dir.path()).output().expect("runs");
    assert_eq!((output.status.code(), output.stdout.len()), (Some(3), 0), "{output:?}");
    // And text from a caller is printed without control characters.
    let forged = scene.run(&["--home", "/a\u{1b}[2Jb", "drain"]);
    assert!(!forged.told.contains('\u{1b}'), "{forged:?}");
    let _work = scene.gateway.admit_labelled(Origin::Internal, "x\u{202e}\u{9b}y").expect("open");
    scene.gateway.reconcile_now();
    let status = scene.run(&["status"]);
    assert!(!status.text.contains(['\u{202e}', '\u{9b}']), "{status:?}");
    assert_eq!(status.json["active_work"][0]["label"], "x\u{202e}\u{9b}y");
}

/// `status --check` is for HEALTHCHECK, exec probes and units.
#[test]
fn probes_answer_with_their_exit_code_alone() {
    let scene = Scene::new();
    let check = |what: &str| {
        let answer = scene.run(&["status", "--check", what]);
        assert_eq!((answer.text.as_str(), answer.told.as_str()), ("", ""), "{answer:?}");
        answer.code
    };
    let codes = || ["ready", "alive", "quiesced"].map(check);
    assert_eq!(codes(), [Some(0), Some(0), Some(1)]);
    assert_eq!(scene.run(&["wait", "ready"]).code, Some(0));
    assert_eq!(scene.run(&["drain", "--holder", "ci", "--wait"]).code, Some(0));
    assert_eq!(codes(), [Some(1), Some(0), Some(0)]);
    let waited = scene.run(&["wait", "ready", "--timeout", "1ms"]);
    assert_eq!((waited.code, &waited.json["ok"]), (Some(3), &Value::from(false)), "{waited:?}");

    let mut waiting = scene.command(&["wait", "stopped", "--timeout", PATIENCE]);
    let mut child = waiting.spawn().expect("the command starts");
    let mut told = String::new();
    let mut stderr = BufReader::with_capacity(1, child.stderr.as_mut().expect("piped"));
    assert_ne!(stderr.read_line(&mut told).expect("reads"), 0, "it waits");
    let _ = scene.gateway.shut_down(ShutdownCause::Operator, Duration::ZERO).wait();
    let stopped = Answer::of_waiting(child);
    assert_eq!((stopped.code, &stopped.json["ok"]), (Some(0), &Value::from(true)), "{stopped:?}");
    assert_eq!(codes(), [Some(1); 3]);
}

#[test]
fn the_status_is_a_table_for_people_and_is_watched() {
    let scene = Scene::new();
    let _work = scene.gateway.admit_labelled(Origin::User, "chat\u{202e} 7").expect("open");
    scene.home.begin_drain(&DrainRequest::new("al\u{1b}ice").with_holder(ci())).expect("writes");
    scene.gateway.reconcile_now();
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
    command.args(["status", "--watch=1ms"]).env("TIDEGATE_HOME", scene.dir.path());
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().expect("the command starts");
    let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
    let mut seen = Vec::new();
    while seen.iter().filter(|line: &&String| line.starts_with("gateway ")).count() < 3 {
        seen.push(lines.next().expect("it goes on").expect("reads"));
    }
    // Without a reader, the command ends by itself.
    drop(lines);
    assert_eq!(child.wait().expect("it ends").code(), Some(1));
    let text = seen.join("\n");
    for part in ["alive", "draining", "1 user", "held by     ci, signed by al\\u{1b}ice"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(text.contains("waits for   chat\\u{202e} 7 (user"), "{text}");
    assert!(!text.contains(['\u{1b}', '\u{202e}']), "{text}");

    let empty = tempfile::tempdir().expect("temp dir");
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
    let status = command.arg("--home").arg(empty.path()).arg("status").output().expect("runs");
    assert!(String::from_utf8_lossy(&status.stdout).contains("not running in"), "{status:?}");
}

/// Other writers also choose the white space between a marker's values.
#[test]
fn an_answer_in_json_is_one_line_whatever_others_wrote() {
    let scene = Scene::new();
    let marker = "{\"x\":{\r\"a\":1,\n\"ok\":true,\n\"\u{9b}\": \"\u{202e}\"}}";
    fs::write(scene.home.marker_path(), marker).expect("writes");
    for arguments in [&["observe"][..], &["renew"], &["observe"]] {
        let answer = scene.run(arguments);
        assert_eq!(answer.text.matches(char::is_control).count(), 1, "{answer:?}");
        assert!(answer.text.ends_with('\n') && !answer.text.contains('\u{202e}'), "{answer:?}");
    }
    assert_eq!(scene.run(&["observe"]).json["body"]["x"]["\u{9b}"], "\u{202e}");
}

#[test]
fn completions_and_pages_are_made_from_the_arguments() {
    let scene = Scene::new();
    for shell in ["bash", "zsh", "fish"] {
        let script = Answer::of(&scene.command(&["completions", shell]).output().expect("runs"));
        assert!(script.text.contains("idle-is-enough"), "{shell}: {script:?}");
    }
    let page = Answer::of(&scene.command(&["man"]).output().expect("runs"));
    assert!(page.text.contains(".TH tidegate 1"), "{page:?}");
    let to = tempfile::tempdir().expect("temp dir");
    let written = scene.run(&["man", "--to", to.path().to_str().expect("a path")]);
    assert_eq!(written.code, Some(0), "{written:?}");
    let pages = fs::read_dir(to.path()).expect("lists").count();
    assert!(pages > 8, "{pages} pages");
    assert_eq!(scene.run(&["man", "--to", "/dev/null/x"]).code, Some(1));
}

/// Runs the command as a user who does not own the files. Root may do anything, so root becomes another user.
fn as_a_stranger(scene: &Scene, arguments: &[&str]) -> Answer {
    as_a_stranger_in(scene, 0o755, arguments)
}

fn as_a_stranger_in(scene: &Scene, mode: u32, arguments: &[&str]) -> Answer {
    let copy = tempfile::tempdir().expect("temp dir");
    let permit = |path: &Path, mode| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("permits");
    };
    let program = copy.path().join("tidegate");
    // Another process copies it. A child that was forked while this process had the file open to write would keep the
    // file busy.
    let copied = Command::new("cp").arg(env!("CARGO_BIN_EXE_tidegate")).arg(&program).status();
    assert!(copied.expect("cp runs").success());
    permit(copy.path(), 0o755);
    permit(scene.dir.path(), mode);
    let mut command = Command::new(program);
    command.args(arguments).arg("--home").arg(scene.dir.path());
    if rustix::process::geteuid().is_root() {
        command.uid(65534).gid(65534);
    }
    Answer::of(&command.output().expect("the command runs"))
}

/// The mode is 0600 by default. A user who may not read a request learns why, and what would help. A user who may not
/// remove a request learns that the drain stays on. U8, U38.
#[test]
fn a_mode_that_keeps_others_out_is_told_and_one_that_lets_them_in_works() {
    if !rustix::process::geteuid().is_root() {
        println!("only root can be two users; not tried");
        return;
    }
    let scene = Scene::new();
    let ask = DrainRequest::new("root");
    scene.home.begin_drain(&ask).expect("writes");
    let observed = as_a_stranger(&scene, &["observe", "--json"]);
    assert_eq!((observed.code, &observed.json["verdict"]), (Some(0), &Value::from("unreadable")));
    let explained = as_a_stranger(&scene, &["observe"]);
    assert!(explained.text.contains("mode 0600 and owner 0 keep user 65534"), "{explained:?}");
    let cancelled = as_a_stranger(&scene, &["cancel", "--json"]);
    assert_eq!(
        (cancelled.code, &cancelled.json["ok"], &cancelled.json["was_draining"]),
        (Some(1), &Value::from(false), &Value::from(true)),
        "{cancelled:?}"
    );
    assert!(cancelled.told.contains("the drain stays on"), "{cancelled:?}");

    scene.home.clone().with_mode(0o644).begin_drain(&ask).expect("writes");
    let observed = as_a_stranger(&scene, &["observe", "--json"]);
    assert_eq!(observed.json["verdict"], "active", "{observed:?}");
}
