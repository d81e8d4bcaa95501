//! What is right while the gate opens and closes, and the auditor that checks each entry of the threads' logs.

use tidegate::{Origin, RefusalReason};

/// What is known of the gate from one step of the controller to the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// The reopening is confirmed, and no close has begun.
    Open,
    /// A close has begun. Either answer is right.
    Closing,
    /// The close is confirmed, and internal work may pass.
    Closed,
    /// Closed, and idle has been reported: no user turn is in flight.
    Idle,
    /// Closed, and to be sealed when it becomes idle. For internal work either answer is right.
    Held,
    /// Quiesced has been reported: nothing is in flight, and nothing starts.
    Quiesced,
    /// A reopening has begun. Either answer is right.
    Opening,
    /// A shutdown has begun, while another thread drains or releases. Either answer is right.
    ShuttingDown,
    /// The call of the shutdown has returned: closed to user turns for good.
    Shut,
    /// The shutdown has ended cleanly: nothing is in flight, and nothing starts.
    Stopped,
}

/// What asks to be admitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    New(Origin),
    ChildOf(Origin),
}

impl What {
    pub fn origin(self) -> Origin {
        let (What::New(origin) | What::ChildOf(origin)) = self;
        origin
    }
}

/// The specification.
impl Stage {
    fn admits(self, what: What) -> bool {
        match self {
            Stage::Open | Stage::Closing | Stage::Opening | Stage::ShuttingDown => true,
            Stage::Quiesced | Stage::Stopped => false,
            _ => what != What::New(Origin::User),
        }
    }

    fn refuses(self, what: What, reason: RefusalReason) -> bool {
        use RefusalReason::{Draining, Quiesced, ShuttingDown};
        let is_drained = reason == Draining && what.origin() == Origin::User;
        match (what, self) {
            (What::ChildOf(_), Stage::Stopped) => reason == ShuttingDown,
            (What::ChildOf(_), _) | (_, Stage::Open) => false,
            (_, Stage::Closed | Stage::Idle) => is_drained,
            (_, Stage::Closing | Stage::Held | Stage::Opening) => is_drained || reason == Quiesced,
            (_, Stage::Quiesced) => reason == Quiesced,
            (_, Stage::ShuttingDown) => is_drained || matches!(reason, Quiesced | ShuttingDown),
            (_, Stage::Shut | Stage::Stopped) => reason == ShuttingDown,
        }
    }

    fn allows_in_flight(self, origin: Origin) -> bool {
        match self {
            Stage::Idle => origin != Origin::User,
            Stage::Quiesced | Stage::Stopped => false,
            _ => true,
        }
    }

    fn allows_readiness(self, is_ready: bool) -> bool {
        match self {
            Stage::Closing | Stage::Opening | Stage::ShuttingDown => true,
            _ => is_ready == (self == Stage::Open),
        }
    }
}

/// The steps that a call may have happened at: from the one before it to the one after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    pub first: u32,
    pub last: u32,
}

/// One event of one thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry {
    /// The next step of the controller. A refusal from now on is by this close or by a later one.
    Step { stage: Stage, generation: u32 },
    /// This call admitted a turn, and the drop of the turn began at the step `dropped` or later.
    Admitted { what: What, call: Span, dropped: u32 },
    /// This call was refused.
    Refused { what: What, reason: RefusalReason, generation: u32, call: Span },
    /// `is_ready` gave this.
    Ready { is_ready: bool, call: Span },
    /// `in_flight` counted turns of these origins.
    Counted { user: bool, internal: bool, call: Span },
}

const _: () = assert!(size_of::<Entry>() <= 16, "a batch is small");

/// What an entry breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// A closed gate admits no new user turn; a quiesced or stopped one admits nothing.
    Admission,
    /// An open gate refuses nothing. A closed one refuses user turns only, until it is sealed. Only a stopped one
    /// refuses a child. The reason is the right one.
    Refusal,
    /// A refusal names the close that refused it, or a later one.
    Generation,
    /// No user turn is in flight while idle, and nothing while quiesced or stopped.
    InFlight,
    /// The gateway is ready if and only if the gate is open.
    Readiness,
    /// What cannot be in flight is not counted.
    Count,
}

#[derive(Clone, Copy, Debug, Default)]
pub struct Totals {
    pub user: u64,
    pub internal: u64,
    pub children: u64,
    pub refused: u64,
    pub drains: u64,
    pub shutdowns: u64,
    /// How many admissions and refusals lay within each stage.
    pub within: [u64; Stage::Stopped as usize + 1],
}

impl Totals {
    pub fn admitted(&self) -> u64 {
        self.user + self.internal + self.children
    }
}

/// Checks each entry as it comes, and keeps only the steps of one gateway.
#[derive(Default)]
pub struct Auditor {
    steps: Vec<(Stage, u32)>,
    pub totals: Totals,
    /// The first ten.
    pub broken: Vec<(Rule, Entry, Vec<Stage>)>,
}

