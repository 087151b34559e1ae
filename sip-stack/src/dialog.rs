//! A dialog: tags, sequence numbers both ways, remote target and route set (RFC 3261 §12).

use std::net::SocketAddr;

use crate::flow::Flow;
use crate::message::{Address, Message, Name, Printer, Uri};

/// What two user agents must remember of each other.
#[derive(Debug, Clone)]
pub(crate) struct Dialog {
    pub(crate) call_id: Vec<u8>,
    pub(crate) remote_tag: Vec<u8>,
    /// The last path the peer used.
    pub(crate) flow: Flow,
    /// The last sequence number of the peer.
    pub(crate) remote_sequence: u32,
    local_sequence: u32,
    /// Our From value, tag included.
    local: Vec<u8>,
    /// Our To value, tag included.
    remote: Vec<u8>,
    target: Vec<u8>,
    routes: Vec<Vec<u8>>,
    /// The peer's Via named another address than its packets came from: its Contact cannot be reached.
    behind_nat: bool,
}

fn with_tag(value: &[u8], tag: &str) -> Vec<u8> {
    [value, b";tag=", tag.as_bytes()].concat()
}

/// What a Via in front of our requests says.
pub(crate) fn via(flow: &Flow, branch: &str) -> String {
    format!("SIP/2.0/{} {};rport;branch={branch}", flow.transport.as_str(), flow.local)
}

impl Dialog {
    /// Ours, when the peer's INVITE was answered with our tag.
    pub(crate) fn as_server(invite: &Message, tag: &str, flow: Flow) -> Self {
        let to = invite.header(Name::To).unwrap_or_default();
        let direct = invite.headers(Name::RecordRoute).next().is_none();
        let sent_by = invite.top_via().and_then(|via| via.host_ip());
        let behind_nat = direct && sent_by.is_some_and(|host| host != flow.remote.ip());
        Dialog {
            call_id: invite.call_id().unwrap_or_default().to_vec(),
            remote_tag: invite.from_tag().to_vec(),
            flow,
            remote_sequence: invite.cseq().map_or(0, |cseq| cseq.number),
            local_sequence: 0,
            local: with_tag(to, tag),
            remote: invite.header(Name::From).unwrap_or_default().to_vec(),
            // RFC 2543 callers may send no Contact.
            target: invite.contact().or(invite.from().map(|from| from.uri)).unwrap_or_default().to_vec(),
            routes: invite.elements(Name::RecordRoute).map(<[u8]>::to_vec).collect(),
            behind_nat,
        }
    }

    /// Ours, when the peer answered our INVITE; its routes count from the far end (RFC 3261 §12.1.2).
    pub(crate) fn as_client(invite: &Message, answer: &Message, flow: Flow) -> Self {
        let mut routes: Vec<Vec<u8>> = answer.elements(Name::RecordRoute).map(<[u8]>::to_vec).collect();
        routes.reverse();
        Dialog {
            call_id: invite.call_id().unwrap_or_default().to_vec(),
            remote_tag: answer.to_tag().unwrap_or_default().to_vec(),
            flow,
            remote_sequence: 0,
            local_sequence: invite.cseq().map_or(1, |cseq| cseq.number),
            local: invite.header(Name::From).unwrap_or_default().to_vec(),
            remote: answer.header(Name::To).unwrap_or_default().to_vec(),
            target: answer.contact().unwrap_or(invite.request_uri()).to_vec(),
            routes,
            behind_nat: false,
        }
    }

    /// True when a request carries this dialog's Call-ID and remote tag.
    pub(crate) fn is_of(&self, request: &Message) -> bool {
        request.call_id() == Some(self.call_id.as_slice()) && request.from_tag() == self.remote_tag
    }

    /// A target refresh by a request or an answer (RFC 3261 §12.2.1.2, §12.2.2).
    pub(crate) fn refresh(&mut self, request: &Message) {
        if let Some(contact) = request.contact() {
            self.target = contact.to_vec();
        }
    }

