//! Media threads go before everything else on the machine: their work is short, and what they send late is lost.

use thread_priority::{
    RealtimeThreadSchedulePolicy, ThreadPriority, ThreadPriorityValue, ThreadSchedulePolicy,
    set_thread_priority_and_policy, thread_native_id,
};

/// Low among real-time threads: the kernel's own and those of sound cards are above it.
const PRIORITY: u8 = 10;

/// Gives the calling thread real-time priority (`SCHED_RR`); false if the system does not let us (`RLIMIT_RTPRIO`, `CAP_SYS_NICE`).
pub fn raise() -> bool {
    let policy = ThreadSchedulePolicy::Realtime(RealtimeThreadSchedulePolicy::RoundRobin);
    ThreadPriorityValue::try_from(PRIORITY).is_ok_and(|value| {
        set_thread_priority_and_policy(thread_native_id(), ThreadPriority::Crossplatform(value), policy).is_ok()
    })
}
