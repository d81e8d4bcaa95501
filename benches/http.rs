//! What the layer costs, side by side with the same server without it, and what a refusal costs, side by
//! side with a bare 503. All in one run, round after round, so that what else the machine does meets all
//! of them alike.
//!
//! ```text
//! cargo bench --features http --bench http
//! ```
//!
//! The load is `wrk`'s (a package of Debian's), one thread of it against one worker of the server. Where it
//! is not installed, only what needs no load is measured.

#![allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "figures for people, of small numbers"
)]

use std::convert::Infallible;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::http::{Request, Response, StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use tidegate::http::{GateLayer, Server, SharedSecret, drain_router};
use tidegate::machine::ShutdownCause;
use tidegate::request::{DrainRequest, Holder};
use tidegate::{Gateway, Origin};
use tokio::net::TcpListener;
use tower::{Layer, Service, ServiceExt};

const SECRET: &str = "Bnup1ELh1XNZaC3G4m7iTQi4-UM82W2lNpRooIKCngo";
const ROUNDS: usize = 15;

fn main() {
    in_process();
    drain_to_refusal();
    if Command::new("wrk").arg("-v").output().is_err() {
        println!("\nwrk is not installed: no load, and no table of throughput");
        return;
    }
    under_load();
}

fn app() -> Router {
    Router::new().route("/", get(async || "hello, world"))
}

fn bare_503() -> Router {
    Router::new().route("/", get(async || StatusCode::SERVICE_UNAVAILABLE))
}

/// As much as the layer says, without a layer.
fn full_503() -> Router {
    let reply = async || {
        let headers = [
            (header::CONTENT_TYPE, "application/problem+json"),
            (header::RETRY_AFTER, "5"),
            (header::CACHE_CONTROL, "no-store"),
            (header::CONNECTION, "close"),
        ];
        (StatusCode::SERVICE_UNAVAILABLE, headers, "x".repeat(230))
    };
    Router::new().route("/", get(reply))
}

fn open() -> Gateway {
    Gateway::in_memory().start().expect("starts")
}

fn closed() -> Gateway {
    let gateway = open();
    gateway.begin_drain(&DrainRequest::default()).expect("in memory");
    gateway
}

/// One request after the other through the services themselves, without a socket.
fn in_process() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("a runtime");
    println!("| without a socket, ns a request | median of {ROUNDS} |\n|---|---|");
    let mut cases: Vec<Case> = Vec::new();
    let handle = &runtime;
    cases.push(("axum, 200", Box::new(move || each(handle, app()))));
    cases.push((
        "axum, 200, behind the layer",
        Box::new(move || each(handle, GateLayer::new(open()).layer(app()))),
    ));
    cases.push((
        "the same, as a layer of the router's",
        Box::new(move || each(handle, app().layer(GateLayer::new(open())))),
    ));
    cases.push(("axum, a bare 503", Box::new(move || each(handle, bare_503()))));
    cases.push((
        "the layer, refusing",
        Box::new(move || each(handle, GateLayer::new(closed()).layer(app()))),
    ));
    for (name, mut ns) in medians(&mut cases) {
        println!("| {name} | {:.0} |", median(&mut ns));
    }
}

/// What is measured, and how.
type Case<'a> = (&'static str, Box<dyn FnMut() -> f64 + 'a>);

fn medians(cases: &mut [Case]) -> Vec<(&'static str, Vec<f64>)> {
    let mut results: Vec<(&str, Vec<f64>)> =
        cases.iter().map(|(name, _)| (*name, vec![])).collect();
    for _ in 0..ROUNDS {
        for ((_, run), (_, result)) in cases.iter_mut().zip(&mut results) {
            result.push(run());
        }
    }
    results
}

