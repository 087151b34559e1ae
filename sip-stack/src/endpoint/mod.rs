//! The endpoint: bytes, timers and wishes in; bytes, timers and events out.

mod arrival;
mod body;
mod call;
mod change;
mod guard;
mod health;
mod incoming;
mod inside;
mod outgoing;
mod refer;
mod register;
mod reliable;
mod retry;
mod session;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use arrival::Arrival;
use call::{Call, Exchange, Incoming, Leaving, Live, Outgoing};
use guard::{ALLOW, Refused, SUPPORTED};

use crate::auth::ClientAuth;
use crate::bouncer::{Bouncer, BouncerConfig, Manner};
use crate::event::{CallHandle, Cause, Event};
use crate::flow::{Flow, Transmit};
use crate::message::{Message, Method, Name, Printer};
use crate::random::Random;
use crate::refusal::Refusal;
use crate::timer::{Intervals, Owner, Timer};
use crate::transaction::{
    AckFate, Client, ClientKind, Errand, Fate, InviteClient, InviteServer, MergeKey, OtherServer, Outbox, Received,
    Server, ServerKey, ServerKind, client_key,
};

/// How an endpoint presents itself and what it takes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndpointConfig {
    /// The Server and User-Agent header; `None` tells strangers nothing.
    pub user_agent: Option<String>,
    /// The user part of our Contact.
    pub contact_user: String,
    /// Requests longer than this over UDP use compact header names, in bytes (RFC 3261 §18.1.1).
    pub udp_mtu: usize,
    /// 100 Trying is sent when no other answer was, after this time. Below 200 ms it may be left out (RFC 3261
    /// §17.2.1): a quick refusal then needs no repetition, and a forged source gets no more than it sent.
    pub trying_after: Duration,
    /// Calls at one time; the next is refused with 503 (RFC 3261 §21.5.4).
    pub max_calls: usize,
    /// What Retry-After says in a 503, in seconds.
    pub retry_after: u32,
    /// T1, T2 and T4.
    pub intervals: Intervals,
    /// How often a session must prove that it lives (RFC 4028 §4); zero asks for nothing and grants what is asked.
    pub session_expires: Duration,
    /// The shortest such interval that is accepted; RFC 4028 §5 allows none below 90 s.
    pub min_se: Duration,
    /// Early media goes out reliably to callers that can take it (RFC 3262).
    pub reliable_early_media: bool,
    /// Requests that are longer than `udp_mtu` even with compact names go by TCP, and by UDP when that fails
    /// (RFC 3261 §18.1.1).
    pub large_by_tcp: bool,
    /// A path that says nothing for so long is given up for the next, if there is one (RFC 3263 §4.3).
    pub failover_after: Duration,
    /// When sources that only knock are throttled and shut out; `None` lets them knock.
    pub bouncer: Option<BouncerConfig>,
}

impl Default for EndpointConfig {
    fn default() -> Self {
        EndpointConfig {
            user_agent: None,
            contact_user: "sidetone".to_owned(),
            udp_mtu: 1300,
            trying_after: Duration::from_millis(200),
            max_calls: 100_000,
            retry_after: 5,
            intervals: Intervals::default(),
            session_expires: Duration::from_secs(1800),
            min_se: Duration::from_secs(90),
            reliable_early_media: true,
            large_by_tcp: false,
            failover_after: Duration::from_secs(5),
            bouncer: None,
        }
    }
}

/// How much an answer says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fullness {
    /// Everything that helps an engineer.
    Rich,
    /// Compact names, nothing that may be left out.
    Plain,
    /// Not even what should be there but need not.
    Bare,
}

/// What was received and led to nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counters {
    /// Not SIP, or not answerable.
    pub malformed: u64,
    /// Requests refused by the stack itself.
    pub refused: u64,
    /// Responses and ACKs that belong to nothing.
    pub stray: u64,
    /// Messages of sources that are throttled or shut out.
    pub dropped: u64,
}

