//! Logs: JSON lines on standard output, one failure once, whole phone numbers never.

use tracing_subscriber::EnvFilter;

use crate::config::Log;

/// Starts logging; `RUST_LOG` wins over the configuration.
pub fn start(log: &Log) {
    let filter = EnvFilter::try_from_default_env().or_else(|_| EnvFilter::try_new(&log.level)).unwrap_or_default();
    tracing_subscriber::fmt().json().flatten_event(true).with_env_filter(filter).with_target(false).init();
}
