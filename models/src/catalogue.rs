//! The properties that are checked here: what each one says, which functions keep it, and what a pass does
//! not show. `models/README.md` has this list as a table, and a test compares the two.

use std::fmt;

/// One property of the catalogue.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// The id. Its meaning never changes.
    pub id: &'static str,
    /// The name, spelled the same in code, models and tests.
    pub name: &'static str,
    /// What the property says.
    pub statement: &'static str,
    /// The shipped functions that keep it.
    pub kept_by: &'static str,
    /// What a pass does not show.
    pub not_shown: &'static str,
    /// The fairness that a liveness property assumes. It is weak, unless the text says strong. Each assumption is
    /// shown to be needed.
    pub assumes: &'static str,
    /// The properties of models that check it. Those whose names end in `_reach` must be reachable. Otherwise
    /// the others might hold only because nothing happens.
    pub checked_as: &'static [Check],
}

/// A property of a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Check {
    /// The model.
    pub model: ModelName,
    /// The property's name in the model. No two models have a property of the same name.
    pub property: &'static str,
}

impl Check {
    /// Whether it describes a state that must be reachable, and not a rule that must hold.
    #[must_use]
    pub fn is_reach(self) -> bool {
        self.property.ends_with("_reach") || self.is_gap()
    }

    /// Whether it describes what is not promised. It is reachable, and the shortest way to it is printed.
    #[must_use]
    pub fn is_gap(self) -> bool {
        self.property.ends_with("_gap")
    }

    /// Whether it is a liveness property, which says that something happens in the end. It is checked by
    /// searching for fair cycles.
    #[must_use]
    pub fn is_progress(self) -> bool {
        self.property.ends_with("_progress")
    }
}

/// A model, by its name. `registry` has what belongs to each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ModelName {
    /// One marker, watchers, turns, shutdown and restart.
    Gateway,
    /// The gateway with any number of turns, watchers and controllers.
    Crowd,
    /// Two holders whose requests come and go while they are listed.
    Channel,
    /// The writers of request files, on a disk that may lose power.
    Marker,
    /// Controllers, leases and clocks.
    Controllers,
    /// The status file, its writers and its readers.
    Status,
    /// Orders over HTTP.
    Endpoint,
    /// The directory's times, and when it is listed.
    Directory,
    /// Turns, children, delivery, and a controller that acts.
    Work,
    /// The gate and its waiters.
    Gate,
}

impl ModelName {
    /// All of them.
    pub const ALL: [ModelName; 10] = [
        ModelName::Gateway,
        ModelName::Crowd,
        ModelName::Channel,
        ModelName::Marker,
        ModelName::Controllers,
        ModelName::Status,
        ModelName::Endpoint,
        ModelName::Directory,
        ModelName::Work,
        ModelName::Gate,
    ];

    /// The name in print.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            ModelName::Gateway => "gateway",
            ModelName::Crowd => "crowd",
            ModelName::Channel => "channel",
            ModelName::Marker => "marker",
            ModelName::Controllers => "controllers",
            ModelName::Status => "status",
            ModelName::Endpoint => "endpoint",
            ModelName::Directory => "directory",
            ModelName::Work => "work",
            ModelName::Gate => "gate",
        }
    }

    /// The model with this name.
    #[must_use]
    pub fn named(name: &str) -> Option<ModelName> {
        ModelName::ALL.into_iter().find(|model| model.as_str() == name)
    }
}

