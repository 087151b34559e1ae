//! The media side of the wire: reserve a pair of ports, open a leg on a media thread, talk to it over a [`Line`].

use std::io;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use media_core::{Dial, Leg, LegConfig, Stats};

pub use crate::media_counts::MediaCounts;
use crate::media_counts::ThreadCounts;
use crate::media_thread::{Order, run};
pub use crate::patch::Patch;
use crate::ports::Pool;
pub use crate::ports::{NoPorts, PortCounts, Ports};
pub use crate::ring::Line;
use crate::ring::line;
use crate::seat::Seat;
pub use crate::seat::Side;
pub use crate::urgent::raise as raise_priority;

/// How media is carried.
#[derive(Debug, Clone)]
pub struct MediaConfig {
    /// Media threads; at least one is started.
    pub threads: usize,
    /// The address the RTP sockets are bound to.
    pub bind: IpAddr,
    /// The address written into SDP.
    pub advertise: IpAddr,
    /// The range RTP and RTCP ports are taken from.
    pub ports: RangeInclusive<u16>,
    /// How long a pair rests after a call, so that late packets do not reach the next one.
    pub draining: Duration,
}

/// The media threads and their ports. Dropping it ends every leg.
#[derive(Debug)]
pub struct Media {
    threads: Vec<Thread>,
    pool: Pool,
    advertise: IpAddr,
    next_id: AtomicU64,
}

#[derive(Debug)]
struct Thread {
    orders: Sender<Order>,
    counts: Arc<ThreadCounts>,
    handle: Option<JoinHandle<()>>,
    urgent: bool,
}

impl Media {
    /// Starts the threads `media-0`, `media-1`, …
    ///
    /// # Errors
    /// A port range without a pair, a bind address that is not ours, or a thread the system did not start.
    pub fn start(config: MediaConfig) -> io::Result<Self> {
        let pool = Pool::new(config.bind, config.ports, config.draining)?;
        // An address that is not ours should be found out at the start, not by the first caller.
        std::net::UdpSocket::bind((config.bind, 0))
            .map_err(|error| io::Error::new(error.kind(), format!("rtp address udp {}: {error}", config.bind)))?;
        let threads = (0..config.threads.max(1)).map(Thread::start).collect::<io::Result<_>>()?;
        Ok(Self { threads, pool, advertise: config.advertise, next_id: AtomicU64::new(1) })
    }

    /// Whether the media threads have real-time priority: without it a busy machine delays packets.
    pub fn is_urgent(&self) -> bool {
        self.threads.iter().all(|thread| thread.urgent)
    }

    /// The address to write into SDP.
    pub fn advertise(&self) -> IpAddr {
        self.advertise
    }

    /// Binds a pair of ports for a call that may come to be.
    ///
    /// # Errors
    /// [`NoPorts`] when the range is used up or the system gives no sockets; both are counted.
    pub fn reserve(&self) -> Result<Ports, NoPorts> {
        self.pool.reserve(Instant::now())
    }

    /// Puts a leg on the media thread that has the fewest.
    pub fn open(&self, ports: Ports, config: LegConfig) -> (Line, LegControl) {
        let (near, far) = line();
        let leg = Leg::new(config, Instant::now());
        let snapshot = Arc::new(Mutex::new(leg.stats()));
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let thread = self.quietest();
        thread.counts.legs.one();
        let seat = Box::new(Seat::new(id, leg, ports, far, Arc::clone(&snapshot)));
        let orders = thread.orders.clone();
        // Fails only while the process ends; the leg is then gone at once and the line says so.
        let _ = orders.send(Order::Open(seat));
        (near, LegControl { id, orders, snapshot })
    }

    /// What the media threads counted.
    pub fn counts(&self) -> MediaCounts {
        let mut sum = MediaCounts::default();
        self.threads.iter().for_each(|thread| sum.add(&thread.counts));
        sum
    }

    /// How full the port pool is.
    pub fn port_counts(&self) -> PortCounts {
        self.pool.counts(Instant::now())
    }

    fn quietest(&self) -> &Thread {
        self.threads.iter().min_by_key(|thread| thread.counts.legs.get()).expect("at least one thread was started")
    }
}

impl Drop for Media {
    fn drop(&mut self) {
        for thread in &self.threads {
            let _ = thread.orders.send(Order::Stop);
        }
        for thread in &mut self.threads {
            if let Some(handle) = thread.handle.take() {
                let _ = handle.join();
            }
        }
    }
}

impl Thread {
    fn start(number: usize) -> io::Result<Self> {
        let (orders, inbox) = channel();
        let counts = Arc::new(ThreadCounts::default());
        let seen = Arc::clone(&counts);
        let (tell, told) = channel();
        let begin = move || {
            let _ = tell.send(raise_priority());
            run(&inbox, &seen);
        };
        let handle = std::thread::Builder::new().name(format!("media-{number}")).spawn(begin)?;
        let urgent = told.recv().unwrap_or(false);
        Ok(Self { orders, counts, handle: Some(handle), urgent })
    }
}

/// The say over one leg, held by the call. Dropping it ends the leg and sends its ports to rest.
#[derive(Debug)]
pub struct LegControl {
    id: u64,
    orders: Sender<Order>,
    snapshot: Arc<Mutex<Stats>>,
}

impl LegControl {
    /// Applies a re-INVITE: new remote address, codec or direction.
    pub fn update(&self, config: LegConfig) {
        let _ = self.orders.send(Order::Update(self.id, Box::new(config)));
    }

    /// From the next tick on the leg sends this instead of its own voice, which waits.
    pub fn patch(&self, patch: Patch) {
        let _ = self.orders.send(Order::Patch(self.id, Some(Box::new(patch))));
    }

    /// The leg sends its own voice again.
    pub fn unpatch(&self) {
        let _ = self.orders.send(Order::Patch(self.id, None));
    }

    /// Silences one side, or lets it be heard again: of the caller nothing is passed on but keys, to the caller nothing is sent but keys.
    pub fn mute(&self, side: Side, on: bool) {
        let _ = self.orders.send(Order::Mute(self.id, side, on));
    }

    /// Presses keys towards the caller.
    pub fn press(&self, dial: Dial) {
        let _ = self.orders.send(Order::Press(self.id, Box::new(dial)));
    }

    /// The leg's statistics, at most 200 ms old.
    pub fn stats(&self) -> Stats {
        *self.snapshot.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for LegControl {
    fn drop(&mut self) {
        let _ = self.orders.send(Order::Close(self.id));
    }
}
