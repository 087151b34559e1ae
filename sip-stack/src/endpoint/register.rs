//! The REGISTER client: binds, refreshes by what was granted, backs off when refused, unbinds (RFC 3261 §10.2, RFC 3608).

use std::time::{Duration, Instant};

use super::Endpoint;
use super::guard::{ALLOW, SUPPORTED};
use crate::auth::ClientAuth;
use crate::dialog;
use crate::event::Event;
use crate::message::{Address, Message, Name, Printer};
use crate::outside::{Registration, RegistrationHandle};
use crate::timer::{Owner, Timer};
use crate::transaction::{Client, Errand};

/// The first wait after a failure, doubled with each further one (RFC 5626 §4.5).
const BACK_OFF: Duration = Duration::from_secs(30);
const LONGEST: Duration = Duration::from_secs(1800);

/// One registration.
#[derive(Debug)]
pub(super) struct Binding {
    pub(super) wish: Registration,
    call_id: String,
    tag: String,
    sequence: u32,
    failures: u32,
    leaving: bool,
}

/// What the registrar granted to our contact: its own parameter, or the header for all (RFC 3261 §10.2.4).
fn granted(response: &Message, contact: &str) -> Option<u32> {
    let number = |value: &[u8]| std::str::from_utf8(value).ok()?.parse().ok();
    let contacts: Vec<_> = response.elements(Name::Contact).filter_map(Address::parse).collect();
    let ours = contacts.iter().find(|address| address.uri == contact.as_bytes());
    // A registrar behind NAT may have rewritten it; when there is but one binding it is ours.
    let ours = ours.or(contacts.first().filter(|_| contacts.len() == 1));
    ours.and_then(|address| number(address.params.get("expires")?)).or_else(|| response.number(Name::Expires))
}

impl Endpoint {
    /// Keeps an address bound until [`Endpoint::unregister`]. `Registered` and `RegisterFailed` tell how it goes.
    pub fn register(&mut self, now: Instant, wish: Registration) -> RegistrationHandle {
        let id = self.fresh_id();
        if let Some(credentials) = wish.credentials.clone() {
            self.auths.insert(id, ClientAuth::new(credentials, wish.flow.remote.ip()));
        }
        let call_id = format!("{:016x}{:016x}", self.random.next(), self.random.next());
        let tag = self.random.tag();
        let binding = Binding { wish, call_id, tag, sequence: 0, failures: 0, leaving: false };
        self.bindings.insert(id, binding);
        self.send_register(now, id);
        RegistrationHandle(id)
    }

    /// Takes a binding back; `Unregistered` comes when that is done, or nobody answered.
    pub fn unregister(&mut self, now: Instant, registration: RegistrationHandle) {
        let id = registration.0;
        let Some(binding) = self.bindings.get_mut(&id) else { return };
        if !std::mem::replace(&mut binding.leaving, true) {
            self.out.timers.stop(Owner::Registration(id), Timer::Register);
            self.send_register(now, id);
        }
    }

    /// Takes another path to the registrar from now on, at once if the one before had failed.
    pub fn reroute(&mut self, now: Instant, registration: RegistrationHandle, flow: crate::flow::Flow) {
        let id = registration.0;
        let Some(binding) = self.bindings.get_mut(&id) else { return };
        binding.wish.flow = flow;
        if binding.failures > 0 && !binding.leaving {
            self.out.timers.start_for(now, Owner::Registration(id), Timer::Register, Duration::ZERO);
        }
    }

    fn contact_of(&self, wish: &Registration) -> String {
        format!("sip:{}@{}{}", wish.contact_user, wish.flow.local, wish.flow.transport.param())
    }

