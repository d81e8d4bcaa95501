//! A close and a reopen, by how many turns are in flight and how many stripes the gate has.

use std::time::Instant;

use tidegate::request::{DrainRequest, Holder};
use tidegate::{Gateway, Origin};

use crate::samples::{Samples, nanoseconds};

/// How many stripes the gate has, and how many turns are in flight when it is closed and reopened.
const CASES: [(u32, usize); 7] =
    [(2, 0), (2, 100), (2, 10_000), (1, 0), (16, 0), (128, 0), (1024, 0)];

/// How often each case is timed.
const CLOSES: usize = 2000;

pub fn print() {
    let gateways = CASES.map(|(stripes, in_flight)| {
        let gateway = Gateway::in_memory().manual().stripes(stripes).start().expect("starts");
        let admit = |_| gateway.admit(Origin::User).expect("open");
        let turns: Vec<_> = (0..in_flight).map(admit).collect();
        assert_eq!(gateway.in_flight().user, u32::try_from(in_flight).expect("few"));
        (gateway, turns)
    });
    let mut times = CASES.map(|_| [const { Vec::new() }; 3]);
    for _ in 0..CLOSES {
        for ((gateway, _), [closes, reopens, both]) in gateways.iter().zip(&mut times) {
            let request = DrainRequest::default();
            let began = Instant::now();
            let receipt = gateway.begin_drain(&request).expect("in memory");
            let closed = Instant::now();
            let was_asked = gateway.cancel_drain(&Holder::Shared).expect("in memory");
            let reopened = Instant::now();
            assert!(receipt.draining && was_asked && gateway.is_ready());
            closes.push(nanoseconds(closed - began));
            reopens.push(nanoseconds(reopened - closed));
            both.push(nanoseconds(reopened - began));
        }
    }
    println!("\nclose and reopen, {CLOSES} times each, ns");
    println!("  {:<50} {:>9} {:>20}", "", "median", "quartiles");
    for ((stripes, in_flight), times) in CASES.iter().zip(times) {
        for (what, times) in ["begin_drain", "cancel_drain", "both"].iter().zip(times) {
            let name = format!("{what}, {stripes} stripes, {in_flight} turns in flight");
            let times = Samples::new(times);
            println!("  {name:<50} {:>9.0} {:>20}", times.median(), times.quartiles());
        }
    }
}
