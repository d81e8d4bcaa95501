//! Crowds of unauthorized clients at a real process, one kind after the other. No crowd keeps an order from being
//! carried out. Run with `--nocapture` to see what each crowd costs the process.

use std::fs;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use axum::body::Body;
use hyper::StatusCode;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::client::{Client, PATIENCE};
use super::live_gate::Process;

/// The resources that a process uses.
#[derive(Clone, Copy)]
struct Usage {
    cpu_ms: u64,
    memory_kib: u64,
    descriptors: usize,
    threads: usize,
}

impl Usage {
    fn of(pid: u32) -> Usage {
        let read =
            |name: &str| fs::read_to_string(format!("/proc/{pid}/{name}")).expect("it lives");
        let stat = read("stat");
        let fields: Vec<&str> =
            stat.rsplit(')').next().expect("fields").split_whitespace().collect();
        let ticks = |at: usize| fields[at].parse::<u64>().expect("a number");
        let status = read("status");
        let memory = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("memory");
        let count =
            |name: &str| fs::read_dir(format!("/proc/{pid}/{name}")).expect("lists").count();
        Usage {
            // A tick is 10 ms.
            cpu_ms: (ticks(11) + ticks(12)) * 10,
            memory_kib: memory.trim().split(' ').next().expect("a number").parse().expect("one"),
            descriptors: count("fd"),
            threads: count("task"),
        }
    }
}

/// Sends these bytes and then one of `drips` every 20 ms, and never reads.
async fn drips(address: SocketAddr, head: Vec<u8>, drips: &'static [u8]) {
    let Ok(mut socket) = TcpStream::connect(address).await else { return };
    let mut sent = socket.write_all(&head).await;
    while sent.is_ok() {
        tokio::time::sleep(Duration::from_millis(20)).await;
        sent = socket.write_all(drips).await;
    }
}

/// Requests replies over HTTP/2 and never reads them, so the server gets no window.
async fn grants_nothing(address: SocketAddr) {
    let mut client = Client::two(address).await;
    let mut unread = Vec::new();
    for _ in 0..4 {
        let request = client.request("GET", "/big?mb=1").body(Body::empty()).expect("a request");
        // The request is refused once the gate is closed.
        let Ok(reply) = client.send(request).await else { break };
        unread.push(reply);
    }
    std::future::pending::<()>().await;
}

/// Sends one request, and then only answers pings.
async fn rests(address: SocketAddr) {
    let Client::Two(mut sender) = Client::two(address).await else { unreachable!() };
    let request = Client::Two(sender.clone()).request("GET", "/healthz").body(Body::empty());
    let _ = sender.send_request(request.expect("a request")).await;
    std::future::pending::<()>().await;
}

/// Requests the longest reply again and again, and reads none.
async fn asks_and_reads_none(address: SocketAddr) {
    let Ok(mut socket) = TcpStream::connect(address).await else { return };
    let request = b"GET /api/gateway/openapi.json HTTP/1.1\r\nhost: test\r\n\r\n".repeat(100);
    let _ = socket.write_all(&request).await;
    std::future::pending::<()>().await;
}

/// Connects again and again, with an unknown token that would be a line of a log.
async fn floods(address: SocketAddr) {
    loop {
        let Ok(mut socket) = TcpStream::connect(address).await else { continue };
        let request = b"POST /api/gateway/drain HTTP/1.1\r\nhost: test\r\nauthorization: Bearer \
            \x1b[2Ktidegate::audit:\r\nconnection: close\r\n\r\n";
        let _ = socket.write_all(request).await;
        let mut reply = [0; 64];
        let _ = socket.read(&mut reply).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_crowd_keeps_an_order_from_being_carried_out() {
    const CROWD: usize = 100;
    let dir = tempfile::tempdir().expect("temp dir");
    let process = Process::start_with(dir.path(), &["--patience-s", "0.5", "--connections", "200"]);
    let (pid, address) = (process.child.id(), process.address);
    println!(
        "| {CROWD} that | quiesced after, ms | CPU, ms a second | memory, KiB more | descriptors | threads |"
    );
    println!("|---|---|---|---|---|---|");
    let kinds = [
        "drip a body over HTTP/1",
        "drip a head",
        "grant no window",
        "rest, and answer pings",
        "ask and read nothing",
        "flood (8 of them)",
    ];
    for kind in kinds {
        let before = Usage::of(pid);
        let began = Instant::now();
        let mut crowd = JoinSet::new();
        for number in 0..CROWD {
            match kind {
                "drip a body over HTTP/1" => {
                    let head =
                        b"POST /echo HTTP/1.1\r\nhost: test\r\ncontent-length: 999999\r\n\r\n";
                    crowd.spawn(drips(address, head.to_vec(), b"x"));
                }
                "drip a head" => {
                    crowd.spawn(drips(address, b"GET / HTTP/1.1\r\nhost: te".to_vec(), b"s"));
                }
                "grant no window" => {
                    crowd.spawn(grants_nothing(address));
                }
                "rest, and answer pings" => {
                    crowd.spawn(rests(address));
                }
                "ask and read nothing" => {
                    crowd.spawn(asks_and_reads_none(address));
                }
                _ if number < 8 => {
                    crowd.spawn(floods(address));
                }
                _ => {}
            }
        }
        // Time for the crowd to connect. The checks hold for any number of clients.
        tokio::time::sleep(Duration::from_millis(300)).await;
        let asked = Instant::now();
        let order = async {
            let mut control = Client::one(address).await;
            let reply = process.order(&mut control, &json!({ "wait": 20 })).await;
            assert_eq!(reply.status, StatusCode::OK, "{kind}: {reply:?}");
            assert_eq!(reply.json()["quiesced"], true, "{kind}: {reply:?}");
            let elapsed = asked.elapsed();
            let usage = Usage::of(pid);
            let cancel = process.order(&mut control, &json!({ "action": "cancel" })).await;
            assert_eq!(cancel.status, StatusCode::OK, "{kind}: {cancel:?}");
            (elapsed, usage)
        };
        let (elapsed, usage) = tokio::time::timeout(PATIENCE, order).await.expect("in time");
        crowd.shutdown().await;
        let lasted = u64::try_from(began.elapsed().as_millis()).expect("short");
        println!(
            "| {kind} | {} | {} | {} | {} | {} |",
            elapsed.as_millis(),
            (usage.cpu_ms - before.cpu_ms) * 1000 / lasted.max(1),
            usage.memory_kib.saturating_sub(before.memory_kib),
            usage.descriptors,
            usage.threads,
        );
        assert!(usage.descriptors <= 200 + 64, "{kind}: {} descriptors", usage.descriptors);
        assert!(usage.threads <= 32, "{kind}: {} threads", usage.threads);
    }
}
