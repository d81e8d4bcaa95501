//! Many measurements of one thing, and what is printed of them.

use std::time::Duration;

/// Sorted samples.
pub struct Samples(Vec<f64>);

impl Samples {
    pub fn new(mut values: Vec<f64>) -> Samples {
        values.sort_by(f64::total_cmp);
        Samples(values)
    }

    pub fn at(&self, per_cent: usize) -> f64 {
        self.0[(self.0.len() - 1) * per_cent / 100]
    }

    pub fn median(&self) -> f64 {
        self.at(50)
    }

    pub fn quartiles(&self) -> String {
        format!("{:.1} .. {:.1}", self.at(25), self.at(75))
    }
}

pub fn nanoseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e9
}