fn each<S, B>(runtime: &tokio::runtime::Runtime, mut service: S) -> f64
where
    S: Service<Request<Body>, Response = Response<B>, Error = Infallible>,
    B: axum::body::HttpBody,
{
    const REQUESTS: u32 = 50_000;
    runtime.block_on(async {
        let began = Instant::now();
        for _ in 0..REQUESTS {
            let request = Request::get("/").body(Body::empty()).expect("a request");
            let service = service.ready().await.unwrap_or_else(|it| match it {});
            let response = service.call(request).await.unwrap_or_else(|it| match it {});
            std::hint::black_box(&response);
        }
        began.elapsed().as_nanos() as f64 / f64::from(REQUESTS)
    })
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// From before an order is handed to the router until a request is refused.
fn drain_to_refusal() {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.expect("a runtime");
    println!(
        "\n| from POST drain to the first refusal, µs | p50 | p99 | most |\n|---|---|---|---|"
    );
    let tmpfs = tempfile::tempdir_in("/dev/shm").ok();
    let disk = tempfile::tempdir_in(".").expect("temp dir");
    let mut homes = vec![("in memory", Gateway::in_memory())];
    if let Some(tmpfs) = &tmpfs {
        homes.push(("home on tmpfs", Gateway::builder(tmpfs.path())));
    }
    homes.push(("home on this disk", Gateway::builder(disk.path())));
    for (name, builder) in homes {
        let gateway = builder.start().expect("starts");
        let mut took: Vec<f64> = (0..500).map(|_| runtime.block_on(close_once(&gateway))).collect();
        took.sort_by(f64::total_cmp);
        let at = |share: f64| took[((took.len() - 1) as f64 * share) as usize];
        println!("| {name} | {:.0} | {:.0} | {:.0} |", at(0.5), at(0.99), at(1.0));
    }
}

async fn close_once(gateway: &Gateway) -> f64 {
    let verifier = SharedSecret::new(SECRET).expect("strong");
    let router: Router = drain_router(gateway.clone(), verifier);
    let request = Request::post("/api/gateway/drain")
        .header(header::AUTHORIZATION, format!("Bearer {SECRET}"))
        .body(Body::empty())
        .expect("a request");
    let door = gateway.clone();
    // On another worker: what a request meets that comes meanwhile.
    let refused = tokio::task::spawn_blocking(move || {
        while door.admit(Origin::User).is_ok() {
            // Not spinning: two processors are few for a gateway, a router and a client.
            std::thread::yield_now();
        }
        Instant::now()
    });
    let began = Instant::now();
    let reply = router.oneshot(request).await.unwrap_or_else(|it| match it {});
    assert_eq!(reply.status(), StatusCode::OK);
    let refused = refused.await.expect("no panic");
    gateway.cancel_drain(&Holder::Shared).expect("removes");
    refused.saturating_duration_since(began).as_secs_f64() * 1e6
}

#[derive(Clone, Copy)]
struct Load {
    requests_a_second: f64,
    p99_us: f64,
    /// What a request costs the server, in the process and in the kernel.
    cpu_us: f64,
    /// One connection alone.
    p50_us: f64,
}

/// A server on a thread of its own, and `wrk` on another.
fn under_load() {
    type Start = Box<dyn Fn() -> (Arc<tokio::runtime::Runtime>, u16)>;
    let cases: Vec<(&str, bool, Start)> = vec![
        ("serve, no layer", true, Box::new(|| start(app(), open()))),
        (
            "serve, GateLayer around the app",
            true,
            Box::new(|| {
                let gateway = open();
                start(GateLayer::new(gateway.clone()).layer(app()), gateway)
            }),
        ),
        (
            "serve, GateLayer by Router::layer",
            true,
            Box::new(|| {
                let gateway = open();
                start(app().layer(GateLayer::new(gateway.clone())), gateway)
            }),
        ),
        ("axum::serve, no layer", true, Box::new(|| start_axum(app()))),
        (
            "axum::serve, GateLayer by Router::layer",
            true,
            Box::new(|| start_axum(app().layer(GateLayer::new(open())))),
        ),
        (
            "axum::serve, a concurrency limit, shedding",
            true,
            Box::new(|| {
                let shed = tower::ServiceBuilder::new()
                    .layer(axum::error_handling::HandleErrorLayer::new(async |_| {
                        StatusCode::SERVICE_UNAVAILABLE.into_response()
                    }))
                    .load_shed()
                    .layer(tower::limit::GlobalConcurrencyLimitLayer::new(1 << 20));
                start_axum(app().layer(shed))
            }),
        ),
        ("serve, a bare 503, connection kept", false, Box::new(|| start(bare_503(), open()))),
        ("serve, a 503 as long, connection closed", false, Box::new(|| start(full_503(), open()))),
        (
            "serve, GateLayer refusing, connection closed",
            false,
            Box::new(|| start(GateLayer::new(closed()).layer(app()), open())),
        ),
    ];
    let started: Vec<_> = cases.iter().map(|(name, ok, start)| (*name, *ok, start())).collect();
    let mut results: Vec<Vec<Load>> = started.iter().map(|_| Vec::new()).collect();
    for round in 0..=ROUNDS {
        for ((_, _, (_, port)), result) in started.iter().zip(&mut results) {
            let load = wrk(*port);
            // The first warms up.
            if round > 0 {
                result.push(load);
            }
        }
    }
    println!(
        "\n| under load (median of {ROUNDS} rounds) | requests/s, 16 connections | ratio | p99 µs | CPU µs a request | p50 µs, one connection |"
    );
    println!("|---|---|---|---|---|---|");
    let of = |result: &[Load], field: fn(&Load) -> f64| {
        median(&mut result.iter().map(field).collect::<Vec<_>>())
    };
    let mut base = 1.0;
    for ((name, _, _), result) in started.iter().zip(&results) {
        let rate = of(result, |load| load.requests_a_second);
        if name.contains("no layer") || name.contains("503 as long") || name.contains("bare 503") {
            base = rate;
        }
        println!(
            "| {name} | {rate:.0} | {:.3} | {:.0} | {:.2} | {:.0} |",
            rate / base,
            of(result, |load| load.p99_us),
            of(result, |load| load.cpu_us),
            of(result, |load| load.p50_us),
        );
    }
    // Round by round: what drifts meanwhile drifts for both.
    for (with, without) in [(1, 0), (2, 0), (4, 3), (8, 7), (0, 3), (2, 4)] {
        let pairs = results[with].iter().zip(&results[without]);
        let mut ratios: Vec<f64> =
            pairs.clone().map(|(a, b)| a.requests_a_second / b.requests_a_second).collect();
        let mut cpu: Vec<f64> = pairs.clone().map(|(a, b)| a.cpu_us / b.cpu_us).collect();
        let mut later: Vec<f64> = pairs.map(|(a, b)| a.p50_us - b.p50_us).collect();
        let (name, base) = (started[with].0, started[without].0);
        println!(
            "{name} : {base} = {:.3} of its throughput, {:.3} of its CPU, p50 {:+.1} µs (medians of the rounds)",
            median(&mut ratios),
            median(&mut cpu),
            median(&mut later)
        );
    }
}

fn one_worker() -> Arc<tokio::runtime::Runtime> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    Arc::new(builder.worker_threads(1).enable_all().build().expect("a runtime"))
}