/// The timers that end with their call.
const OF_A_CALL: [Timer; 12] = [
    Timer::Trying,
    Timer::Ringing,
    Timer::Expires,
    Timer::Accept,
    Timer::NoAck,
    Timer::Cancelled,
    Timer::Reliable,
    Timer::NoPrack,
    Timer::Refresh,
    Timer::Expired,
    Timer::Glare,
    Timer::Failover,
];

/// A SIP user agent for any number of calls.
#[derive(Debug)]
pub struct Endpoint {
    config: EndpointConfig,
    random: Random,
    out: Outbox,
    events: VecDeque<Event>,
    servers: HashMap<u64, Server>,
    server_keys: HashMap<ServerKey, u64>,
    merge_keys: HashMap<MergeKey, u64>,
    clients: HashMap<u64, Client>,
    client_keys: HashMap<(Vec<u8>, Vec<u8>), u64>,
    calls: HashMap<u64, Call>,
    /// Our tag to the call that has it.
    tags: HashMap<Vec<u8>, u64>,
    /// Credentials, by call or registration.
    auths: HashMap<u64, ClientAuth>,
    bouncer: Option<Bouncer>,
    bindings: BTreeMap<u64, register::Binding>,
    peers: BTreeMap<u64, health::Watched>,
    last_id: u64,
    draining: bool,
    counters: Counters,
}

impl Endpoint {
    /// An endpoint without calls. The seed makes tags and branches; it must be secret and new for each process.
    pub fn new(config: EndpointConfig, seed: u64) -> Self {
        let mut out = Outbox::default();
        out.timers.on = config.intervals;
        let bouncer = config.bouncer.clone().map(Bouncer::new);
        Endpoint {
            config,
            random: Random::new(seed),
            out,
            events: VecDeque::new(),
            servers: HashMap::new(),
            server_keys: HashMap::new(),
            merge_keys: HashMap::new(),
            clients: HashMap::new(),
            client_keys: HashMap::new(),
            calls: HashMap::new(),
            tags: HashMap::new(),
            auths: HashMap::new(),
            bouncer,
            bindings: BTreeMap::new(),
            peers: BTreeMap::new(),
            last_id: 0,
            draining: false,
            counters: Counters::default(),
        }
    }

    /// One datagram, or one message cut out of a stream.
    pub fn handle_receive(&mut self, now: Instant, from: Flow, bytes: &[u8]) {
        let manner = self.bouncer.as_mut().map_or(Manner::Polite, |bouncer| bouncer.manner(now, from.remote.ip()));
        if manner == Manner::Shut {
            self.counters.dropped += 1;
            return;
        }
        match Message::parse(bytes) {
            // Inside a call everybody is heard: who was let in once may have a stranger for a neighbour.
            Ok(message) if manner == Manner::Silent && message.is_request() && message.to_tag().is_none() => {
                self.counters.dropped += 1;
                self.offended(now, from.remote.ip());
            }
            Ok(message) if message.is_request() => {
                let refused = self.counters.refused;
                self.handle_request(now, Arrival { message, from });
                if self.counters.refused > refused {
                    self.offended(now, from.remote.ip());
                }
            }
            Ok(message) if message.flaw().is_none() => self.handle_response(now, from, &message),
            Ok(_) | Err(_) => self.counters.malformed += 1,
        }
    }

    /// Counts a refusal against its source, and says so when it was one too many.
    pub(super) fn offended(&mut self, now: Instant, source: IpAddr) {
        if let Some(duration) = self.bouncer.as_mut().and_then(|bouncer| bouncer.offend(now, source)) {
            self.events.push_back(Event::Banned { source, duration });
        }
    }

    /// Forgives a source one refusal: what came after it proved that it was owed, as a challenge is.
    pub fn pardon(&mut self, source: IpAddr) {
        if let Some(bouncer) = self.bouncer.as_mut() {
            bouncer.pardon(source);
        }
    }

    /// Networks whose refusals are not counted, instead of those known so far.
    pub fn exempt(&mut self, networks: Vec<(IpAddr, u8)>) {
        if let Some(bouncer) = self.bouncer.as_mut() {
            bouncer.exempt(networks);
        }
    }

