//! Virtual time for the tests of this crate.

use std::sync::LazyLock;
use std::time::{Duration, Instant};

#[expect(clippy::disallowed_methods, reason = "an arbitrary origin; everything else is added to it")]
static START: LazyLock<Instant> = LazyLock::new(Instant::now);

/// This long after an arbitrary origin.
pub(crate) fn ms(ms: u64) -> Instant {
    *START + Duration::from_millis(ms)
}
