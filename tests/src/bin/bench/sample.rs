//! Numbers of one thing measured again and again.

use std::time::Instant;

/// What was measured, in the unit of its figure.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sample {
    values: Vec<f64>,
}

impl Sample {
    /// Of one value that does not vary.
    pub(crate) fn of(value: f64) -> Self {
        Self { values: vec![value] }
    }

    pub(crate) fn push(&mut self, value: f64) {
        self.values.push(value);
        self.values.sort_by(f64::total_cmp);
    }

    /// The value in the middle, or the mean of the two there.
    pub(crate) fn median(&self) -> f64 {
        let (half, odd) = (self.values.len() / 2, self.values.len() % 2 == 1);
        if odd {
            self.values[half]
        } else {
            f64::midpoint(self.values[half - 1], self.values[half])
        }
    }

    pub(crate) fn min(&self) -> f64 {
        self.values[0]
    }

    pub(crate) fn max(&self) -> f64 {
        self.values[self.values.len() - 1]
    }

    pub(crate) fn len(&self) -> usize {
        self.values.len()
    }

    /// Each value changed in the same way.
    pub(crate) fn map(&self, change: impl Fn(f64) -> f64) -> Self {
        let mut changed = Self::default();
        self.values.iter().for_each(|value| changed.push(change(*value)));
        changed
    }
}

/// How long `work` takes, in milliseconds.
pub(crate) fn milliseconds<T>(work: impl FnOnce() -> T) -> f64 {
    let start = Instant::now();
    let _ = work();
    start.elapsed().as_secs_f64() * 1000.0
}