impl fmt::Display for ModelName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Every property that is checked.
pub const CATALOGUE: [Entry; 20] = [
    Entry {
        id: "TG-S1",
        name: "shutdown_wins",
        statement: "Once a shutdown has begun, the gate never reopens in that incarnation. No snapshot that it derives later says running or ready.",
        kept_by: "`machine::step` (no such edge), the typestates, `OrderSteps::center` and `OrderSteps::stripe` (a shut word does not reopen), `status::condition`",
        not_shown: "that the status file is written, or written in time; anything about a later incarnation",
        assumes: "",
        checked_as: &[
            Check { model: ModelName::Gateway, property: "shutdown_wins_inv" },
            Check { model: ModelName::Gateway, property: "shutdown_wins_reach" },
            Check { model: ModelName::Crowd, property: "any_shutdown_wins_inv" },
            Check { model: ModelName::Crowd, property: "any_shutdown_wins_reach" },
        ],
    },
    Entry {
        id: "TG-S2",
        name: "no_new_turn_while_draining",
        statement: "From the confirmed close of generation g to the start of its reopening, no user turn starts. A reopening starts only after the request that closed the gate is gone.",
        kept_by: "`StripeWord::admit`, `OrderSteps` (each stripe is closed before a close is confirmed), `Engine::next_observe_action`, `Engine::start`, `RequestTable::apply`, the transition lock in `Shared::carry_out`",
        not_shown: "that work which does not ask the gate is refused",
        assumes: "",
        checked_as: &[
            Check { model: ModelName::Gateway, property: "no_new_turn_while_draining_step" },
            Check { model: ModelName::Gateway, property: "no_new_turn_while_draining_reach" },
            Check { model: ModelName::Gateway, property: "drain_is_undone_reach" },
            Check { model: ModelName::Crowd, property: "any_no_new_turn_while_draining_inv" },
            Check { model: ModelName::Crowd, property: "any_no_new_turn_while_draining_reach" },
            Check { model: ModelName::Gate, property: "confirmed_close_refuses_inv" },
            Check { model: ModelName::Gate, property: "confirmed_close_refuses_reach" },
            Check { model: ModelName::Work, property: "follow_ups_ask_step" },
            Check { model: ModelName::Work, property: "follow_ups_ask_reach" },
        ],
    },
    Entry {
        id: "TG-S3",
        name: "bypass_is_bounded",
        statement: "While the gate is closed, whatever is admitted is internal work or a child of live work, and is counted. While the gate is sealed, or after Stopped, nothing is admitted.",
        kept_by: "`StripeWord::admit`, `Word::admit`, `Word::release`",
        not_shown: "that internal work ends; that the embedder states the true origin of its work",
        assumes: "",
        checked_as: &[
            Check { model: ModelName::Gateway, property: "bypass_is_bounded_inv" },
            Check { model: ModelName::Gateway, property: "bypass_is_bounded_reach" },
            Check { model: ModelName::Gateway, property: "seal_reach" },
            Check { model: ModelName::Crowd, property: "any_bypass_is_bounded_inv" },
            Check { model: ModelName::Crowd, property: "any_bypass_is_bounded_reach" },
            Check { model: ModelName::Gate, property: "sealed_admits_nothing_inv" },
            Check { model: ModelName::Gate, property: "sealed_admits_nothing_reach" },
        ],
    },
    Entry {
        id: "TG-S4",
        name: "quiesced_means_idle",
        statement: "If the published status says quiesced, no work of any class is live. None starts before release or `quiesced_until`.",
        kept_by: "`OrderSteps` and `Word::without_shares` (idle only with no share out), `Word::admit` (a sealed word), `Scan::listed`, `RequestTable::apply`, `RequestTable::held_until`, `RequestTable::first` (over a respawn)",
        not_shown: "that the clock is right; that idle lasts (a gap: internal work may start again); that a controller acts in time. Two renewals during one observation of a directory whose times are too coarse to show them",
        assumes: "",
        checked_as: &[
            Check { model: ModelName::Channel, property: "quiesced_means_idle_inv" },
            Check { model: ModelName::Channel, property: "quiesced_means_idle_reach" },
            Check { model: ModelName::Controllers, property: "promise_is_kept_inv" },
            Check { model: ModelName::Controllers, property: "promise_is_kept_reach" },
            Check { model: ModelName::Gateway, property: "promise_outlives_inv" },
            Check { model: ModelName::Gateway, property: "promise_outlives_reach" },
            Check { model: ModelName::Gate, property: "idle_means_empty_inv" },
            Check { model: ModelName::Gate, property: "idle_means_empty_reach" },
            Check { model: ModelName::Gate, property: "idle_is_left_gap" },
        ],
    },
    Entry {
        id: "TG-S5",
        name: "ack_means_closed",
        statement: "Whatever says \"draining\" to a controller names its request_id and is true: the gate is closed for that request.",
        kept_by: "the transition lock in `Shared::carry_out` (a gate that is not wholly closed is only ever seen in the phase running), `OrderSteps`, `Engine::gate_done`, `Engine::receipt`, `PendingDrain::evaluate`",
        not_shown: "that a controller reads the answer in time",
        assumes: "",
        checked_as: &[
            Check { model: ModelName::Gateway, property: "ack_means_closed_inv" },
            Check { model: ModelName::Gateway, property: "ack_means_closed_reach" },
            Check { model: ModelName::Gateway, property: "receipt_means_closed_inv" },
            Check { model: ModelName::Gateway, property: "receipt_means_closed_reach" },
            Check { model: ModelName::Gate, property: "confirmed_gate_is_closed_inv" },
            Check { model: ModelName::Gate, property: "confirmed_gate_is_closed_reach" },
            Check { model: ModelName::Endpoint, property: "drain_is_told_inv" },
            Check { model: ModelName::Endpoint, property: "drain_is_told_reach" },
        ],
    },
    Entry {
        id: "TG-S6",
        name: "in_flight_untouched",
        statement: "A drain never ends or cancels a turn in flight.",
        kept_by: "`OrderSteps` (no step changes a count), `Word::release` (the last end seals), `status::condition`; no function cancels a turn",
        not_shown: "that a turn is held until its last byte is delivered (the embedder must do that); that a shutdown waits beyond its deadline",
        assumes: "",
        checked_as: &[
            Check { model: ModelName::Work, property: "in_flight_untouched_inv" },
            Check { model: ModelName::Work, property: "in_flight_untouched_reach" },
            Check { model: ModelName::Work, property: "only_its_end_ends_a_turn_step" },
            Check { model: ModelName::Work, property: "only_its_end_ends_a_turn_reach" },
        ],
    },
    Entry {
        id: "TG-S7",
        name: "owner_release",
        statement: "A release removes only the releaser's own request. The shared slot counts as one holder.",
        kept_by: "`Slot::of`, `Slot::is_held_by`, `marker::begin` and `marker::cancel`",
        not_shown: "anything about people who remove files by hand, or about `cancel --all --force`",
        assumes: "",
        checked_as: &[
            Check { model: ModelName::Channel, property: "owner_release_inv" },
            Check { model: ModelName::Channel, property: "owner_release_reach" },
        ],
    },
    Entry {
        id: "TG-S8",
        name: "status_is_faithful",
        statement: "With no write pending, the status is a function of the machine, the gate and the requests of one incarnation. Its sequence number never decreases.",
        kept_by: "`Engine::publish_turn`, `Engine::status_written`, `status::condition`, `Home::lock`, `Reading::new`",
        not_shown: "how soon a status is written; that anything reads it",
        assumes: "",
        checked_as: &[
            Check { model: ModelName::Status, property: "status_is_faithful_inv" },
            Check { model: ModelName::Status, property: "status_is_faithful_reach" },
            Check { model: ModelName::Status, property: "dead_is_not_believed_inv" },
            Check { model: ModelName::Status, property: "dead_is_not_believed_reach" },
        ],
    },
    Entry {
        id: "TG-S9",
        name: "intent_is_separate",
        statement: "A transient observed state never overwrites the desired state.",
        kept_by: "`Engine::desired_state`",
        not_shown: "that a supervisor reads it",
        assumes: "",
        checked_as: &[
            Check { model: ModelName::Status, property: "intent_is_separate_inv" },
            Check { model: ModelName::Status, property: "intent_is_separate_reach" },
        ],
    },
    Entry {
        id: "TG-S10",
        name: "fail_safe",
        statement: "A corrupt or unreadable request never opens a closed gate. A corrupt one closes an open gate. At start, an unreadable one counts as closed.",
        kept_by: "`Request::parse`, `RequestTable::first`, `RequestTable::apply`",
        not_shown: "that an unreadable request is ever repaired",
        assumes: "",
        checked_as: &[
            Check { model: ModelName::Gateway, property: "fail_safe_inv" },
            Check { model: ModelName::Gateway, property: "fail_safe_reach" },
            Check { model: ModelName::Crowd, property: "any_fail_safe_inv" },
            Check { model: ModelName::Crowd, property: "any_fail_safe_reach" },
        ],
    },
    Entry {
        id: "TG-S11",
        name: "observations_never_overlap",
        statement: "No two observations are under way at once in one gateway. A caller that asks for one is answered after one that began after the call was applied.",
        kept_by: "`Engine::next_observe_action`, `Engine::observed`",
        not_shown: "that an observation ends; that the driver asks for its turn (tests show it)",
        assumes: "",
        checked_as: &[
            Check { model: ModelName::Gateway, property: "observations_never_overlap_inv" },
            Check { model: ModelName::Gateway, property: "observations_never_overlap_reach" },
        ],
    },
    Entry {
        id: "TG-S12",
        name: "no_torn_request",
        statement: "A reader sees a whole request or none. An acknowledged begin or cancel survives power loss.",
        kept_by: "`marker::replace`, `marker::begin`, `marker::renew`, `marker::cancel_all_of`",
        not_shown: "that a disk keeps what it reports as synced; what happens on a disk that fails (a replay of each step shows it). That a cancel also removes the request of a renewal that was killed in another process of the holder. (This is a gap: that request stays until its lease ends.)",
        assumes: "",
        checked_as: &[
            Check { model: ModelName::Marker, property: "no_torn_request_inv" },
            Check { model: ModelName::Marker, property: "acknowledged_survives_inv" },
            Check { model: ModelName::Marker, property: "acknowledged_survives_reach" },
            Check { model: ModelName::Marker, property: "cancel_is_outlived_gap" },
        ],
    },
    Entry {
        id: "TG-S13",
        name: "stale_never_closes",
        statement: "A request that states another epoch, or whose lease has run out, never closes the gate.",
        kept_by: "`Judge::validity`, `RequestTable::apply`",
        not_shown: "that a machine has another epoch after each boot",
        assumes: "",
        checked_as: &[
            Check { model: ModelName::Channel, property: "stale_never_closes_inv" },
            Check { model: ModelName::Channel, property: "stale_never_closes_reach" },
        ],
    },
    Entry {
        id: "TG-S14",
        name: "receipt_is_true",
        statement: "The answer to a sender, a caller or a controller matches what happened.",
        kept_by: "`marker::cancel_all_of`, `marker::renew`, `Engine::receipt`, `Engine::is_unreleased`, `Ended::with`, `ControlOrder::parse`, `CancelOutcome::of`, `status::is_ready`",
        not_shown: "what a command prints, and which status code an answer has (tests show both). That an order which the wire cuts to nothing differs from one that was sent empty. That a cancel which reports a removal did remove something. What a renewal reports while another process of the same holder works. A cancel of one request, or by force. Anything about the shared slot, in which the last writer wins",
        assumes: "",
        checked_as: &[
            Check { model: ModelName::Gate, property: "ready_gate_admits_inv" },
            Check { model: ModelName::Gate, property: "ready_gate_admits_reach" },
            Check { model: ModelName::Gate, property: "clean_means_none_left_inv" },
            Check { model: ModelName::Gate, property: "clean_means_none_left_reach" },
            Check { model: ModelName::Marker, property: "receipt_is_true_inv" },
            Check { model: ModelName::Marker, property: "receipt_is_true_reach" },
            Check { model: ModelName::Marker, property: "stays_in_force_inv" },
            Check { model: ModelName::Marker, property: "stays_in_force_reach" },
            Check { model: ModelName::Endpoint, property: "order_is_understood_inv" },
            Check { model: ModelName::Endpoint, property: "order_is_understood_reach" },
            Check { model: ModelName::Endpoint, property: "cancel_is_told_inv" },
            Check { model: ModelName::Endpoint, property: "cancel_is_told_reach" },
            Check { model: ModelName::Gateway, property: "clean_means_empty_inv" },
            Check { model: ModelName::Gateway, property: "clean_means_empty_reach" },
            Check { model: ModelName::Status, property: "end_is_told_last_inv" },
            Check { model: ModelName::Status, property: "end_is_told_last_reach" },
            Check { model: ModelName::Endpoint, property: "ready_is_told_inv" },
            Check { model: ModelName::Endpoint, property: "ready_is_told_reach" },
        ],
    },
    Entry {
        id: "TG-S15",
        name: "held_by_each",
        statement: "The gate is closed while any live request that was seen exists. The end of one holder's request changes nothing for the others.",
        kept_by: "`RequestTable::wanted`, `RequestTable::apply`",
        not_shown: "that a request is seen (TG-L1); more than three holders",
        assumes: "",
        checked_as: &[
            Check { model: ModelName::Controllers, property: "held_by_each_inv" },
            Check { model: ModelName::Controllers, property: "held_by_each_reach" },
        ],
    },
    Entry {
        id: "TG-L1",
        name: "closes",
        statement: "With a live request and a watcher whose reads succeed, the gate closes and the status says so. The next observation finds a request that has come or gone.",
        kept_by: "`Engine::observed`, `Engine::next_observe_action`, `ObserveMode::may_skip_listing`, `Request::parse` (total), `Engine::publish_turn`",
        not_shown: "how soon, in time (the benchmarks measure it); that the driver makes its rounds",
        assumes: "a watcher's read succeeds (strong); a watcher applies its observation; from some point on no round panics. For the status: a publisher takes its turn; a write succeeds (strong)",
        checked_as: &[
            Check { model: ModelName::Gateway, property: "closes_progress" },
            Check { model: ModelName::Status, property: "status_says_so_progress" },
            Check { model: ModelName::Directory, property: "names_are_seen_at_once_inv" },
            Check { model: ModelName::Directory, property: "names_are_seen_at_once_reach" },
            Check { model: ModelName::Directory, property: "changes_are_seen_in_time_inv" },
            Check { model: ModelName::Directory, property: "changes_are_seen_in_time_reach" },
        ],
    },
    Entry {
        id: "TG-L2",
        name: "drains",
        statement: "A closed gate becomes idle, and quiesced with hold_internal. This assumes that user turns and their children end, and that from some point on no child starts a child and no internal work arrives. Every waiter is woken.",
        kept_by: "`Word::release` and `Word::without_shares` (the last one out seals), `StripeWord::gives_share_back`, `OrderSteps` (each share is given back once), `Turn`'s drop, `Engine::observed` (a reopening wakes)",
        not_shown: "that a turn ends; the memory model (loom shows it)",
        assumes: "user turns end; children end; internal work ends; from some point on no internal work arrives and no child starts a child. For waiters: the timer thread makes its rounds; the waiter takes its next step; a turn that is leaving leaves; an order takes its next step",
        checked_as: &[
            Check { model: ModelName::Gateway, property: "drains_progress" },
            Check { model: ModelName::Gate, property: "waiter_is_woken_progress" },
            Check { model: ModelName::Gate, property: "drained_is_seen_inv" },
            Check { model: ModelName::Gate, property: "drained_is_seen_reach" },
        ],
    },
    Entry {
        id: "TG-L3",
        name: "reopens",
        statement: "If from some point on there is no live request (all are cancelled, expired or of another epoch) and no shutdown, the gate admits again.",
        kept_by: "`Engine::observed`, `RequestTable::apply`, `Judge::validity`",
        not_shown: "how soon",
        assumes: "a watcher's read succeeds (strong); a watcher applies its observation; from some point on no round panics. If the controllers have died: a clock ticks; the gateway observes the requests",
        checked_as: &[
            Check { model: ModelName::Gateway, property: "reopens_progress" },
            Check { model: ModelName::Controllers, property: "orphans_run_out_progress" },
        ],
    },
    Entry {
        id: "TG-L4",
        name: "stops",
        statement: "A shutdown that was asked for ends, even if a turn never ends.",
        kept_by: "`ShutdownProgress`, `Engine::on_time`, on a thread that uses no file",
        not_shown: "that the process exits",
        assumes: "time passes. For the report of the end: the timer thread makes its rounds; a turn that is leaving leaves; an order takes its next step; the last status is written",
        checked_as: &[
            Check { model: ModelName::Gateway, property: "stops_progress" },
            Check { model: ModelName::Gate, property: "end_is_told_progress" },
        ],
    },
    Entry {
        id: "TG-L5",
        name: "bypass_progress",
        statement: "A closed gate never blocks work that a turn in flight needs in order to end.",
        kept_by: "`StripeWord::admit` (a child passes a closed gate), `Turn::child`",
        not_shown: "that the embedder asks as a child",
        assumes: "a child that is needed asks the gate; a child ends",
        checked_as: &[Check { model: ModelName::Work, property: "bypass_progress" }],
    },
];

/// The entry that a model's property belongs to, and which of its checks it is.
#[must_use]
pub fn entry_of(property: &str) -> Option<(&'static Entry, Check)> {
    CATALOGUE.iter().find_map(|entry| {
        let check = entry.checked_as.iter().find(|check| check.property == property)?;
        Some((entry, *check))
    })
}

/// The catalogue as a Markdown table.
#[must_use]
pub fn table() -> String {
    let mut lines = vec![
        "| id | name | statement | kept by | checked as | assumes | a pass does not show |"
            .to_owned(),
        "|---|---|---|---|---|---|---|".to_owned(),
    ];
    lines.extend(CATALOGUE.iter().map(|entry| {
        let Entry { id, name, statement, kept_by, not_shown, assumes, checked_as } = entry;
        let checked_as: Vec<_> =
            checked_as.iter().map(|it| format!("{} `{}`", it.model, it.property)).collect();
        let checked_as = checked_as.join(", ");
        format!(
            "| {id} | {name} | {statement} | {kept_by} | {checked_as} | {assumes} | {not_shown} |"
        )
    }));
    lines.join("\n")
}
