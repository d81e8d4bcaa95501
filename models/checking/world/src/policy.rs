//! Who goes on, of those who can: drawn from a seed, or gone through one by one.

use std::cell::RefCell;
use std::rc::Rc;

/// How choices are made.
#[derive(Clone, Debug)]
pub enum Policy {
    /// Drawn. The thread that runs goes on, unless a switch is drawn: once in `switch_every` steps.
    Random {
        /// The seed.
        seed: u64,
        /// Once in so many steps, on average.
        switch_every: u32,
    },
    /// Each thread has a priority, drawn at its start, and the highest one that can go on does. So many times
    /// within the first `steps` steps the one that runs comes to be the lowest.
    Priorities {
        /// The seed.
        seed: u64,
        /// How many times.
        changes: u32,
        /// Within so many steps.
        steps: u64,
    },
    /// Every choice, one world after the other.
    Every(Tree),
}

/// The choices that were made, and which come next: all those that have at most so many preemptions.
#[derive(Clone, Debug)]
pub struct Tree(Rc<RefCell<Branches>>);

#[derive(Debug)]
struct Branches {
    preemptions_max: u32,
    preemptions: u32,
    /// What was chosen at each place, and of how many.
    path: Vec<(usize, usize)>,
    at: usize,
}

impl Tree {
    /// All choices with at most so many preemptions: switches from a thread that could have gone on.
    #[must_use]
    pub fn up_to(preemptions_max: u32) -> Tree {
        let (path, at, preemptions) = (Vec::new(), 0, 0);
        Tree(Rc::new(RefCell::new(Branches { preemptions_max, preemptions, path, at })))
    }

    /// Goes on to the next path. Says whether there is one.
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
        assert_eq!(was, of, "the program makes the same steps each time");
        chosen
    }
}

/// Makes the choices of one world.
#[derive(Debug)]
pub(crate) struct Chooser {
    policy: Policy,
    random: fastrand::Rng,
    /// By thread: lower goes first.
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

    /// A number below this one, of which every choice is worth trying.
    pub(crate) fn below(&mut self, of: usize) -> usize {
        match &self.policy {
            _ if of < 2 => 0,
            Policy::Every(tree) => tree.choose(of),
            Policy::Random { .. } | Policy::Priorities { .. } => self.random.usize(0..of),
        }
    }

    /// A number that is drawn where there is a seed, and else is always the same.
    pub(crate) fn drawn(&mut self, of: u64) -> u64 {
        match &self.policy {
            Policy::Every(_) => of - 1,
            Policy::Random { .. } | Policy::Priorities { .. } => self.random.u64(0..of),
        }
    }

    pub(crate) fn fresh(&mut self) -> u64 {
        self.random.u64(..)
    }

    /// Which of these threads goes on, `current` being among them where it can.
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
                // To go on comes first, so that the first path of all has no preemption.
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
