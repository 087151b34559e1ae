//! What the vendors were asked and how fast they answered: counters by link for bills, by provider for metrics.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

static ALL: Mutex<BTreeMap<String, Arc<Usage>>> = Mutex::new(BTreeMap::new());

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident),+ $(,)?) => {
        /// Counters of one link, which also count in its provider's; they only grow.
        #[derive(Debug, Default)]
        pub struct Usage { total: Option<Arc<Usage>>, $($(#[$doc])* pub $name: AtomicU64,)+ }

        /// `Usage` at one moment.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct Counts { $($(#[$doc])* pub $name: u64,)+ }

        impl Usage {
            /// The counters as they are now.
            pub fn counts(&self) -> Counts {
                Counts { $($name: self.$name.load(Relaxed),)+ }
            }
        }
    };
}

counters! {
    /// Connections or requests that were accepted.
    connects,
    /// Connections or requests that failed, or were lost before their end.
    failures,
    /// Messages that could not be understood and were passed over.
    strange,
    /// Caller's audio sent, ms.
    audio_in_ms,
    /// Caller's audio that was too old to be replayed after a lost connection, ms.
    audio_lost_ms,
    /// Agent's audio received, ms.
    audio_out_ms,
    /// Characters sent to be spoken.
    characters,
    /// Tokens read by a model.
    input_tokens,
    /// Tokens written by a model.
    output_tokens,
    /// Answers whose first byte was timed.
    first_bytes,
    /// Sum of the times to first byte, ms.
    first_byte_ms,
}

impl Usage {
    /// Counters for one link of this provider.
    pub fn of(name: &str) -> Arc<Self> {
        let mut all = ALL.lock().unwrap_or_else(PoisonError::into_inner);
        let total = all.entry(name.to_owned()).or_default().clone();
        Arc::new(Self { total: Some(total), ..Self::default() })
    }

    pub(crate) fn add(&self, pick: impl Fn(&Self) -> &AtomicU64, by: u64) {
        pick(self).fetch_add(by, Relaxed);
        if let Some(total) = &self.total {
            pick(total).fetch_add(by, Relaxed);
        }
    }

    pub(crate) fn first_byte(&self, took: Duration) {
        self.add(|usage| &usage.first_bytes, 1);
        self.add(|usage| &usage.first_byte_ms, took.as_millis() as u64);
    }
}

/// All providers that have been opened, by name.
pub fn all() -> Vec<(String, Counts)> {
    let all = ALL.lock().unwrap_or_else(PoisonError::into_inner);
    all.iter().map(|(name, usage)| (name.clone(), usage.counts())).collect()
}