    /// The head of a stream message that is too long to be read: the sender is told so (RFC 3261 §21.5.7) before its
    /// connection is closed, for nobody can say where the next message begins.
    pub fn handle_oversized(&mut self, from: Flow, head: &[u8]) {
        match Message::parse(head) {
            Ok(message) if message.is_request() && message.top_via().is_some() => {
                self.refuse(&Arrival { message, from }, &Refusal::new(513).into());
            }
            Ok(_) | Err(_) => self.counters.malformed += 1,
        }
    }

    /// A stream connection is gone, or sending over this flow failed.
    pub fn handle_closed(&mut self, now: Instant, flow: Flow) {
        let mut clients: Vec<u64> =
            self.clients.iter().filter(|(_, client)| flow.answers(&client.flow)).map(|(id, _)| *id).collect();
        clients.sort_unstable();
        for id in clients {
            self.lose_client(now, id, 503);
        }
        let mut servers: Vec<u64> =
            self.servers.iter().filter(|(_, server)| server.flow == flow).map(|(id, _)| *id).collect();
        servers.sort_unstable();
        for id in servers {
            self.lose_server(id);
        }
        self.rebind(now, flow);
        if flow.transport.is_reliable() {
            for call in self.calls.values_mut() {
                if let Call::Live(live) = call
                    && live.dialog.flow == flow
                {
                    live.dialog.flow.connection = 0;
                }
            }
        }
    }

