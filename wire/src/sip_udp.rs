//! SIP over UDP (RFC 3261 §18): one socket per listen address, one reader task each.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use sip_stack::{Flow, Transport};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::UdpSocket;
use tokio::sync::mpsc;

use crate::counters::SipTally;

/// Largest UDP payload there is.
const DATAGRAM: usize = 65_535;
/// Asked of the kernel for both directions; it gives what its own limit allows.
const KERNEL_QUEUE: usize = 4 << 20;
/// Remote addresses whose way out is remembered.
const ROUTES: usize = 4096;

/// A datagram on its way to the SIP task: index of the socket, sender, bytes.
pub(crate) struct Datagram {
    pub(crate) socket: usize,
    pub(crate) from: SocketAddr,
    pub(crate) bytes: Box<[u8]>,
}

/// Binds one listen address; the error names transport and address.
pub(crate) fn bind(address: SocketAddr) -> io::Result<UdpSocket> {
    open(address).map_err(|error| named(&error, "udp", address))
}

fn open(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    let _ = socket.set_recv_buffer_size(KERNEL_QUEUE);
    let _ = socket.set_send_buffer_size(KERNEL_QUEUE);
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    UdpSocket::from_std(socket.into())
}

/// Says which listen address an error belongs to.
pub(crate) fn named(error: &io::Error, transport: &str, address: SocketAddr) -> io::Error {
    io::Error::new(error.kind(), format!("sip {transport} {address}: {error}"))
}

/// Reads datagrams until the SIP task is gone. When that task is behind, datagrams are dropped here, as the network
/// would: the sender repeats what matters.
pub(crate) async fn read(index: usize, socket: Arc<UdpSocket>, inbox: mpsc::Sender<Datagram>, tally: Arc<SipTally>) {
    let mut buffer = vec![0; DATAGRAM];
    loop {
        // An error here is an ICMP answer to one of our own datagrams: the transaction's timer deals with it.
        let Ok((length, from)) = socket.recv_from(&mut buffer).await else {
            tokio::task::yield_now().await;
            continue;
        };
        tally.received.one();
        if let Some(answer) = crate::stun::answer(&buffer[..length], from) {
            let _ = socket.try_send_to(&answer, from);
            continue;
        }
        match inbox.try_send(Datagram { socket: index, from, bytes: buffer[..length].into() }) {
            Ok(()) => {}
            Err(mpsc::error::TrySendError::Full(_)) => tally.overrun.one(),
            Err(mpsc::error::TrySendError::Closed(_)) => return,
        }
    }
}

/// The UDP sockets of the SIP task.
pub(crate) struct UdpSockets {
    sockets: Vec<(SocketAddr, Arc<UdpSocket>)>,
    routes: Routes,
}

impl UdpSockets {
    pub(crate) fn new(sockets: Vec<(SocketAddr, Arc<UdpSocket>)>) -> Self {
        Self { sockets, routes: Routes::default() }
    }

    /// The flow a datagram came over.
    pub(crate) fn flow(&mut self, datagram: &Datagram) -> Flow {
        let bound = self.sockets[datagram.socket].0;
        let local = self.routes.local(bound, datagram.from);
        Flow { transport: Transport::Udp, local, remote: datagram.from, connection: 0 }
    }

    /// A flow towards a peer that has not written to us: over the socket of `local` if that is one, else over the
    /// first of the right address family.
    pub(crate) fn flow_to(&mut self, remote: SocketAddr) -> Option<Flow> {
        let (bound, _) = self.sockets.iter().find(|(bound, _)| bound.is_ipv4() == remote.is_ipv4())?;
        let local = self.routes.local(*bound, remote);
        Some(Flow { transport: Transport::Udp, local, remote, connection: 0 })
    }

    /// A listen address of ours as this peer sees it.
    pub(crate) fn local_towards(&mut self, bound: SocketAddr, remote: SocketAddr) -> SocketAddr {
        self.routes.local(bound, remote)
    }

    /// Sends one message.
    pub(crate) async fn send(&self, flow: &Flow, bytes: &[u8]) -> io::Result<()> {
        let family = |bound: &SocketAddr| bound.is_ipv4() == flow.remote.is_ipv4();
        let socket = self
            .sockets
            .iter()
            .find(|(bound, _)| *bound == flow.local)
            .or_else(|| {
                self.sockets.iter().find(|(bound, _)| {
                    family(bound) && bound.port() == flow.local.port() && bound.ip().is_unspecified()
                })
            })
            .or_else(|| self.sockets.iter().find(|(bound, _)| family(bound)))
            .map(|(_, socket)| socket)
            .ok_or(io::ErrorKind::AddrNotAvailable)?;
        socket.send_to(bytes, flow.remote).await.map(|_| ())
    }
}

/// Which of our addresses a peer sees when we listen on the wildcard. Via, Contact and SDP must name it, so the
/// kernel's routing table is asked (connecting a datagram socket sends nothing) and the answer is kept.
#[derive(Default)]
pub(crate) struct Routes(HashMap<IpAddr, IpAddr>);

impl Routes {
    pub(crate) fn local(&mut self, bound: SocketAddr, remote: SocketAddr) -> SocketAddr {
        if !bound.ip().is_unspecified() {
            return bound;
        }
        // Forged sources must not make the table grow; starting over costs three system calls a peer.
        if self.0.len() >= ROUTES {
            self.0.clear();
        }
        let ip = *self.0.entry(remote.ip()).or_insert_with(|| source_towards(remote).unwrap_or(bound.ip()));
        SocketAddr::new(ip, bound.port())
    }
}

fn source_towards(remote: SocketAddr) -> io::Result<IpAddr> {
    let any: IpAddr = if remote.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = std::net::UdpSocket::bind((any, 0))?;
    socket.connect(remote)?;
    Ok(socket.local_addr()?.ip())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wildcard_is_replaced_by_the_address_the_peer_sees() {
        let mut routes = Routes::default();
        let bound = "0.0.0.0:5060".parse().unwrap();
        let peer = "127.0.0.1:5090".parse().unwrap();
        assert_eq!(routes.local(bound, peer), "127.0.0.1:5060".parse().unwrap());
        let fixed = "127.0.0.2:5060".parse().unwrap();
        assert_eq!(routes.local(fixed, peer), fixed);
    }

    #[test]
    fn forged_sources_do_not_make_the_table_grow() {
        let mut routes = Routes::default();
        let bound = "0.0.0.0:5060".parse().unwrap();
        for n in 0..5000u32 {
            let peer = SocketAddr::new(Ipv4Addr::from_bits(0x7f00_0000 + n).into(), 5060);
            routes.local(bound, peer);
        }
        assert!(routes.0.len() <= ROUTES);
    }
}