    pub(super) fn send_register(&mut self, now: Instant, id: u64) {
        let branch = self.random.branch();
        let Some(binding) = self.bindings.get_mut(&id) else { return };
        binding.sequence += 1;
        let (sequence, wish) = (binding.sequence, binding.wish.clone());
        let expires = if binding.leaving { 0 } else { wish.expires.as_secs() };
        let (call_id, from) = (binding.call_id.clone(), format!("<{}>;tag={}", wish.address, binding.tag));
        let uri = wish.registrar.as_str();
        let mut printer = Printer::request(b"REGISTER", uri.as_bytes());
        printer
            .header(Name::Via, dialog::via(&wish.flow, &branch))
            .header(Name::MaxForwards, "70")
            .header(Name::From, from)
            .header(Name::To, format!("<{}>", wish.address))
            .header(Name::CallId, call_id)
            .header(Name::CSeq, format!("{sequence} REGISTER"))
            .header(Name::Contact, format!("<{}>;expires={expires}", self.contact_of(&wish)))
            .header(Name::Expires, expires.to_string())
            .header(Name::Allow, ALLOW)
            .header(Name::Supported, format!("{SUPPORTED}, path"));
        if let Some((name, value)) = self.authorize(id, "REGISTER", uri) {
            printer.header(name, value);
        }
        if let Some(agent) = &self.config.user_agent {
            printer.header(Name::UserAgent, agent);
        }
        let client = self.fresh_id();
        let errand = Errand::Register(id);
        let bytes = printer.finish();
        let machine = Client::other(now, &mut self.out, client, wish.flow, (&branch, "REGISTER", errand), bytes);
        self.open_client(client, machine, None);
    }

    /// A final answer, or 408 for none.
    pub(super) fn handle_register_answer(&mut self, now: Instant, id: u64, client: u64, response: Option<&Message>) {
        let Some(binding) = self.bindings.get_mut(&id) else { return };
        // A challenge was answered with the next number.
        binding.sequence = binding.sequence.max(response.and_then(Message::cseq).map_or(0, |cseq| cseq.number));
        let status = response.and_then(Message::status).unwrap_or(408);
        let registration = RegistrationHandle(id);
        if binding.leaving {
            self.bindings.remove(&id);
            self.auths.remove(&id);
            return self.events.push_back(Event::Unregistered { registration });
        }
        match (status, response) {
            (200..300, Some(response)) => {
                binding.failures = 0;
                let (wish, asked) = (binding.wish.clone(), binding.wish.expires.as_secs());
                let asked = u32::try_from(asked).unwrap_or(u32::MAX);
                let seconds = granted(response, &self.contact_of(&wish)).unwrap_or(asked).max(1);
                let expires = Duration::from_secs(u64::from(seconds));
                // Early enough for one answer that takes all of timer F, where the interval allows it.
                let refresh = expires.saturating_sub(Duration::from_secs(40)).max(expires / 2);
                self.out.timers.start_for(now, Owner::Registration(id), Timer::Register, refresh);
                let text =
                    |name| response.elements(name).map(|value| String::from_utf8_lossy(value).into_owned()).collect();
                let service_route = text(Name::ServiceRoute);
                self.events.push_back(Event::Registered { registration, expires, service_route });
            }
            (423, Some(response)) if self.clients.get(&client).is_some_and(|client| client.tries == 0) => {
                // RFC 3261 §10.2.8: not for so short a time.
                let least = response.number(Name::MinExpires).unwrap_or(3600);
                binding.wish.expires = Duration::from_secs(u64::from(least));
                let contact = self.bindings.get(&id).map(|binding| self.contact_of(&binding.wish)).unwrap_or_default();
                let contact = format!("<{contact}>;expires={least}");
                self.again(now, client, None, vec![(Name::Expires, least.to_string()), (Name::Contact, contact)]);
            }
            _ => {
                let wait = response.and_then(|response| response.number(Name::RetryAfter));
                let doubled = BACK_OFF.saturating_mul(1 << binding.failures.min(8)).min(LONGEST);
                binding.failures += 1;
                // Between half and all of it: a thousand users of one registrar do not come back at once.
                let jittered = doubled / 2 + doubled.mul_f64((self.random.next() % 500) as f64 / 1000.0);
                let retry_in = wait.map_or(jittered, |seconds| Duration::from_secs(u64::from(seconds)).max(jittered));
                self.out.timers.start_for(now, Owner::Registration(id), Timer::Register, retry_in);
                self.events.push_back(Event::RegisterFailed { registration, status, retry_in });
            }
        }
    }

    /// The connection a binding goes through is gone, and with it the way calls would come: bind again.
    pub(super) fn rebind(&mut self, now: Instant, flow: crate::flow::Flow) {
        for (id, binding) in &mut self.bindings {
            let ours = &binding.wish.flow;
            if flow.transport.is_reliable() && flow.answers(ours) {
                binding.wish.flow.connection = 0;
                // One that failed waits its time.
                if !binding.leaving && binding.failures == 0 {
                    self.out.timers.start_for(now, Owner::Registration(*id), Timer::Register, Duration::from_secs(1));
                }
            }
        }
    }
}