    /// Time has come for `poll_timeout`.
    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some((owner, timer)) = self.out.timers.pop(now) {
            match owner {
                Owner::Server(id) => {
                    let Some(server) = self.servers.get_mut(&id) else {
                        continue;
                    };
                    if server.handle_timer(&mut self.out, timer) != Fate::Lives {
                        self.close_server(id);
                    }
                }
                Owner::Client(id) => {
                    let Some(client) = self.clients.get_mut(&id) else {
                        continue;
                    };
                    match client.handle_timer(&mut self.out, timer) {
                        Fate::Lives => {}
                        Fate::Done => self.close_client(id),
                        Fate::TimedOut => self.lose_client(now, id, 408),
                    }
                }
                Owner::Call(id) => self.handle_call_timer(now, id, timer),
                Owner::Registration(id) => self.send_register(now, id),
                Owner::Peer(id) => self.send_ping(now, id),
            }
        }
    }

    /// When `handle_timeout` wants to be called next.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.out.timers.next_timeout()
    }

    /// The next bytes to send.
    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        self.out.transmits.pop_front()
    }

    /// The next event.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// While draining, OPTIONS and new calls are answered 503; calls that run go on.
    pub fn drain(&mut self, on: bool) {
        self.draining = on;
    }

    /// The Call-ID of a call that has not ended: what logs and traces of both sides share.
    pub fn call_id(&self, call: CallHandle) -> Option<String> {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        match self.calls.get(&call.0)? {
            Call::Incoming(incoming) => incoming.invite.message.call_id().map(text),
            Call::Outgoing(outgoing) => {
                let request = &self.clients.get(&outgoing.client)?.request;
                Message::parse(request.as_slice()).ok()?.call_id().map(text)
            }
            Call::Live(live) => Some(text(&live.dialog.call_id)),
            Call::Leaving(leaving) => Some(text(&leaving.dialog.call_id)),
        }
    }

    /// Calls of which no `Ended` was told yet, and calls whose last BYE is still on its way.
    pub fn call_count(&self) -> usize {
        self.calls.len()
    }

    /// Everything that is still remembered: calls, transactions and timers. 0 means nothing leaked.
    pub fn residue(&self) -> usize {
        self.calls.len()
            + self.servers.len()
            + self.clients.len()
            + self.tags.len()
            + self.auths.len()
            + self.merge_keys.len()
            + self.server_keys.len()
            + self.client_keys.len()
            + self.out.timers.len()
    }

    /// What was received and led to nothing, since the start.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    fn fresh_id(&mut self) -> u64 {
        self.last_id += 1;
        self.last_id
    }

    fn contact(&self, flow: &Flow) -> String {
        format!("<sip:{}@{}{}>", self.config.contact_user, flow.local, flow.transport.param())
    }

    /// Headers that may be left out when an answer must be small.
    fn decorate(&self, printer: &mut Printer) {
        if let Some(agent) = &self.config.user_agent {
            printer.header(Name::Server, agent);
        }
    }

    fn tell_end(&mut self, id: u64, cause: Cause) {
        self.events.push_back(Event::Ended { call: CallHandle(id), cause });
    }

    fn handle_request(&mut self, now: Instant, arrival: Arrival) {
        let request = &arrival.message;
        let (Some(via), Some(method)) = (request.top_via(), request.method()) else {
            self.counters.malformed += 1;
            return;
        };
        let key = ServerKey::of(request, &via);
        if let Some((id, server)) = self.server_keys.get(&key).and_then(|id| Some((*id, self.servers.get_mut(id)?))) {
            match (method, &mut server.kind) {
                (Method::Ack, ServerKind::Invite(invite)) => {
                    let flow = server.flow;
                    if invite.handle_ack(now, &mut self.out, Owner::Server(id), flow) == AckFate::Absorbed {
                        return;
                    }
                }
                _ => return server.handle_repeat(&mut self.out),
            }
        }
        if let Err(refused) = guard::check(request) {
            return self.refuse(&arrival, &refused);
        }
        match (method, request.to_tag()) {
            (Method::Ack, _) => self.handle_ack(now, &arrival),
            (Method::Cancel, _) => self.handle_cancel(now, arrival),
            (_, Some(_)) => self.handle_inside(now, arrival),
            (Method::Invite, None) => self.handle_invite(now, arrival),
            (Method::Options, None) => self.handle_options(&arrival),
            // RFC 3515 §2.4.4 would allow it; a stranger who makes us call somebody is what nobody wants.
            (Method::Refer, None) => self.refuse(&arrival, &Refusal::because(403, "Not in a Call").into()),
            (_, None) => self.refuse(&arrival, &Refusal::new(481).into()),
        }
    }

    /// Answers once and keeps nothing: the same request again gets the same answer (RFC 3261 §8.2.7).
    fn refuse(&mut self, arrival: &Arrival, refused: &Refused) {
        let request = &arrival.message;
        self.counters.refused += 1;
        if request.method() == Some(Method::Ack) {
            return;
        }
        let tag = self.stateless_tag(request);
        let bytes = self.sized(request, |stack, fullness| {
            let refusal = &refused.refusal;
            let mut printer = arrival.answer(refusal.status, &refusal.reason, Some(&tag), fullness != Fullness::Rich);
            // An Allow is owed (RFC 3261 §21.4.6), but not to whom it would make us a weapon against.
            if let Some((name, value)) =
                refused.header.as_deref().filter(|(name, _)| fullness != Fullness::Bare || *name != Name::Allow)
            {
                printer.header(*name, value);
            }
            stack.explain(&mut printer, refusal, &arrival.from, fullness == Fullness::Rich);
            printer.finish()
        });
        self.out.send(arrival.answer_flow(), &bytes);
    }

    fn stateless_tag(&self, request: &Message) -> String {
        let sequence = request.header(Name::CSeq).unwrap_or_default();
        let parts = [request.call_id().unwrap_or_default(), request.from_tag(), sequence];
        format!("{:016x}", self.random.of(&parts))
    }

    /// An answer to a stranger stays below 1.5 times his request where it can, lest a forged source makes us a weapon.
    fn sized(&self, request: &Message, print: impl Fn(&Self, Fullness) -> Vec<u8>) -> Vec<u8> {
        for fullness in [Fullness::Rich, Fullness::Plain] {
            let bytes = print(self, fullness);
            if bytes.len() * 2 <= request.size() * 3 {
                return bytes;
            }
        }
        print(self, Fullness::Bare)
    }

    fn explain(&self, printer: &mut Printer, refusal: &Refusal, flow: &Flow, rich: bool) {
        for challenge in &refusal.challenges {
            let name = if refusal.status == 407 { Name::ProxyAuthenticate } else { Name::WwwAuthenticate };
            printer.header(name, challenge.to_string());
        }
        if let Some(seconds) = refusal.retry_after {
            printer.header(Name::RetryAfter, seconds.to_string());
        }
        if let Some(warning) = &refusal.warning {
            let text: String = warning.text.chars().filter(|letter| !matches!(letter, '"' | '\\')).collect();
            printer.header(Name::Warning, format!("{} {} \"{text}\"", warning.code.clamp(100, 999), flow.local));
        }
        if rich {
            self.decorate(printer);
        }
    }

    /// OPTIONS from outside: the carrier asks whether we live (RFC 3261 §11.2).
    fn handle_options(&mut self, arrival: &Arrival) {
        if self.draining {
            return self.refuse(arrival, &Refusal::new(503).into());
        }
        let request = &arrival.message;
        let tag = self.stateless_tag(request);
        let bytes = self.sized(request, |stack, fullness| {
            let mut printer = arrival.answer(200, "OK", Some(&tag), fullness != Fullness::Rich);
            if fullness != Fullness::Bare {
                stack.abilities(&mut printer, fullness == Fullness::Rich);
            }
            printer.finish()
        });
        self.out.send(arrival.answer_flow(), &bytes);
    }

    fn abilities(&self, printer: &mut Printer, rich: bool) {
        printer.header(Name::Allow, ALLOW).header(Name::Accept, body::ACCEPT);
        if rich {
            printer.header(Name::AcceptEncoding, "identity").header(Name::AcceptLanguage, "en");
            printer.header(Name::Supported, SUPPORTED);
            self.decorate(printer);
        }
    }

    fn open_server(&mut self, arrival: &Arrival, call: Option<u64>, tag: &str) -> Option<u64> {
        let request = &arrival.message;
        let key = ServerKey::of(request, &request.top_via()?);
        let merge = MergeKey::of(request);
        let id = self.fresh_id();
        let kind = if request.method() == Some(Method::Invite) {
            self.merge_keys.insert(merge.clone(), id);
            ServerKind::Invite(InviteServer::Proceeding { last: None })
        } else {
            ServerKind::Other(OtherServer::Trying)
        };
        self.server_keys.insert(key.clone(), id);
        let server = Server { key, merge, flow: arrival.answer_flow(), kind, call, tag: tag.to_owned() };
        self.servers.insert(id, server);
        Some(id)
    }

    fn respond(&mut self, now: Instant, id: u64, status: u16, answer: Vec<u8>) {
        if let Some(server) = self.servers.get_mut(&id) {
            server.respond(now, &mut self.out, Owner::Server(id), status, answer);
        }
    }

    fn close_server(&mut self, id: u64) {
        let Some(server) = self.servers.remove(&id) else {
            return;
        };
        self.server_keys.remove(&server.key);
        if self.merge_keys.get(&server.merge) == Some(&id) {
            self.merge_keys.remove(&server.merge);
        }
        self.out.timers.stop_each(Owner::Server(id), &[Timer::G, Timer::H, Timer::I, Timer::J, Timer::L]);
    }

    /// Nobody can be answered any more: a call that is not answered yet ends, others are none the worse.
    fn lose_server(&mut self, id: u64) {
        let call = self.servers.get(&id).and_then(|server| server.call);
        self.close_server(id);
        let Some(call) = call else { return };
        match self.calls.get_mut(&call) {
            Some(Call::Incoming(incoming)) if incoming.server == id => {
                self.forget(call);
                self.tell_end(call, Cause::Timeout);
            }
            Some(Call::Live(live)) if matches!(&live.exchange, Exchange::Asked { server, .. } if *server == id) => {
                live.exchange = Exchange::Quiet;
            }
            _ => {}
        }
    }

    fn open_client(&mut self, id: u64, mut client: Client, call: Option<u64>) {
        client.call = call;
        self.client_keys.insert(client.key.clone(), id);
        self.clients.insert(id, client);
    }

    fn close_client(&mut self, id: u64) {
        let Some(client) = self.clients.remove(&id) else {
            return;
        };
        self.client_keys.remove(&client.key);
        let all = [Timer::A, Timer::B, Timer::D, Timer::E, Timer::F, Timer::K, Timer::M];
        self.out.timers.stop_each(Owner::Client(id), &all);
    }

    /// No answer, which counts as 408, or no connection to get one by, which counts as 503 (RFC 3261 §8.1.3.1).
    fn lose_client(&mut self, now: Instant, id: u64, status: u16) {
        let Some(client) = self.clients.get(&id) else { return };
        let (call, errand, calling) = (client.call, client.errand, client.is_unheard());
        let done = client.is_done();
        if calling && self.fail_over(now, id) {
            return self.close_client(id);
        }
        if done {
            // Its answer has come; only repetitions were still expected.
            return self.close_client(id);
        }
        match errand {
            Errand::Register(binding) => self.handle_register_answer(now, binding, id, None),
            // A peer tells by its status whether it answered at all.
            Errand::Ping(peer) => self.handle_ping_answer(now, peer, 408),
            _ => {}
        }
        self.close_client(id);
        let Some(call) = call else { return };
        match self.calls.get(&call) {
            Some(Call::Outgoing(outgoing)) if outgoing.client == id => {
                let told = outgoing.given_up;
                self.forget(call);
                if !told {
                    self.tell_end(call, if status == 408 { Cause::Timeout } else { Cause::Rejected(status) });
                }
            }
            Some(Call::Leaving(_)) if errand == Errand::Bye => {
                self.forget(call);
            }
            Some(Call::Live(_)) if matches!(errand, Errand::Reinvite | Errand::Update) => self.lost(now, call),
            Some(Call::Live(_)) if errand == Errand::Refer => self.handle_refer_answer(now, call, status),
            _ => {}
        }
    }

    /// Frees a call: its tag and its timers. Its transactions live on until their own timers end them.
    fn forget(&mut self, id: u64) -> Option<Call> {
        let call = self.calls.remove(&id)?;
        let tag = match &call {
            Call::Incoming(Incoming { tag, .. })
            | Call::Outgoing(Outgoing { tag, .. })
            | Call::Live(Live { tag, .. })
            | Call::Leaving(Leaving { tag, .. }) => tag,
        };
        self.tags.remove(tag.as_bytes());
        self.auths.remove(&id);
        self.out.timers.stop_each(Owner::Call(id), &OF_A_CALL);
        Some(call)
    }

    fn handle_response(&mut self, now: Instant, from: Flow, response: &Message) {
        let id = client_key(response).and_then(|key| self.client_keys.get(&key).copied());
        let (Some(id), Some(status)) = (id, response.status()) else {
            self.counters.stray += 1;
            return;
        };
        let Some(client) = self.clients.get_mut(&id) else {
            return;
        };
        match &client.kind {
            ClientKind::Invite(InviteClient::Calling { .. } | InviteClient::Proceeding)
                if from.transport != client.flow.transport =>
            {
                self.counters.stray += 1;
            }
            ClientKind::Invite(_) => self.handle_invite_response(now, id, status, response, from),
            ClientKind::Other(_) => {
                let received = client.handle_other_response(now, &mut self.out, Owner::Client(id), status);
                if received == Received::New && !self.challenged(now, id, response, from.remote.ip()) {
                    self.handle_other_answer(now, id, status, response);
                }
            }
        }
    }

    /// The final answer to a request other than INVITE; challenges that are ours were taken out before.
    fn handle_other_answer(&mut self, now: Instant, client: u64, status: u16, response: &Message) {
        let Some((errand, call)) = self.clients.get(&client).map(|client| (client.errand, client.call)) else {
            return;
        };
        match errand {
            Errand::Register(binding) => return self.handle_register_answer(now, binding, client, Some(response)),
            Errand::Ping(peer) => return self.handle_ping_answer(now, peer, status),
            _ => {}
        }
        let Some(id) = call else { return };
        match errand {
            Errand::Bye => {
                if matches!(self.calls.get(&id), Some(Call::Leaving(_))) {
                    self.forget(id);
                }
            }
            Errand::Update => self.handle_change_answer(now, client, id, response),
            Errand::Refer => self.handle_refer_answer(now, id, status),
            Errand::Info | Errand::Notify if status == 481 => self.lost(now, id),
            _ => {}
        }
    }
}
