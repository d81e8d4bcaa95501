//! kill -9 on real processes with real files, while readers look all the time. No read is torn, and every acknowledged
//! change is there (TG-S12).
//!
//! Hundreds of kills by default; `TIDEGATE_KILLS=10000` for the long mode, `TIDEGATE_SEED` to repeat a
//! run. Run with `--nocapture` to see the counts.

#![cfg(feature = "cli")]

use std::fs;
use std::io::Read;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use tidegate::Gateway;
use tidegate::control::Verdict;
use tidegate::home::Home;
use tidegate::request::Holder;

fn kills() -> u64 {
    std::env::var("TIDEGATE_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(300)
}

fn dice(test: &str) -> fastrand::Rng {
    let seed = std::env::var("TIDEGATE_SEED").ok().and_then(|text| text.parse().ok());
    let seed = seed.unwrap_or_else(|| fastrand::u64(..));
    println!("{test}: TIDEGATE_SEED={seed}");
    fastrand::Rng::with_seed(seed)
}

/// How a command ended.
struct Run {
    /// Whether the kill ended it. Otherwise it ended by itself before.
    killed: bool,
    /// What it had printed before its end.
    printed: String,
}

/// Runs a command and kills it after this time, unless it ends before.
fn run_and_kill(command: &mut Command, after: Duration) -> Run {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("the command starts");
    let began = Instant::now();
    // The time of the kill is the experiment. This loop does not wait for any state.
    while began.elapsed() < after && matches!(child.try_wait(), Ok(None)) {
        std::thread::park_timeout(Duration::from_micros(50));
    }
    child.kill().expect("killed, or over already");
    let mut printed = String::new();
    child.stdout.take().expect("piped").read_to_string(&mut printed).expect("reads");
    let killed = child.wait().expect("reaped").signal() == Some(9);
    Run { killed, printed }
}

/// The answer of a command; `None` if it printed no whole answer.
fn acknowledged(printed: &str) -> Option<serde_json::Value> {
    printed.ends_with('\n').then(|| serde_json::from_str(printed).expect("one line of JSON"))
}

fn drafts(home: &Home) -> Vec<std::path::PathBuf> {
    let directories = [home.path().to_owned(), home.requests_path()];
    let entries = directories.iter().flat_map(|path| fs::read_dir(path).expect("lists"));
    let paths = entries.map(|entry| entry.expect("an entry").path());
    paths.filter(|path| path.extension().is_some_and(|it| it == "tmp")).collect()
}

/// Ends the reader, also if a check fails. Otherwise the reader would keep the test from ending.
struct Ends<'a>(&'a AtomicBool);
impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn no_torn_request() {
    let mut dice = dice("writers");
    let dir = tempfile::tempdir().expect("temp dir");
    let home = Home::at(dir.path());
    let over = AtomicBool::new(false);
    let looks = AtomicU64::new(0);
    let (mut killed, mut begun, mut renewed, mut cancelled, mut unfinished) = (0, 0, 0, 0, 0);
    std::thread::scope(|scope| {
        let _ends = Ends(&over);
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                let observation = home.observe();
                for (slot, _, request) in observation.requests() {
                    assert!(!request.is_contentless(), "{slot} is torn");
                }
                looks.fetch_add(1, Ordering::Relaxed);
            }
        });
        while killed < kills() {
            let name = ["ci", "ops"][dice.usize(..2)];
            let named = dice.bool();
            let holder = if named { Holder::named(name).expect("a name") } else { Holder::Shared };
            let action = ["drain", "renew", "cancel"][dice.usize(..3)];
            let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
            command.args(["--json", "--home"]).arg(dir.path()).arg(action);
            if named {
                command.args(["--holder", name]);
            }
            let run = run_and_kill(&mut command, Duration::from_micros(dice.u64(..8_000)));
            killed += u64::from(run.killed);
            let observation = home.observe();
            let mut his = observation.requests().filter(|(slot, ..)| slot.is_held_by(&holder));
            match (action, acknowledged(&run.printed)) {
                (_, None) => unfinished += 1,
                ("cancel", Some(reply)) => {
                    assert_eq!(reply["ok"], true);
                    assert!(his.next().is_none(), "acknowledged, and still there: {reply}");
                    cancelled += 1;
                }
                (_, Some(reply)) => {
                    let id = reply["request_id"].as_str().expect("named");
                    let stands = his.any(|(_, verdict, request)| {
                        request.request_id() == Some(id) && matches!(verdict, Verdict::Active(_))
                    });
                    assert!(stands, "acknowledged, and gone: {reply}");
                    *(if action == "drain" { &mut begun } else { &mut renewed }) += 1;
                }
            }
        }
    });
    let left = drafts(&home);
    println!(
        "{killed} kills: {begun} begun, {renewed} renewed, {cancelled} cancelled, {unfinished} unfinished; {} looks, 0 torn; {} drafts left",
        looks.into_inner(),
        left.len()
    );
    assert!(begun > 0 && cancelled > 0 && unfinished > 0, "the dice fell on one side only");

    // Old drafts that killed commands left are removed (U36).
    let old = SystemTime::now() - Duration::from_secs(7200);
    for draft in &left {
        let draft = fs::File::open(draft).expect("opens");
        draft.set_modified(old).expect("dates");
    }
    let gateway = Gateway::builder(dir.path()).manual().start().expect("starts");
    gateway.reconcile_now();
    assert_eq!(drafts(&home), Vec::<std::path::PathBuf>::new());
}

#[test]
fn gateways_that_are_killed_leave_a_whole_status() {
    let mut dice = dice("gateways");
    let dir = tempfile::tempdir().expect("temp dir");
    let home = Home::at(dir.path());
    let beside = Path::new(env!("CARGO_BIN_EXE_tidegate")).parent().expect("a folder");
    let example = beside.join("examples/gateway");
    assert!(example.exists(), "build the example first: cargo build --examples");
    let (mut started, mut cut_off) = (0u64, 0u64);
    while started + cut_off < kills() / 5 || started == 0 {
        let mut command = Command::new(&example);
        command.arg("--home").arg(dir.path());
        // The kill comes later and later, until some gateways have started, also on a slow machine.
        let latest = 12_000 + if started == 0 { 500 * cut_off } else { 0 };
        let run = run_and_kill(&mut command, Duration::from_micros(dice.u64(..latest)));
        assert!(run.killed, "it ends by nothing else");
        *(if run.printed.is_empty() { &mut cut_off } else { &mut started }) += 1;
        let reading = home.status().expect("reads");
        assert!(!reading.is_alive(), "the lock went with the process (U41)");
        assert!(!reading.is_drainable() && !reading.is_idle() && !reading.is_quiesced());
        if let Ok(bytes) = fs::read(home.status_path()) {
            let status: serde_json::Value = serde_json::from_slice(&bytes).expect("a whole status");
            assert!(status["gateway_state"].is_string(), "{status}");
        }
    }
    println!("{started} gateways killed after they had started, {cut_off} before; 0 torn");
    Gateway::builder(dir.path()).manual().start().expect("the last one's home is free");
}
