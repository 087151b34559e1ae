//! Where a message came from and where an answer goes: a local and a remote socket address over one transport.

use std::net::SocketAddr;

/// The transport protocol below SIP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Transport {
    /// Datagrams: requests and final answers are repeated by timers.
    Udp,
    /// A stream: reliable, so most timers rest.
    Tcp,
    /// A stream inside TLS.
    Tls,
    /// Messages of a WebSocket (RFC 7118).
    Ws,
    /// Messages of a WebSocket inside TLS.
    Wss,
}

impl Transport {
    /// True where the transport itself repeats what was lost.
    pub fn is_reliable(self) -> bool {
        self != Transport::Udp
    }

    /// As written in a Via: `UDP`, `TCP`, `TLS`, `WS` or `WSS`.
    pub fn as_str(self) -> &'static str {
        match self {
            Transport::Udp => "UDP",
            Transport::Tcp => "TCP",
            Transport::Tls => "TLS",
            Transport::Ws => "WS",
            Transport::Wss => "WSS",
        }
    }

    /// The transport of a `transport=` parameter, whatever its case.
    pub fn of(name: &str) -> Option<Self> {
        [Transport::Udp, Transport::Tcp, Transport::Tls, Transport::Ws, Transport::Wss]
            .into_iter()
            .find(|transport| transport.as_str().eq_ignore_ascii_case(name))
    }

    /// The port that is meant when none is written (RFC 3261 §19.1.2, RFC 7118 §8).
    pub fn default_port(self) -> u16 {
        match self {
            Transport::Udp | Transport::Tcp => 5060,
            Transport::Tls => 5061,
            Transport::Ws => 80,
            Transport::Wss => 443,
        }
    }

    /// The parameter that a Contact needs, so that the peer comes back the same way.
    pub(crate) fn param(self) -> &'static str {
        match self {
            Transport::Udp => "",
            Transport::Tcp => ";transport=tcp",
            Transport::Tls => ";transport=tls",
            Transport::Ws => ";transport=ws",
            Transport::Wss => ";transport=wss",
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

impl Flow {
    /// Whether what goes over `other` goes over this: they are the same, or `other` leaves the connection open and this leads to the
    /// same place.
    pub(crate) fn answers(&self, other: &Flow) -> bool {
        self == other
            || (self.transport.is_reliable()
                && other.connection == 0
                && (self.transport, self.remote) == (other.transport, other.remote))
    }
}

/// Bytes to be sent, whole, over one flow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transmit {
    /// Over which socket and to whom.
    pub flow: Flow,
    /// One SIP message.
    pub bytes: Vec<u8>,
}
