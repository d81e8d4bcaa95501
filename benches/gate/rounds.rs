//! Contenders that are timed round by round in turn, and the table of what they cost. It says of each how much of its
//! time the threads really had: a round that other programs disturb is run again.

use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

use crate::samples::{Samples, nanoseconds};
use crate::threads::cores;

/// How many rounds count, after those that warm up.
pub const ROUNDS: usize = 101;
const WARM_UPS: usize = 3;
/// How long a round takes, about. It is shorter than a time slice, so that a round is either disturbed or not.
const ROUND: Duration = Duration::from_micros(500);
/// How many calls each thread makes at first. A round that warms up says how many calls fill the next one.
const FIRST_CALLS: u32 = 3000;
/// A round counts as undisturbed where its threads had this part of their processor time.
const CALM: f64 = 0.9;
/// How long a section runs disturbed rounds again, in all.
const PATIENCE: Duration = Duration::from_secs(50);
const PATIENCE_PER_ROUND: Duration = Duration::from_millis(150);

#[derive(PartialEq)]
pub enum Kind {
    Limit,
    /// With the heading of its column of ratios.
    Tidegate(&'static str),
    Peer,
}

pub struct Contender<'a> {
    pub kind: Kind,
    pub name: &'static str,
    /// Runs one round: on so many threads, so many calls on each.
    pub round: Box<dyn Fn(u32, u32) -> Round + 'a>,
}

pub struct Round {
    /// Nanoseconds of processor time per call.
    cost: f64,
    /// The part of this time that the threads had. Other programs had the rest, or a thread waited.
    share: f64,
}

impl Round {
    /// From what each of the threads did, which made so many calls together.
    pub fn new(spans: &[Span], calls: u32) -> Round {
        let threads = u32::try_from(spans.len()).expect("few");
        // Threads that outnumber the cores share them.
        let cores = f64::from(threads.min(cores()));
        let began = spans.iter().map(|span| span.began).min().expect("a thread");
        let ended = spans.iter().map(|span| span.ended).max().expect("a thread");
        let on_processor: f64 = spans.iter().map(|span| nanoseconds(span.on_processor)).sum();
        let available = nanoseconds(ended - began) * cores;
        Round { cost: available / f64::from(calls), share: on_processor / available }
    }
}

/// What one thread of a round did.
pub struct Span {
    began: Instant,
    ended: Instant,
    on_processor: Duration,
}

impl Span {
    pub fn of(work: impl FnOnce()) -> Span {
        let processor_began = processor_time();
        let began = Instant::now();
        work();
        let ended = Instant::now();
        Span { began, ended, on_processor: processor_time().saturating_sub(processor_began) }
    }
}

fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::try_from(time).expect("not negative")
}

/// Times every contender on every number of threads, round by round in turn, so that a slow spell of the machine
/// meets all of them. Returns the costs and the shares, by number of threads, then by contender.
pub fn measure(contenders: &[Contender<'_>], thread_counts: &[u32]) -> Vec<Vec<[Samples; 2]>> {
    let nothing = || (FIRST_CALLS, [const { Vec::new() }; 2]);
    let row = || contenders.iter().map(|_| nothing()).collect::<Vec<_>>();
    let mut samples: Vec<_> = thread_counts.iter().map(|_| row()).collect();
    let mut patience = PATIENCE;
    for round in 0..WARM_UPS + ROUNDS {
        for (&threads, row) in thread_counts.iter().zip(&mut samples) {
            for (contender, (calls, [costs, shares])) in contenders.iter().zip(row) {
                let began = Instant::now();
                let mut result = (contender.round)(threads, *calls);
                let mut spent = Duration::ZERO;
                // Threads that should run at the same time, and cannot, do not contend: that round is run again.
                while result.share < CALM && spent < patience.min(PATIENCE_PER_ROUND) {
                    result = (contender.round)(threads, *calls);
                    spent = began.elapsed();
                }
                patience -= spent.min(patience);
                if round >= WARM_UPS {
                    costs.push(result.cost);
                    shares.push(result.share);
                } else {
                    let cost =
                        Duration::from_secs_f64(result.cost / 1e9).max(Duration::from_nanos(1));
                    *calls = u32::try_from(ROUND.as_nanos() / cost.as_nanos()).expect("few");
                }
            }
        }
    }
    samples
        .into_iter()
        .map(|row| row.into_iter().map(|(_, both)| both.map(Samples::new)).collect())
        .collect()
}

/// Prints a row for each contender, and beside each peer what tidegate's rows are as multiples of it.
pub fn print_ratios(
    title: &str,
    contenders: &[Contender<'_>],
    samples: &[[Samples; 2]],
    limit: f64,
) {
    println!("\n{title}");
    print!("  {:<42} {:>7} {:>17} {:>5} {:>7} ", "", "ns", "quartiles", "cpu", "limits");
    let mut ours = Vec::new();
    for (contender, [costs, _]) in contenders.iter().zip(samples) {
        if let Kind::Tidegate(heading) = contender.kind {
            ours.push(costs.median());
            print!(" {heading:>8}");
        }
    }
    println!();
    for (contender, [costs, shares]) in contenders.iter().zip(samples) {
        let (name, median, quartiles) = (contender.name, costs.median(), costs.quartiles());
        let (share, limits) = (shares.median(), median / limit);
        print!("  {name:<42} {median:>7.1} {quartiles:>17} {share:>5.2} {limits:>7.2} ");
        if contender.kind == Kind::Peer {
            for our in &ours {
                print!(" {:>8.2}", our / median);
            }
        }
        println!();
    }
}
