//! A small real chat gateway over HTTP/1 and HTTP/2. Every request to it is a turn. A control plane drains it
//! over HTTP, through its home, or with the `tidegate` command.
//!
//! ```text
//! cargo run --release --features http --example http_gateway -- --home DIR --listen 127.0.0.1:0
//! ```
//!
//! * `POST /echo` answers with the request's body.
//! * `GET /slow?ms=800` answers after 800 ms.
//! * `GET /stream?n=10&ms=100` answers line by line.
//! * `GET /big?mb=20` answers with a large body.
//! * `POST /internal` is the gateway's own work.
//! * `GET /work` needs a child turn.
//!
//! The gateway prints its address as one line of JSON. After SIGTERM or SIGINT it shuts down, and prints how it
//! ended as another line. A second signal ends the grace at once.
//!
//! The drain endpoint's secret is `$TIDEGATE_DRAIN_SECRET`. If it is not set, the gateway writes a new secret to
//! a file in its home that only its owner can read. The first line names that file.

use std::error::Error;
use std::fs::OpenOptions;
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::RawQuery;
use axum::http::request::Parts;
use axum::routing::{get, post};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http_body_util::channel::Channel;
use tidegate::http::{
    Classification, CurrentTurn, GateLayer, Server, SharedSecret, drain_router, health_router,
};
use tidegate::{Ended, Gateway, Origin, Refused};
use tokio::net::TcpListener;

#[tokio::main]
async fn main() -> ExitCode {
    run().await.unwrap_or_else(|error| {
        // The error's text, not its debug form.
        eprintln!("http_gateway: {error}");
        ExitCode::FAILURE
    })
}

async fn run() -> Result<ExitCode, Box<dyn Error>> {
    let arguments = Arguments::from_env()?;
    let gateway = Gateway::builder(&arguments.home).kind("example-http-gateway").start()?;
    let signals = tidegate::signals(&gateway, arguments.grace)?;
    // Does nothing if systemd does not run this program as a service.
    #[cfg(feature = "systemd")]
    let _notifying = tidegate::systemd::notify(&gateway)?;
    let (verifier, secret_file) = verifier(&arguments.home)?;

    let turns = Router::new()
        .route("/echo", post(async |body: Bytes| body))
        .route("/slow", get(slow))
        .route("/stream", get(stream))
        .route("/big", get(big))
        .route("/internal", post(async || "done"))
        .route("/work", get(work))
        .layer(GateLayer::new(gateway.clone()).classify(classify));
    let app: Router =
        turns.merge(drain_router(gateway.clone(), verifier)).merge(health_router(gateway.clone()));

    let listener = TcpListener::bind(&arguments.listen).await?;
    let ready = serde_json::json!({
        "address": listener.local_addr()?.to_string(),
        "pid": std::process::id(),
        "secret_file": secret_file,
    });
    println!("{ready}");
    let mut server = Server::new(&gateway);
    if let Some(patience) = arguments.patience {
        server = server.client_timeout(patience);
    }
    if let Some(connections) = arguments.connections {
        server = server.connections(connections);
    }
    let ended = server.serve(listener, app, signals).await;
    if let Ended::TimedOut { in_flight } = ended {
        println!("{}", serde_json::json!({ "ended": "timed_out", "in_flight": in_flight }));
        return Ok(ExitCode::FAILURE);
    }
    println!("{}", serde_json::json!({ "ended": "clean" }));
    Ok(ExitCode::SUCCESS)
}

/// Classifies each request: a turn of a user, except the path that only the gateway itself uses.
fn classify(request: &Parts) -> Classification {
    match request.uri.path() {
        "/internal" => Classification::Turn(Origin::Internal),
        // The status, and a client that waits for a drain, show the label.
        path @ ("/slow" | "/stream") => {
            Classification::Labelled(Origin::User, format!("GET {path}"))
        }
        _ => Classification::Turn(Origin::User),
    }
}

async fn slow(RawQuery(query): RawQuery) -> String {
    let ms = number(query.as_deref(), "ms");
    tokio::time::sleep(Duration::from_millis(ms)).await;
    format!("slept {ms} ms\n")
}

/// The turn lasts until the last line has been delivered.
async fn stream(RawQuery(query): RawQuery) -> Body {
    let (count, ms) = (number(query.as_deref(), "n"), number(query.as_deref(), "ms"));
    let (mut sender, body) = Channel::<Bytes>::new(1);
    tokio::spawn(async move {
        for line in 1..=count {
            tokio::time::sleep(Duration::from_millis(ms)).await;
            if sender.send_data(format!("line {line}\n").into()).await.is_err() {
                // The client no longer reads.
                return;
            }
        }
    });
    Body::new(body)
}

async fn big(RawQuery(query): RawQuery) -> Vec<u8> {
    let mb = usize::try_from(number(query.as_deref(), "mb").min(1024)).unwrap_or_default();
    vec![b'x'; mb << 20]
}

/// A turn that needs a tool call in order to end.
async fn work(turn: CurrentTurn) -> Result<&'static str, String> {
    let tool_call = turn.child().map_err(|refused: Refused| refused.to_string())?;
    let working = tokio::spawn(async move {
        tokio::task::yield_now().await;
        drop(tool_call);
    });
    working.await.map_err(|error| error.to_string())?;
    Ok("worked\n")
}

fn number(query: Option<&str>, name: &str) -> u64 {
    let pairs = query.unwrap_or_default().split('&').filter_map(|pair| pair.split_once('='));
    let mut found = pairs.filter(|(key, _)| *key == name);
    found.find_map(|(_, value)| value.parse().ok()).unwrap_or(0)
}

/// The endpoint's verifier, and the file with its secret if a new one was written.
fn verifier(home: &Path) -> Result<(SharedSecret, Option<PathBuf>), Box<dyn Error>> {
    if let Ok(secret) = std::env::var("TIDEGATE_DRAIN_SECRET") {
        return Ok((SharedSecret::new(secret)?, None));
    }
    let mut random = [0; 32];
    std::fs::File::open("/dev/urandom")?.read_exact(&mut random)?;
    let secret = URL_SAFE_NO_PAD.encode(random);
    let path = home.join("drain_secret");
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
    file.write_all(secret.as_bytes())?;
    Ok((SharedSecret::new(secret)?, Some(path)))
}

struct Arguments {
    home: PathBuf,
    listen: String,
    grace: Duration,
    patience: Option<Duration>,
    connections: Option<usize>,
}

impl Arguments {
    fn from_env() -> Result<Arguments, Box<dyn Error>> {
        const USAGE: &str = "usage: http_gateway --home DIR [--listen ADDRESS] [--grace-s SECONDS] [--patience-s SECONDS] [--connections NUMBER]";
        let mut home = None;
        let mut listen = "127.0.0.1:0".to_owned();
        let mut grace = Duration::from_secs(30);
        let (mut patience, mut connections) = (None, None);
        let mut arguments = std::env::args().skip(1);
        while let Some(name) = arguments.next() {
            let value = arguments.next().ok_or(USAGE)?;
            match name.as_str() {
                "--home" => home = Some(PathBuf::from(value)),
                "--listen" => listen = value,
                "--patience-s" => patience = Some(Duration::try_from_secs_f64(value.parse()?)?),
                "--connections" => connections = Some(value.parse()?),
                "--grace-s" => grace = Duration::try_from_secs_f64(value.parse()?)?,
                _ => return Err(USAGE.into()),
            }
        }
        Ok(Arguments { home: home.ok_or(USAGE)?, listen, grace, patience, connections })
    }
}