fn start<S, B>(app: S, gateway: Gateway) -> (Arc<tokio::runtime::Runtime>, u16)
where
    S: Service<Request<Body>, Response = Response<B>, Error = Infallible>,
    S: Clone + Send + 'static,
    S::Future: Send,
    B: axum::body::HttpBody<Data = axum::body::Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let runtime = one_worker();
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).expect("a port");
    let port = listener.local_addr().expect("an address").port();
    runtime.spawn(async move {
        let never = std::future::pending::<(ShutdownCause, Duration)>();
        Server::new(&gateway).serve(listener, app, never).await
    });
    (runtime, port)
}

fn start_axum(app: Router) -> (Arc<tokio::runtime::Runtime>, u16) {
    let runtime = one_worker();
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).expect("a port");
    let port = listener.local_addr().expect("an address").port();
    runtime.spawn(async move { axum::serve(listener, app).await });
    (runtime, port)
}

fn wrk(port: u16) -> Load {
    let began = cpu();
    let (many, lasted) = run(port, "-c16");
    let used = cpu().saturating_sub(began);
    let requests_a_second: f64 = field(&many, "Requests/sec:").parse().expect("a number");
    let (one, _) = run(port, "-c1");
    Load {
        requests_a_second,
        p99_us: us(field(&many, "99%")),
        cpu_us: used.as_secs_f64() * 1e6 / (requests_a_second * lasted),
        p50_us: us(field(&one, "50%")),
    }
}

/// What it printed, and how long it ran.
fn run(port: u16, connections: &str) -> (String, f64) {
    let url = format!("http://127.0.0.1:{port}/");
    let output = Command::new("wrk").args(["-t1", connections, "-d1s", "--latency", &url]).output();
    (String::from_utf8(output.expect("wrk runs").stdout).expect("text"), 1.0)
}

fn field<'a>(text: &'a str, name: &str) -> &'a str {
    let line = text.lines().find(|line| line.trim_start().starts_with(name));
    line.unwrap_or_else(|| panic!("no {name}: {text}")).trim_start()[name.len()..].trim()
}

fn us(text: &str) -> f64 {
    let digits = text.trim_end_matches(|it: char| it.is_alphabetic());
    let unit = match &text[digits.len()..] {
        "us" => 1.0,
        "ms" => 1e3,
        _ => 1e6,
    };
    digits.parse::<f64>().expect("a number") * unit
}

/// What this process, which is all the servers, has used so far.
fn cpu() -> Duration {
    let used = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    used.try_into().expect("not negative")
}