    /// The next request of ours, with everything the dialog knows.
    pub(crate) fn request(&mut self, method: &str, branch: &str) -> (Printer, Flow) {
        self.local_sequence += 1;
        self.print(method, self.local_sequence, branch)
    }

    /// The ACK of a 2xx to our INVITE of that sequence number.
    pub(crate) fn ack(&self, sequence: u32, branch: &str) -> (Printer, Flow) {
        self.print("ACK", sequence, branch)
    }

    /// A sequence number for a request that is made from an earlier one.
    pub(crate) fn next_sequence(&mut self) -> u32 {
        self.local_sequence += 1;
        self.local_sequence
    }

    /// Goes on counting where the same dialog counted while it was early.
    pub(crate) fn count_on(&mut self, early: &Dialog) {
        self.local_sequence = self.local_sequence.max(early.local_sequence);
        self.remote_sequence = self.remote_sequence.max(early.remote_sequence);
    }

    /// Our tag, as our From carries it.
    pub(crate) fn local_tag(&self) -> String {
        let tag = Address::parse(&self.local).and_then(|local| local.params.get("tag"));
        String::from_utf8_lossy(tag.unwrap_or_default()).into_owned()
    }

    /// Our own address, without the tag.
    pub(crate) fn local_uri(&self) -> String {
        let uri = Address::parse(&self.local).map(|local| local.uri).unwrap_or_default();
        String::from_utf8_lossy(uri).into_owned()
    }

    /// What stands in the first line of our next request: the target, or a strict router before it.
    pub(crate) fn request_uri(&self) -> String {
        String::from_utf8_lossy(self.strict().map_or(self.target.as_slice(), |route| route.uri)).into_owned()
    }

    /// RFC 3261 §12.2.1.1: a first route without `lr` is a strict router and becomes the Request-URI.
    fn strict(&self) -> Option<Address<'_>> {
        let first = self.routes.first().and_then(|route| Address::parse(route));
        first.filter(|route| Uri::parse(route.uri).is_ok_and(|uri| uri.param("lr").is_none()))
    }

    fn print(&self, method: &str, sequence: u32, branch: &str) -> (Printer, Flow) {
        let flow = self.next_hop();
        let strict = self.strict();
        let uri = strict.map_or(self.target.as_slice(), |route| route.uri);
        let mut printer = Printer::request(method.as_bytes(), uri);
        printer.header(Name::Via, via(&flow, branch)).header(Name::MaxForwards, "70");
        for route in self.routes.iter().skip(usize::from(strict.is_some())) {
            printer.header(Name::Route, route);
        }
        if strict.is_some() {
            printer.header(Name::Route, [b"<", self.target.as_slice(), b">"].concat());
        }
        printer
            .header(Name::From, &self.local)
            .header(Name::To, &self.remote)
            .header(Name::CallId, &self.call_id)
            .header(Name::CSeq, format!("{sequence} {method}"));
        (printer, flow)
    }

    /// Where our requests go: the first route or the target when it is a literal address, otherwise back the way the
    /// peer came. A stream is used as it stands: the peer's Contact names the port it listens on, not the connection.
    fn next_hop(&self) -> Flow {
        if self.flow.transport.is_reliable() || (self.behind_nat && self.routes.is_empty()) {
            return self.flow;
        }
        let uri = match self.routes.first() {
            Some(route) => Address::parse(route).map(|route| route.uri),
            None => Some(self.target.as_slice()),
        };
        let address = uri.and_then(|uri| Uri::parse(uri).ok()).and_then(|uri| {
            let ip = uri.host_ip()?;
            let usable = ip.is_ipv4() == self.flow.local.is_ipv4() && !ip.is_unspecified() && !ip.is_multicast();
            usable.then(|| SocketAddr::new(ip, uri.port().filter(|port| *port != 0).unwrap_or(5060)))
        });
        Flow { remote: address.unwrap_or(self.flow.remote), ..self.flow }
    }
}
