//! The pool of RTP port pairs: even RTP, odd RTCP next to it (RFC 3550 §11), and a rest between two calls on one pair.

use std::collections::VecDeque;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, Socket, Type};

/// DSCP "expedited forwarding" (RFC 3246) as a traffic-class byte: voice first.
const EXPEDITED: u32 = 0xb8;

/// Why no pair of ports could be had; a call refused for it is answered 503.
#[derive(Debug, thiserror::Error)]
pub enum NoPorts {
    /// Every pair is in use, resting, or held by a stranger.
    #[error("no free rtp port pair in {first}-{last}")]
    Exhausted {
        /// First port of the range.
        first: u16,
        /// Last port of the range.
        last: u16,
    },
    /// The system gave no socket at all (file descriptors, memory, address).
    #[error("rtp socket on udp {address}: {error}")]
    Refused {
        /// The address that was tried.
        address: SocketAddr,
        /// The system's answer.
        error: io::Error,
    },
}

/// A bound pair of sockets; it goes to rest when dropped.
#[derive(Debug)]
pub struct Ports {
    pub(crate) rtp: UdpSocket,
    pub(crate) rtcp: UdpSocket,
    port: u16,
    released: Sender<u16>,
}

impl Ports {
    /// The even port that receives RTP.
    pub fn rtp_port(&self) -> u16 {
        self.port
    }

    /// The odd port that receives RTCP.
    pub fn rtcp_port(&self) -> u16 {
        self.port + 1
    }
}

impl Drop for Ports {
    // A channel, not the pool's lock: the media thread that drops a leg must never wait for a thread that binds sockets.
    fn drop(&mut self) {
        let _ = self.released.send(self.port);
    }
}

/// How full the pool is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PortCounts {
    /// Pairs that can be handed out now.
    pub free: usize,
    /// Pairs of live legs.
    pub used: usize,
    /// Pairs at rest after a call, or found occupied by a stranger.
    pub resting: usize,
    /// Reservations refused since the start.
    pub refused: u64,
}

/// Hands out pairs round-robin from a random start, so that a late packet of an old call finds nobody.
#[derive(Debug)]
pub(crate) struct Pool {
    bind: IpAddr,
    range: RangeInclusive<u16>,
    draining: Duration,
    shelf: Mutex<Shelf>,
    released: Sender<u16>,
    refused: AtomicU64,
}

#[derive(Debug)]
struct Shelf {
    free: VecDeque<u16>,
    resting: VecDeque<(Instant, u16)>,
    returns: Receiver<u16>,
    used: usize,
}

impl Shelf {
    fn settle(&mut self, now: Instant, draining: Duration) {
        while let Ok(port) = self.returns.try_recv() {
            self.used -= 1;
            self.resting.push_back((now + draining, port));
        }
        while self.resting.front().is_some_and(|(until, _)| *until <= now) {
            self.free.extend(self.resting.pop_front().map(|(_, port)| port));
        }
    }
}

impl Pool {
    /// A pool over the whole pairs inside `range`; a range without one pair is an input error.
    pub(crate) fn new(bind: IpAddr, range: RangeInclusive<u16>, draining: Duration) -> io::Result<Self> {
        let first = u32::from(*range.start()).next_multiple_of(2).max(2);
        let last = u32::from(*range.end());
        let mut free: VecDeque<u16> = (first..last).step_by(2).filter_map(|port| u16::try_from(port).ok()).collect();
        if free.is_empty() {
            let text = format!("rtp ports {}-{last} hold no even/odd pair", range.start());
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        let turn = RandomState::new().hash_one(first) % free.len() as u64;
        free.rotate_left(usize::try_from(turn).unwrap_or(0));
        let (released, returns) = channel();
        Ok(Self {
            bind,
            range,
            draining,
            shelf: Mutex::new(Shelf { free, resting: VecDeque::new(), returns, used: 0 }),
            released,
            refused: AtomicU64::new(0),
        })
    }

    /// Binds the next free pair. Pairs held by strangers are set aside for the draining time.
    pub(crate) fn reserve(&self, now: Instant) -> Result<Ports, NoPorts> {
        let taken = self.take(now);
        if taken.is_err() {
            self.refused.fetch_add(1, Ordering::Relaxed);
        }
        taken
    }

    fn take(&self, now: Instant) -> Result<Ports, NoPorts> {
        let tries = self.shelf(now).free.len();
        for _ in 0..tries {
            // The lock is not held while binding: parallel reservations bind in parallel.
            let port = {
                let mut shelf = self.shelf(now);
                let Some(port) = shelf.free.pop_front() else { break };
                shelf.used += 1;
                port
            };
            match self.bind_pair(port) {
                Ok((rtp, rtcp)) => return Ok(Ports { rtp, rtcp, port, released: self.released.clone() }),
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                    let mut shelf = self.shelf(now);
                    shelf.used -= 1;
                    shelf.resting.push_back((now + self.draining, port));
                }
                Err(error) => {
                    let mut shelf = self.shelf(now);
                    shelf.used -= 1;
                    shelf.free.push_front(port);
                    return Err(NoPorts::Refused { address: SocketAddr::new(self.bind, port), error });
                }
            }
        }
        Err(NoPorts::Exhausted { first: *self.range.start(), last: *self.range.end() })
    }

