//! The properties that are checked here: what each one says, where it is kept, and what a pass does
//! not show. `models/README.md` prints this list; a test compares the two.

/// One property of the catalogue.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// Its id, which never changes meaning.
    pub id: &'static str,
    /// Its name, spelled the same in code, models and tests.
    pub name: &'static str,
    /// What it says.
    pub statement: &'static str,
    /// The shipped functions that keep it.
    pub kept_by: &'static str,
    /// What a pass does not show.
    pub not_shown: &'static str,
    /// The model's properties that check it: the first must hold, the others must be reachable, so
    /// that the first does not hold for want of anything happening.
    pub checked_as: &'static [&'static str],
}

/// Every property that is checked so far.
pub const CATALOGUE: [Entry; 4] = [
    Entry {
        id: "TG-S1",
        name: "shutdown_wins",
        statement: "once a shutdown has begun, the gate never reopens in that incarnation, and no snapshot it derives later says running or ready",
        kept_by: "`machine::step` (no such edge), `Word::perform` (a shut word refuses the order), `status::condition`",
        not_shown: "that the status file is written at all, or in time; anything about a later incarnation",
        checked_as: &["shutdown_wins_inv", "shutdown_wins_reach"],
    },
    Entry {
        id: "TG-S2",
        name: "no_new_turn_while_draining",
        statement: "from the confirmed close of generation g to the start of its reopening, no user turn starts; a reopening starts only once the request it was closed for is gone",
        kept_by: "`Word::admit`, `Ledger::accept`, `Roll::apply`, `Roll::first`, the transition lock in `Shared::apply`",
        not_shown: "that work which does not ask the gate is refused; several requests at once; leases running out",
        checked_as: &[
            "no_new_turn_while_draining_step",
            "no_new_turn_while_draining_reach",
            "drain_is_undone_reach",
        ],
    },
    Entry {
        id: "TG-S3",
        name: "bypass_is_bounded",
        statement: "what is admitted while closed is internal or a child of live work, and is counted; while sealed or after Stopped, nothing is admitted",
        kept_by: "`Word::admit`, `Word::release`",
        not_shown: "that internal work ends; that an origin is told truthfully by the embedder",
        checked_as: &["bypass_is_bounded_inv", "bypass_is_bounded_reach", "seal_reach"],
    },
    Entry {
        id: "TG-S5",
        name: "ack_means_closed",
        statement: "whatever tells a controller \"draining\" names its request_id and is true: the gate is closed for it",
        kept_by: "the transition lock in `Shared::apply`: no phase but running is ever seen with an open gate",
        not_shown: "that the right request is named (tests show it for one holder); that a controller reads the answer in time",
        checked_as: &["ack_means_closed_inv", "ack_means_closed_reach"],
    },
];

/// The entry that a model's property belongs to.
#[must_use]
pub fn entry_of(model_property: &str) -> Option<&'static Entry> {
    CATALOGUE.iter().find(|entry| entry.checked_as.contains(&model_property))
}

/// The catalogue as a Markdown table.
#[must_use]
pub fn table() -> String {
    let mut lines = vec![
        "| id | name | statement | kept by | checked as | a pass does not show |".to_owned(),
        "|---|---|---|---|---|---|".to_owned(),
    ];
    lines.extend(CATALOGUE.iter().map(|entry| {
        let Entry { id, name, statement, kept_by, not_shown, checked_as } = entry;
        let checked_as: Vec<_> = checked_as.iter().map(|name| format!("`{name}`")).collect();
        let checked_as = checked_as.join(", ");
        format!("| {id} | {name} | {statement} | {kept_by} | {checked_as} | {not_shown} |")
    }));
    lines.join("\n")
}
