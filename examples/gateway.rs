//! A small real chat gateway on loopback TCP: each line is a turn, and the reply is part of it.
//!
//! ```text
//! cargo run --example gateway -- --home DIR [--listen 127.0.0.1:0] [--grace-s 30] [--interval-s 1]
//! ```
//!
//! `sleep 800` takes 800 ms, `internal …` is the gateway's own work, and any other line is echoed. A turn
//! that is refused gets the text of the refusal. The gateway prints its address as one line of JSON. It is
//! drained and released through its home. On SIGTERM or SIGINT it shuts down and waits for turns in flight,
//! for the grace.

use std::error::Error;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use tidegate::machine::ShutdownCause;
use tidegate::{Ended, Gateway, Origin};

fn main() -> ExitCode {
    run().unwrap_or_else(|error| {
        // The error's text, not its debug form.
        eprintln!("gateway: {error}");
        ExitCode::FAILURE
    })
}

fn run() -> Result<ExitCode, Box<dyn Error>> {
    let arguments = Arguments::from_env()?;
    let mut signals = Signals::new([SIGTERM, SIGINT])?;
    let gateway = Gateway::builder(&arguments.home)
        .kind("example-gateway")
        .interval(arguments.interval)
        .start()?;

    let listener = TcpListener::bind(&arguments.listen)?;
    let address = listener.local_addr()?.to_string();
    println!("{}", serde_json::json!({ "address": address, "pid": std::process::id() }));

    let door = gateway.clone();
    std::thread::spawn(move || {
        for connection in listener.incoming().flatten() {
            let door = door.clone();
            std::thread::spawn(move || converse(&door, connection));
        }
    });

    let cause = match signals.forever().next() {
        Some(SIGINT) => ShutdownCause::Sigint,
        _ => ShutdownCause::Sigterm,
    };
    let ended = gateway.shut_down(cause, arguments.grace).wait();
    if let Ended::TimedOut { in_flight } = ended {
        println!("{}", serde_json::json!({ "ended": "timed_out", "in_flight": in_flight }));
    } else {
        println!("{}", serde_json::json!({ "ended": "clean" }));
    }
    Ok(if ended == Ended::Clean { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Serves one user's connection until it ends.
fn converse(gateway: &Gateway, connection: TcpStream) -> std::io::Result<()> {
    connection.set_nodelay(true)?;
    let mut replies = connection.try_clone()?;
    for line in BufReader::new(connection).lines() {
        let line = line?;
        let origin = if line.starts_with("internal") { Origin::Internal } else { Origin::User };
        // The turn lives until its reply has been written, so a drain waits for that. A client that waits
        // for the drain sees its label.
        let label: String = line.chars().take(20).collect();
        let admitted = gateway.admit_labelled(origin, label);
        let reply = match &admitted {
            Ok(_turn) => answer(&line),
            Err(refused) => format!("refused: {refused}"),
        };
        replies.write_all((reply + "\n").as_bytes())?;
        drop(admitted);
    }
    Ok(())
}

fn answer(line: &str) -> String {
    match line.strip_prefix("sleep ").and_then(|ms| ms.trim().parse().ok()) {
        Some(ms) => {
            std::thread::sleep(Duration::from_millis(ms));
            format!("slept {ms} ms")
        }
        None => format!("echo: {line}"),
    }
}

struct Arguments {
    home: PathBuf,
    listen: String,
    grace: Duration,
    interval: Duration,
}

impl Arguments {
    fn from_env() -> Result<Arguments, Box<dyn Error>> {
        const USAGE: &str = "usage: gateway --home DIR [--listen ADDRESS] [--grace-s SECONDS] [--interval-s SECONDS]";
        let mut home = None;
        let mut listen = "127.0.0.1:0".to_owned();
        let mut grace = Duration::from_secs(30);
        let mut interval = Duration::from_secs(1);
        let seconds = |value: String| -> Result<Duration, Box<dyn Error>> {
            Ok(Duration::try_from_secs_f64(value.parse()?)?)
        };
        let mut arguments = std::env::args().skip(1);
        while let Some(name) = arguments.next() {
            let value = arguments.next().ok_or(USAGE)?;
            match name.as_str() {
                "--home" => home = Some(PathBuf::from(value)),
                "--listen" => listen = value,
                "--grace-s" => grace = seconds(value)?,
                "--interval-s" => interval = seconds(value)?,
                _ => return Err(USAGE.into()),
            }
        }
        Ok(Arguments { home: home.ok_or(USAGE)?, listen, grace, interval })
    }
}