impl Auditor {
    /// A new gateway, which starts open.
    pub fn begin(&mut self) {
        self.steps = vec![(Stage::Open, 1)];
    }

    fn stages(&self, span: Span) -> impl Iterator<Item = Stage> {
        self.steps[span.first as usize..=span.last as usize].iter().map(|(stage, _)| *stage)
    }

    pub fn check(&mut self, entry: Entry) {
        match entry {
            Entry::Step { stage, generation } => {
                self.totals.drains += u64::from(stage == Stage::Opening);
                self.totals.shutdowns += u64::from(stage == Stage::Stopped);
                self.steps.push((stage, generation));
            }
            Entry::Admitted { what, call, dropped } => {
                let total = match what {
                    What::New(Origin::User) => &mut self.totals.user,
                    What::New(_) => &mut self.totals.internal,
                    What::ChildOf(_) => &mut self.totals.children,
                };
                *total += 1;
                self.count_within(call);
                let lived = Span { first: call.last, last: dropped };
                let is_admitted = self.stages(call).any(|it| it.admits(what));
                let is_in_flight = self.stages(lived).all(|it| it.allows_in_flight(what.origin()));
                self.require(is_admitted, Rule::Admission, entry, call);
                self.require(is_in_flight, Rule::InFlight, entry, lived);
            }
            Entry::Refused { what, reason, generation, call } => {
                self.totals.refused += 1;
                self.count_within(call);
                let is_refused = self.stages(call).any(|it| it.refuses(what, reason));
                let is_known = generation >= self.steps[call.first as usize].1;
                self.require(is_refused, Rule::Refusal, entry, call);
                self.require(is_known, Rule::Generation, entry, call);
            }
            Entry::Ready { is_ready, call } => {
                let is_right = self.stages(call).any(|it| it.allows_readiness(is_ready));
                self.require(is_right, Rule::Readiness, entry, call);
            }
            Entry::Counted { user, internal, call } => {
                let may_be = |origin| self.stages(call).any(|it| it.allows_in_flight(origin));
                let is_right =
                    (!user || may_be(Origin::User)) && (!internal || may_be(Origin::Internal));
                self.require(is_right, Rule::Count, entry, call);
            }
        }
    }

    fn count_within(&mut self, call: Span) {
        if call.first == call.last {
            let (stage, _) = self.steps[call.first as usize];
            self.totals.within[stage as usize] += 1;
        }
    }

    fn require(&mut self, is_right: bool, rule: Rule, entry: Entry, span: Span) {
        if !is_right && self.broken.len() < 10 {
            self.broken.push((rule, entry, self.stages(span).collect()));
        }
    }
}

/// The auditor finds each kind of fault in a log that has it, and no fault in a log that has none.
mod tests {
    use super::*;
    use Origin::{Internal, User};
    use RefusalReason::{Draining, Full, Quiesced, ShuttingDown};

    /// The rules that an entry breaks after these stages. Each step's generation is its number.
    fn audit(stages: &[Stage], entry: Entry) -> Vec<Rule> {
        let mut auditor = Auditor::default();
        auditor.begin();
        for (generation, stage) in (1..).zip(stages) {
            auditor.check(Entry::Step { stage: *stage, generation });
        }
        auditor.check(entry);
        auditor.broken.into_iter().map(|(rule, ..)| rule).collect()
    }

    /// A turn that is admitted during all of these stages, and dropped at once.
    fn admitted(stages: &[Stage], what: What) -> Vec<Rule> {
        let call = all(stages);
        audit(stages, Entry::Admitted { what, call, dropped: call.last })
    }

    fn refused(stages: &[Stage], what: What, reason: RefusalReason) -> Vec<Rule> {
        audit(stages, Entry::Refused { what, reason, generation: 9, call: all(stages) })
    }

    /// A turn that is admitted during the first of these stages, and in flight during all of them.
    fn in_flight(stages: &[Stage], origin: Origin) -> Vec<Rule> {
        let (call, what) = (Span { first: 1, last: 1 }, What::New(origin));
        audit(stages, Entry::Admitted { what, call, dropped: all(stages).last })
    }

    fn all(stages: &[Stage]) -> Span {
        Span { first: 1, last: u32::try_from(stages.len()).expect("a few") }
    }

    const USER: What = What::New(User);
    const INTERNAL: What = What::New(Internal);

    #[test]
    fn an_admission_at_a_closed_gate_is_found() {
        for stage in [Stage::Closed, Stage::Held, Stage::Shut] {
            assert_eq!(admitted(&[stage], USER), [Rule::Admission], "{stage:?}");
            assert_eq!(admitted(&[stage], INTERNAL), [], "{stage:?}");
            assert_eq!(admitted(&[stage], What::ChildOf(User)), [], "{stage:?}");
        }
        for stage in [Stage::Quiesced, Stage::Stopped] {
            for what in [USER, INTERNAL, What::ChildOf(User), What::ChildOf(Internal)] {
                let broken = admitted(&[stage], what);
                assert_eq!(broken, [Rule::Admission, Rule::InFlight], "{stage:?} {what:?}");
            }
        }
        // From the confirmed close to the start of the reopening, whatever else is confirmed in between.
        let closed = [Stage::Closed, Stage::Held];
        assert_eq!(admitted(&closed, USER), [Rule::Admission]);
        for either in [[Stage::Closing, Stage::Closed], [Stage::Closed, Stage::Opening]] {
            assert_eq!(admitted(&either, USER), []);
        }
    }

