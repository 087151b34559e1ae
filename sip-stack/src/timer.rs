//! Timers as data: one enum, one table (RFC 3261 table 4, RFC 6026), one queue in the caller's time.

use std::collections::{BTreeSet, HashMap};
use std::time::{Duration, Instant};

use crate::flow::Transport;

/// The three base intervals of RFC 3261 §17.1.1.1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Intervals {
    /// Round-trip estimate, 500 ms.
    pub t1: Duration,
    /// The longest gap between repetitions, 4 s.
    pub t2: Duration,
    /// How long a message may stay in the network, 5 s.
    pub t4: Duration,
}

impl Default for Intervals {
    fn default() -> Self {
        Intervals { t1: Duration::from_millis(500), t2: Duration::from_secs(4), t4: Duration::from_secs(5) }
    }
}

/// Every timer of the stack. C belongs to proxies and is absent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Timer {
    /// INVITE client: repeat the request.
    A,
    /// INVITE client: no answer at all.
    B,
    /// INVITE client: absorb repeated refusals.
    D,
    /// Other client: repeat the request.
    E,
    /// Other client: no final answer.
    F,
    /// INVITE server: repeat the refusal.
    G,
    /// INVITE server: no ACK for the refusal.
    H,
    /// INVITE server: absorb repeated ACKs.
    I,
    /// Other server: absorb repeated requests.
    J,
    /// Other client: absorb repeated answers.
    K,
    /// INVITE server: absorb repeated INVITEs after a 2xx (RFC 6026).
    L,
    /// INVITE client: repeat the ACK for repeated 2xx (RFC 6026).
    M,
    /// Call: 100 Trying is owed after 200 ms (RFC 3261 §17.2.1).
    Trying,
    /// Call: repeat the provisional answer each minute (RFC 3261 §13.3.1.1).
    Ringing,
    /// Call: the INVITE's own Expires (RFC 3261 §13.3.1).
    Expires,
    /// Call: repeat the 2xx until its ACK (RFC 3261 §13.3.1.4).
    Accept,
    /// Call: the ACK never came.
    NoAck,
    /// Call: no final answer after CANCEL (RFC 3261 §9.1).
    Cancelled,
    /// Call: repeat the reliable provisional answer (RFC 3262 §3).
    Reliable,
    /// Call: its PRACK never came.
    NoPrack,
    /// Call: time to refresh the session (RFC 4028 §10).
    Refresh,
    /// Call: nobody refreshed the session.
    Expired,
    /// Call: try the change again that met one of the peer (RFC 3261 §14.1).
    Glare,
    /// Call: its trace is handed over.
    Trace,
    /// Call: the next way is tried (RFC 3263 §4.3).
    Failover,
    /// Registration: refresh, or try again.
    Register,
    /// Peer: ask again whether it lives.
    Ping,
}

impl Timer {
    /// How long the timer runs when first started.
    pub fn first(self, transport: Transport, on: &Intervals) -> Duration {
        let unreliable = |time: Duration| {
            if transport.is_reliable() { Duration::ZERO } else { time }
        };
        match self {
            Timer::A | Timer::E | Timer::G | Timer::Accept | Timer::Reliable => on.t1,
            Timer::B | Timer::F | Timer::H | Timer::L | Timer::M => 64 * on.t1,
            Timer::NoAck | Timer::Cancelled | Timer::NoPrack => 64 * on.t1,
            Timer::D => unreliable((64 * on.t1).max(Duration::from_secs(32))),
            Timer::J => unreliable(64 * on.t1),
            Timer::I | Timer::K => unreliable(on.t4),
            Timer::Trying => Duration::from_millis(200),
            Timer::Ringing => Duration::from_secs(60),
            Timer::Expires => Duration::from_secs(180),
            // Five seconds: a BYE and its answer, or a refusal and its ACK, belong to the picture.
            Timer::Trace | Timer::Failover => on.t4,
            // Started with a time of their own.
            Timer::Refresh | Timer::Expired | Timer::Glare | Timer::Register | Timer::Ping => on.t2,
        }
    }

    /// How long the next gap is after one of `last`; `None` for a timer that fires once.
    pub fn next(self, last: Duration, on: &Intervals) -> Option<Duration> {
        match self {
            // RFC 3262 §3: doubled without a ceiling.
            Timer::A | Timer::Reliable => Some(last * 2),
            Timer::E | Timer::G | Timer::Accept => Some((last * 2).min(on.t2)),
            Timer::Ringing => Some(last),
            _ => None,
        }
    }
}

/// Whose timer it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Owner {
    Server(u64),
    Client(u64),
    Call(u64),
    Registration(u64),
    Peer(u64),
}

/// All running timers, soonest first; each owner has each timer at most once.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    queue: BTreeSet<(Instant, Owner, Timer)>,
    running: HashMap<(Owner, Timer), (Instant, Duration)>,
    pub(crate) on: Intervals,
}

impl Timers {
    pub(crate) fn start(&mut self, now: Instant, owner: Owner, timer: Timer, transport: Transport) {
        self.start_for(now, owner, timer, timer.first(transport, &self.on));
    }

    pub(crate) fn start_for(&mut self, now: Instant, owner: Owner, timer: Timer, time: Duration) {
        self.stop(owner, timer);
        self.queue.insert((now + time, owner, timer));
        self.running.insert((owner, timer), (now + time, time));
    }

    pub(crate) fn stop(&mut self, owner: Owner, timer: Timer) {
        if let Some((at, _)) = self.running.remove(&(owner, timer)) {
            self.queue.remove(&(at, owner, timer));
        }
    }

    pub(crate) fn stop_each(&mut self, owner: Owner, timers: &[Timer]) {
        for timer in timers {
            self.stop(owner, *timer);
        }
    }

    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        self.queue.first().map(|(at, _, _)| *at)
    }

    /// The next timer due at `now`. One that repeats is started again from `now`: a late owner sends no burst to catch up.
    pub(crate) fn pop(&mut self, now: Instant) -> Option<(Owner, Timer)> {
        let (at, owner, timer) = *self.queue.first().filter(|(at, _, _)| *at <= now)?;
        self.queue.pop_first();
        let (_, gap) = self.running.remove(&(owner, timer)).unwrap_or((at, Duration::ZERO));
        if let Some(next) = timer.next(gap, &self.on).filter(|next| !next.is_zero()) {
            self.start_for(now, owner, timer, next);
        }
        Some((owner, timer))
    }

    pub(crate) fn len(&self) -> usize {
        self.queue.len()
    }
}
