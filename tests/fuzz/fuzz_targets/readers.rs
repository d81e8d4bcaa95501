//! Any bytes, as a request, as a status and as an order. No panic, no unbounded time or memory, and what must hold
//! of every reading does.

#![no_main]

use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use tidegate::RawObject;
use tidegate::epoch::{Epoch, Now};
use tidegate::judge::{Judge, LeaseLeft, Validity};
use tidegate::internals::control_order::ControlOrder;
use tidegate::request::{Holder, Request};
use tidegate::status::Reading;

fuzz_target!(|bytes: &[u8]| {
    let request = Request::parse(bytes);
    let now = Now::from_system_clock();
    let epoch = Epoch::from_texts(Some("boot"), None);
    let judge = Judge::new(&epoch, now);
    let validity = judge.validity(&request);
    // TG-S10: a corrupt request counts. TG-S13: one that has run out does not.
    assert!(!request.is_contentless() || validity == Validity::Live);
    let left = judge.lease_left(&request);
    assert!(left != LeaseLeft::For(Duration::ZERO) || validity != Validity::Live);
    // What is written back reads the same.
    let again = Request::parse(request.to_json().as_bytes());
    assert_eq!(again.body(), request.body());

    // F15: what is cut off is no order, whatever it was.
    if let (Ok(_), [whole @ .., b'}']) = (ControlOrder::parse(bytes), bytes) {
        assert!(ControlOrder::parse(whole).is_err() || whole.is_empty());
    }

    // Nobody is anything whose gateway is not alive; and unknown is never idle (F10).
    let dead = Reading::new(bytes, None);
    assert!(!dead.is_alive() && !dead.is_idle() && !dead.is_quiesced() && !dead.is_drainable());
    let lock = RawObject::default();
    let alive = Reading::new(bytes, Some(&lock));
    assert!(alive.active_agents().is_some() || alive.is_busy() == alive.is_drainable());
    let _ = (alive.quiesced_until(), alive.is_quiesced_for(&Holder::Shared, "id"), alive.is_draining_for(&Holder::Shared, "id"));
});
