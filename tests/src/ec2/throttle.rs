//! EC2's throttle: a bucket of tokens that fills at a steady rate.

use std::time::Instant;

/// A bucket for all calls of the account.
#[derive(Debug)]
pub(crate) struct Bucket {
    rate: f64,
    burst: f64,
    tokens: f64,
    filled: Instant,
}

impl Bucket {
    /// Full, with `rate` tokens a second and room for `burst`.
    pub(crate) fn new(rate: f64, burst: f64) -> Self {
        Self { rate, burst, tokens: burst, filled: Instant::now() }
    }

    /// Takes a token, where there is one.
    pub(crate) fn take(&mut self) -> bool {
        let now = Instant::now();
        let grown = now.duration_since(self.filled).as_secs_f64() * self.rate;
        self.tokens = (self.tokens + grown).min(self.burst);
        self.filled = now;
        let has = self.tokens >= 1.0;
        if has {
            self.tokens -= 1.0;
        }
        has
    }
}