    #[test]
    fn a_refusal_at_an_open_gate_is_found() {
        for (what, reason) in [(USER, Draining), (USER, ShuttingDown), (INTERNAL, Quiesced)] {
            assert_eq!(refused(&[Stage::Open], what, reason), [Rule::Refusal]);
        }
        assert_eq!(refused(&[Stage::Opening, Stage::Open], USER, Draining), []);
        assert_eq!(refused(&[Stage::Open, Stage::Closing], USER, Draining), []);
    }

    #[test]
    fn internal_work_that_is_refused_before_the_seal_is_found() {
        for stage in [Stage::Closed, Stage::Idle] {
            assert_eq!(refused(&[stage], INTERNAL, Quiesced), [Rule::Refusal], "{stage:?}");
        }
        assert_eq!(refused(&[Stage::Held], INTERNAL, Draining), [Rule::Refusal]);
        assert_eq!(refused(&[Stage::Held], INTERNAL, Quiesced), []);
    }

    #[test]
    fn a_child_that_is_refused_is_found() {
        for stage in [Stage::Open, Stage::Closing, Stage::Held, Stage::Opening, Stage::Shut] {
            for reason in [Draining, Quiesced, ShuttingDown] {
                let broken = refused(&[stage], What::ChildOf(User), reason);
                assert_eq!(broken, [Rule::Refusal], "{stage:?} {reason:?}");
            }
        }
        assert_eq!(refused(&[Stage::Stopped], What::ChildOf(User), ShuttingDown), []);
    }

    #[test]
    fn a_refusal_for_the_wrong_reason_is_found() {
        assert_eq!(refused(&[Stage::Closed], USER, Full), [Rule::Refusal]);
        assert_eq!(refused(&[Stage::Quiesced], USER, Draining), [Rule::Refusal]);
        for stage in [Stage::Shut, Stage::Stopped] {
            assert_eq!(refused(&[stage], USER, Draining), [Rule::Refusal], "a shutdown stays");
            assert_eq!(refused(&[stage], USER, ShuttingDown), []);
        }
        let call = Span { first: 2, last: 2 };
        let late = Entry::Refused { what: USER, reason: Draining, generation: 1, call };
        assert_eq!(audit(&[Stage::Closing, Stage::Closed], late), [Rule::Generation]);
    }

    #[test]
    fn a_turn_in_flight_where_there_is_none_is_found() {
        use Stage::{Closed, Closing, Held, Idle, Open, Opening, Shut, Stopped};
        assert_eq!(in_flight(&[Open, Closing, Closed, Idle], User), [Rule::InFlight]);
        assert_eq!(in_flight(&[Open, Closing, Closed, Idle, Opening], User), [Rule::InFlight]);
        assert_eq!(in_flight(&[Open, Closing, Closed, Idle], Internal), []);
        for origin in Origin::ALL {
            let drained = [Open, Closing, Held, Stage::Quiesced, Opening, Open];
            assert_eq!(in_flight(&drained, origin), [Rule::InFlight]);
            assert_eq!(in_flight(&drained[..3], origin), []);
            assert_eq!(
                in_flight(&[Open, Stage::ShuttingDown, Shut, Stopped], origin),
                [Rule::InFlight]
            );
        }
    }

    #[test]
    fn a_wrong_reading_is_found() {
        let ready = |stage, is_ready| {
            let call = Span { first: 1, last: 1 };
            audit(&[stage], Entry::Ready { is_ready, call })
        };
        assert_eq!(ready(Stage::Open, false), [Rule::Readiness]);
        assert_eq!(ready(Stage::Closed, true), [Rule::Readiness]);
        assert_eq!(ready(Stage::Shut, true), [Rule::Readiness]);
        assert_eq!([ready(Stage::Closing, true), ready(Stage::Closing, false)], [[], []]);

        let counted = |stage, user, internal| {
            let call = Span { first: 1, last: 1 };
            audit(&[stage], Entry::Counted { user, internal, call })
        };
        assert_eq!(counted(Stage::Idle, true, false), [Rule::Count]);
        assert_eq!(counted(Stage::Idle, false, true), []);
        assert_eq!(counted(Stage::Quiesced, false, true), [Rule::Count]);
        assert_eq!(counted(Stage::Stopped, false, true), [Rule::Count]);
        assert_eq!(counted(Stage::Held, true, true), []);
    }
}
