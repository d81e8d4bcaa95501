//! The waits on a tokio runtime with a single worker. If a wait blocked the worker, nothing that ends the wait could
//! run, and the test would never end.

use std::time::Duration;

use tidegate::machine::ShutdownCause;
use tidegate::request::{DrainRequest, Holder};
use tidegate::{Ended, Gateway, Origin};

/// Turns a hang into a failure, since the test waits in another thread.
const PATIENCE: Duration = Duration::from_secs(30);

#[test]
fn no_wait_blocks_the_only_worker() {
    let (done, ended) = std::sync::mpsc::channel();
    let test = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
        runtime.expect("a runtime").block_on(drain_release_and_shut_down());
        done.send(()).expect("somebody waits");
    });
    match ended.recv_timeout(PATIENCE) {
        Err(std::sync::mpsc::RecvTimeoutError::Timeout) => panic!("a wait blocked the worker"),
        Ok(()) | Err(std::sync::mpsc::RecvTimeoutError::Disconnected) => {}
    }
    test.join().expect("the test itself");
}

async fn drain_release_and_shut_down() {
    let dir = tempfile::tempdir().expect("temp dir");
    let gateway = Gateway::builder(dir.path()).start().expect("starts");
    let mut changes = gateway.changes();
    let turn = gateway.admit(Origin::User).expect("open");

    let ci = Holder::named("ci").expect("a name");
    let ask = DrainRequest::new("ci").with_holder(ci.clone()).with_hold_internal(true);
    let receipt = gateway.begin_drain_async(ask).await.expect("writes");
    assert!(receipt.draining);
    assert_eq!(changes.next().await.expect("a change").generation, receipt.generation);

    // All wait on the one worker, each for something that another task does on it.
    let parked = tokio::spawn(gateway.admit_when_open(Origin::User));
    let quiesced = tokio::spawn(gateway.quiesced());
    let idle = tokio::spawn(gateway.idle());
    tokio::task::yield_now().await;
    drop(turn);
    idle.await.expect("no panic");
    let quiesced = quiesced.await.expect("no panic").expect("held");
    assert_eq!(quiesced.request_ids().len(), 1);

    // A wait that is dropped leaves nothing behind.
    let forgotten = tokio::time::timeout(Duration::ZERO, gateway.admit_when_open(Origin::User));
    assert!(forgotten.await.is_err());

    assert!(gateway.cancel_drain_async(ci).await.expect("removes"));
    let turn = parked.await.expect("no panic").expect("open again");
    let ending = tokio::spawn(gateway.shut_down(ShutdownCause::Sigterm, PATIENCE));
    tokio::task::yield_now().await;
    drop(turn);
    assert_eq!(ending.await.expect("no panic"), Ended::Clean);
}
