//! Which of the threads that can go on runs next: drawn from a seed, or tried one by one.

use std::cell::RefCell;
use std::rc::Rc;

/// How choices are made.
#[derive(Clone, Debug)]
pub enum Policy {
    /// Drawn. The running thread goes on unless a switch is drawn, on average once in `switch_every` steps.
    Random {
        /// The seed.
        seed: u64,
        /// The average number of steps up to a switch.
        switch_every: u32,
    },
    /// Each thread has a drawn priority. The thread with the highest priority runs, of those that can go on.
    /// `changes` times within the first `steps` steps, the running thread gets the lowest priority.
    Priorities {
        /// The seed.
        seed: u64,
        /// The number of such changes.
        changes: u32,
        /// The number of steps within which the changes happen.
        steps: u64,
    },
    /// All choices, one world after the other.
    Every(Tree),
}

/// All sequences of choices with a limited number of preemptions, and the one that is tried now.
#[derive(Clone, Debug)]
pub struct Tree(Rc<RefCell<Branches>>);

#[derive(Debug)]
struct Branches {
    preemptions_max: u32,
    preemptions: u32,
    /// At each place, the index that was chosen and the number of options.
    path: Vec<(usize, usize)>,
    at: usize,
}

impl Tree {
    /// All choices with at most `preemptions_max` preemptions: switches from a thread that could go on.
    #[must_use]
    pub fn up_to(preemptions_max: u32) -> Tree {
        let (path, at, preemptions) = (Vec::new(), 0, 0);
        Tree(Rc::new(RefCell::new(Branches { preemptions_max, preemptions, path, at })))
    }

    /// Moves to the next path. Returns whether there is one.
    #[must_use]
    pub fn advance(&self) -> bool {
        let mut all = self.0.borrow_mut();
        (all.at, all.preemptions) = (0, 0);
        while let Some((chosen, of)) = all.path.pop() {
            if chosen + 1 < of {
                all.path.push((chosen + 1, of));
                return true;
            }
        }
        false
    }

    fn choose(&self, of: usize) -> usize {
        let mut all = self.0.borrow_mut();
        let at = all.at;
        all.at += 1;
        if at == all.path.len() {
            all.path.push((0, of));
        }
        let (chosen, was) = all.path[at];
        assert_eq!(was, of, "the program must make the same steps each time");
        chosen
    }
}

/// Makes the choices of one world.
#[derive(Debug)]
pub(crate) struct Chooser {
    policy: Policy,
    random: fastrand::Rng,
    /// The priority of each thread: the lowest number goes first.
    priorities: Vec<u64>,
    change_at: Vec<u64>,
    lowest: u64,
    steps: u64,
}

impl Chooser {
    pub(crate) fn new(policy: Policy) -> Chooser {
        let mut random = fastrand::Rng::with_seed(match policy {
            Policy::Random { seed, .. } | Policy::Priorities { seed, .. } => seed,
            Policy::Every(_) => 0,
        });
        let change_at = match policy {
            Policy::Priorities { changes, steps, .. } => {
                (0..changes).map(|_| random.u64(0..steps.max(1))).collect()
            }
            Policy::Random { .. } | Policy::Every(_) => Vec::new(),
        };
        Chooser { policy, random, priorities: Vec::new(), change_at, lowest: 1 << 32, steps: 0 }
    }

    /// A number less than `of`. `Policy::Every` tries each one.
    pub(crate) fn below(&mut self, of: usize) -> usize {
        match &self.policy {
            _ if of < 2 => 0,
            Policy::Every(tree) => tree.choose(of),
            Policy::Random { .. } | Policy::Priorities { .. } => self.random.usize(0..of),
        }
    }

    /// A number less than `of`: drawn if there is a seed, and otherwise always the same.
    pub(crate) fn drawn(&mut self, of: u64) -> u64 {
        match &self.policy {
            Policy::Every(_) => of - 1,
            Policy::Random { .. } | Policy::Priorities { .. } => self.random.u64(0..of),
        }
    }

    pub(crate) fn fresh(&mut self) -> u64 {
        self.random.u64(..)
    }

    /// Chooses which of these threads runs next. `current` is one of them if it can go on.
    pub(crate) fn next(&mut self, eligible: &[usize], current: Option<usize>) -> usize {
        self.steps += 1;
        let goes_on = current.filter(|it| eligible.contains(it));
        if let (1, _) | (_, 0) = (eligible.len(), eligible.len()) {
            return eligible[0];
        }
        match &self.policy {
            Policy::Random { switch_every, .. } => {
                let every = *switch_every;
                match goes_on {
                    Some(current) if self.random.u32(0..every.max(1)) != 0 => current,
                    _ => eligible[self.random.usize(0..eligible.len())],
                }
            }
            Policy::Priorities { .. } => {
                let most = eligible.iter().copied().max().unwrap_or(0);
                while self.priorities.len() <= most {
                    let priority = self.random.u64(0..1 << 32);
                    self.priorities.push(priority);
                }
                if self.change_at.contains(&self.steps)
                    && let Some(current) = goes_on
                {
                    self.lowest += 1;
                    self.priorities[current] = self.lowest;
                }
                let first = eligible.iter().min_by_key(|it| self.priorities[**it]);
                first.copied().unwrap_or(eligible[0])
            }
            Policy::Every(tree) => {
                let tree = tree.clone();
                let Some(current) = goes_on else { return eligible[tree.choose(eligible.len())] };
                {
                    let all = tree.0.borrow();
                    if all.preemptions == all.preemptions_max {
                        return current;
                    }
                }
                // To go on is the first option, so that the very first path has no preemption.
                let mut ordered = vec![current];
                ordered.extend(eligible.iter().copied().filter(|it| *it != current));
                let chosen = ordered[tree.choose(ordered.len())];
                if chosen != current {
                    tree.0.borrow_mut().preemptions += 1;
                }
                chosen
            }
        }
    }
}