    pub(crate) fn counts(&self, now: Instant) -> PortCounts {
        let shelf = self.shelf(now);
        PortCounts {
            free: shelf.free.len(),
            used: shelf.used,
            resting: shelf.resting.len(),
            refused: self.refused.load(Ordering::Relaxed),
        }
    }

    fn shelf(&self, now: Instant) -> std::sync::MutexGuard<'_, Shelf> {
        let mut shelf = self.shelf.lock().unwrap_or_else(PoisonError::into_inner);
        shelf.settle(now, self.draining);
        shelf
    }

    fn bind_pair(&self, port: u16) -> io::Result<(UdpSocket, UdpSocket)> {
        Ok((bind(self.bind, port)?, bind(self.bind, port + 1)?))
    }
}

fn bind(address: IpAddr, port: u16) -> io::Result<UdpSocket> {
    let address = SocketAddr::new(address, port);
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    // Marking is a courtesy to the network: a system that forbids it still carries the call.
    if address.is_ipv4() {
        let _ = socket.set_tos_v4(EXPEDITED);
    } else {
        socket.set_only_v6(true)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    Ok(socket.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    const HOME: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
    const REST: Duration = Duration::from_secs(10);

    fn pool(range: RangeInclusive<u16>) -> Pool {
        Pool::new(HOME, range, REST).unwrap()
    }

    #[test]
    fn a_pair_is_even_and_odd_and_bound() {
        let ports = pool(11000..=11019).reserve(Instant::now()).unwrap();
        assert_eq!(ports.rtp_port() % 2, 0);
        assert_eq!(ports.rtp.local_addr().unwrap().port(), ports.rtp_port());
        assert_eq!(ports.rtcp.local_addr().unwrap().port(), ports.rtp_port() + 1);
    }

    #[test]
    fn an_empty_pool_says_so_and_counts() {
        let now = Instant::now();
        let pool = pool(11020..=11023);
        let held = [pool.reserve(now).unwrap(), pool.reserve(now).unwrap()];
        assert!(matches!(pool.reserve(now), Err(NoPorts::Exhausted { first: 11020, last: 11023 })));
        assert_eq!(pool.counts(now), PortCounts { free: 0, used: 2, resting: 0, refused: 1 });
        drop(held);
    }

    #[test]
    fn a_released_pair_rests_before_it_serves_again() {
        let now = Instant::now();
        let pool = pool(11024..=11025);
        let port = pool.reserve(now).unwrap().rtp_port();
        assert!(pool.reserve(now).is_err());
        assert!(pool.reserve(now + REST / 2).is_err());
        assert_eq!(pool.reserve(now + REST).unwrap().rtp_port(), port);
    }

    #[test]
    fn pairs_are_handed_out_in_turn() {
        let now = Instant::now();
        let pool = pool(11030..=11037);
        let held: Vec<_> = (0..4).map(|_| pool.reserve(now).unwrap()).collect();
        for two in held.windows(2) {
            let (before, after) = (two[0].rtp_port(), two[1].rtp_port());
            assert!(after == before + 2 || after == 11030, "{before} then {after}");
        }
    }

    #[test]
    fn a_pair_of_a_stranger_is_stepped_over() {
        let now = Instant::now();
        let _stranger = UdpSocket::bind((HOME, 11041)).unwrap();
        let pool = pool(11040..=11043);
        assert_eq!(pool.reserve(now).unwrap().rtp_port(), 11042);
    }

    #[test]
    fn a_range_without_a_pair_is_refused() {
        assert!(Pool::new(HOME, 11051..=11052, REST).is_err());
    }

    #[test]
    fn the_top_of_the_port_space_does_not_overflow() {
        let pool = pool(65534..=65535);
        assert_eq!(pool.counts(Instant::now()).free, 1);
    }
}
