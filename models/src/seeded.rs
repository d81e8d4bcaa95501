//! The faults that are seeded in the code that ships, and which property kills each. `cargo verify faults` switches
//! them on, one at a time. A build without switches only knows the list.

/// What must become of a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExpectedOutcome {
    /// This property breaks.
    Killed(&'static str),
    /// This property breaks in the simulation. No model has threads, clocks that are set, or a whole disk.
    Simulated(&'static str),
    /// Nothing breaks, because this covers for the fault.
    Covered(&'static str),
}

/// A fault, and what must become of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SeededFault {
    /// The fault's name.
    pub fault: &'static str,
    /// What must become of it.
    pub fate: ExpectedOutcome,
}

const fn killed(fault: &'static str, by: &'static str) -> SeededFault {
    SeededFault { fault, fate: ExpectedOutcome::Killed(by) }
}

const fn simulated(fault: &'static str, by: &'static str) -> SeededFault {
    SeededFault { fault, fate: ExpectedOutcome::Simulated(by) }
}

const fn covered(fault: &'static str, by: &'static str) -> SeededFault {
    SeededFault { fault, fate: ExpectedOutcome::Covered(by) }
}

/// Every fault.
pub const SEEDED_FAULTS: &[SeededFault] = &[
    killed("looks_overlap", "observations_never_overlap_inv"),
    killed("never_lists_anew", "changes_are_seen_in_time_inv"),
    killed("look_serves_late_callers", "observations_never_overlap_inv"),
    killed("abandoned_look_serves", "observations_never_overlap_inv"),
    killed("look_never_ends", "closes_progress"),
    killed("times_never_doubted", "names_are_seen_at_once_inv"),
    simulated("set_clock_believed", "closes"),
    killed("times_always_believed", "names_are_seen_at_once_inv"),
    killed("admits_before_first_look", "no_new_turn_while_draining_step"),
    killed("blind_start_holds_nothing", "promise_outlives_inv"),
    killed("reopening_wakes_nobody", "waiter_is_woken_progress"),
    killed("shutdown_wakes_nobody", "end_is_told_progress"),
    killed("end_told_before_last_status", "end_is_told_last_inv"),
    killed("receipt_for_any_request", "receipt_means_closed_inv"),
    killed("receipt_ignores_phase", "receipt_means_closed_inv"),
    killed("cancel_always_releases", "cancel_is_told_inv"),
    killed("deadline_ignored", "stops_progress"),
    killed("empty_gate_ignored", "end_is_told_progress"),
    killed("clean_whatever_is_left", "clean_means_empty_inv"),
    killed("writes_overlap", "status_is_faithful_inv"),
    killed("failed_write_counts", "status_is_faithful_inv"),
    killed("dirty_forgotten", "status_says_so_progress"),
    killed("home_never_given_back", "end_is_told_progress"),
    killed("home_given_back_early", "status_is_faithful_inv"),
    covered(
        "shut_is_not_sticky",
        "transition_lock: the gate's orders come in the order of the steps",
    ),
    killed("close_admits_users", "no_new_turn_while_draining_step"),
    killed("seal_admits_internal", "sealed_admits_nothing_inv"),
    killed("children_refused", "bypass_progress"),
    killed("never_seals", "drains_progress"),
    killed("seals_with_work", "sealed_admits_nothing_inv"),
    killed("reopen_keeps_seal", "sealed_admits_nothing_inv"),
    killed("drain_takes_turns", "only_its_end_ends_a_turn_step"),
    killed("last_turn_keeps_share", "drained_is_seen_inv"),
    killed("order_takes_no_shares", "idle_means_empty_inv"),
    killed("spare_shares_kept", "drained_is_seen_inv"),
    killed("reopening_keeps_shares", "drained_is_seen_inv"),
    killed("reopening_skips_a_stripe", "ready_gate_admits_inv"),
    killed("center_opens_first", "ready_gate_admits_inv"),
    killed("found_leaves_out_users", "clean_means_none_left_inv"),
    killed("sealed_stripe_admits_children", "bypass_is_bounded_inv"),
    killed("confirmed_before_stripes", "ready_is_told_inv"),
    covered("shutdown_is_undone", "the typestates: `AnyLifecycle::apply` has no such transition"),
    killed("new_terms_ignored", "drains_progress"),
    killed("requests_never_add", "held_by_each_inv"),
    killed("unseen_is_absent", "fail_safe_inv"),
    killed("unreadable_is_gone", "fail_safe_inv"),
    killed("ruined_is_gone", "fail_safe_inv"),
    killed("promise_of_the_longest", "promise_is_kept_inv"),
    killed("one_listing_counts", "quiesced_means_idle_inv"),
    killed("times_ignored", "quiesced_means_idle_inv"),
    killed("epoch_ignored", "stale_never_closes_inv"),
    killed("lease_ignored", "orphans_run_out_progress"),
    killed("lease_by_the_wall", "orphans_run_out_progress"),
    killed("quiesced_is_idle", "promise_outlives_inv"),
    killed("ready_while_shutting", "shutdown_wins_inv"),
    killed("shutdown_says_running", "shutdown_wins_inv"),
    killed("wants_what_is", "intent_is_separate_inv"),
    killed("dead_is_alive", "dead_is_not_believed_inv"),
    killed("ack_by_anyone", "drain_is_told_inv"),
    killed("cut_order_is_read", "order_is_understood_inv"),
    killed("failed_cancel_is_ok", "cancel_is_told_inv"),
    killed("ready_while_closed", "ready_is_told_inv"),
    killed("slots_shared", "owner_release_inv"),
    killed("file_not_synced", "no_torn_request_inv"),
    killed("directory_not_synced", "acknowledged_survives_inv"),
    killed("renewal_removes_first", "acknowledged_survives_inv"),
    simulated("effect_after_unlock", "ack_means_closed"),
    simulated("lost_turn", "drains"),
    simulated("lost_write", "drains"),
    simulated("stale_word", "status_is_faithful"),
    simulated("timer_wakes_nobody", "drains"),
    simulated("sweeps_live", "owner_release"),
    simulated("unparks_before_ringing", "drains"),
    simulated("no_second_look", "drains"),
    simulated("rings_before_leaving", "drains"),
    simulated("neighbour_ignored", "status_is_faithful"),
    simulated("run_ignored", "stale_never_closes"),
    simulated("wall_at_each_look", "reopens"),
    simulated("recipient_not_checked", "receipt_is_true"),
    simulated("recipient_ignored", "closes"),
    simulated("foreign_clock_stamped", "reopens"),
    simulated("successor_is_a_loss", "receipt_is_true"),
    simulated("elsewhere_believed", "fail_safe"),
    simulated("lost_lock_stays", "status_is_faithful"),
    simulated("taken_home_ignored", "fail_safe"),
    killed("renewal_stays", "acknowledged_survives_inv"),
];

/// Whether the property kills one of the faults.
pub(crate) fn kills_a_fault(property: &str) -> bool {
    SEEDED_FAULTS.iter().any(|it| matches!(it.fate, ExpectedOutcome::Killed(by) if by == property))
}
