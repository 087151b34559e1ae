//! Where a message came from and where an answer goes: a local and a remote socket address over one transport.

use std::net::SocketAddr;

/// The transport protocol below SIP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Transport {
    /// Datagrams: requests and final answers are repeated by timers.
    Udp,
    /// A stream: reliable, so most timers rest.
    Tcp,
}

impl Transport {
    /// True where the transport itself repeats what was lost.
    pub fn is_reliable(self) -> bool {
        self == Transport::Tcp
    }

    /// As written in a Via: `UDP` or `TCP`.
    pub fn as_str(self) -> &'static str {
        match self {
            Transport::Udp => "UDP",
            Transport::Tcp => "TCP",
        }
    }
}

/// One path between us and a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Flow {
    /// Datagrams or a stream.
    pub transport: Transport,
    /// Our own address as the peer can reach it; it is printed in Via and Contact.
    pub local: SocketAddr,
    /// The peer's socket address.
    pub remote: SocketAddr,
    /// Which stream connection. 0 for UDP, and for a stream whose connection is gone: whoever sends may open another to
    /// `remote`, or report the flow as closed.
    pub connection: u64,
}

/// Bytes to be sent, whole, over one flow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transmit {
    /// Over which socket and to whom.
    pub flow: Flow,
    /// One SIP message.
    pub bytes: Vec<u8>,
}
