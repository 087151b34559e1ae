//! The same wish once more: with credentials, with another session interval, or over another path.

use std::net::IpAddr;
use std::time::Instant;

use super::Endpoint;
use super::call::Call;
use crate::dialog;
use crate::flow::{Flow, Transport};
use crate::message::{Message, Method, Name, Printer};
use crate::transaction::{Client, Errand};

impl Endpoint {
    /// Answers a challenge if it is one of ours; true when the request is under way again (RFC 3261 §22.2).
    pub(super) fn challenged(&mut self, now: Instant, client: u64, response: &Message, source: IpAddr) -> bool {
        if !matches!(response.status(), Some(401 | 407)) {
            return false;
        }
        let Some(asked) = self.clients.get(&client) else { return false };
        let Some(owner) = asked.owner() else { return false };
        let (tries, request) = (asked.tries, Message::parse(asked.request.as_slice()));
        let Ok(request) = request else { return false };
        let heard = self.auths.get_mut(&owner).is_some_and(|auth| auth.hear(response, source, tries));
        if !heard {
            return false;
        }
        let method = String::from_utf8_lossy(request.method_name()).into_owned();
        let uri = String::from_utf8_lossy(request.request_uri()).into_owned();
        match self.authorize(owner, &method, &uri) {
            Some(header) => self.again(now, client, None, vec![header]),
            None => false,
        }
    }

    /// The credentials for the next request of a call or registration, once somebody asked for them.
    pub(super) fn authorize(&mut self, owner: u64, method: &str, uri: &str) -> Option<(Name, String)> {
        let cnonce = self.random.tag();
        self.auths.get_mut(&owner)?.header(method, uri, cnonce)
    }

    /// Sends a request of ours again as a new transaction, some headers changed, over its own path or another.
    pub(super) fn again(
        &mut self,
        now: Instant,
        client: u64,
        path: Option<Flow>,
        mut changes: Vec<(Name, String)>,
    ) -> bool {
        let Some(asked) = self.clients.get(&client) else { return false };
        let Ok(old) = Message::parse(asked.request.as_slice()) else { return false };
        let (call, errand, tries, flow) = (asked.call, asked.errand, asked.tries + 1, path.unwrap_or(asked.flow));
        let number = old.cseq().map_or(1, |cseq| cseq.number) + 1;
        let number = match call.and_then(|id| self.calls.get_mut(&id)) {
            Some(Call::Live(live)) => live.dialog.next_sequence(),
            Some(Call::Leaving(leaving)) => leaving.dialog.next_sequence(),
            Some(Call::Outgoing(outgoing)) if errand == Errand::Prack => outgoing
                .forks
                .iter_mut()
                .find(|fork| Some(fork.dialog.remote_tag.as_slice()) == old.to_tag())
                .map_or(number, |fork| fork.dialog.next_sequence()),
            _ => number,
        };
        if path.is_some() && old.header(Name::Contact).is_some() {
            changes.push((Name::Contact, self.contact(&flow)));
        }
        let branch = self.random.branch();
        let print = |compact: bool| {
            let mut printer = Printer::request(old.method_name(), old.request_uri()).compact(compact);
            printer.header(Name::Via, dialog::via(&flow, &branch));
            for (name, label, value) in old.lines() {
                let dropped = matches!(name, Name::Via | Name::CSeq | Name::ContentLength | Name::ContentType)
                    || changes.iter().any(|(changed, _)| *changed == name);
                match name {
                    _ if dropped => continue,
                    Name::Other => printer.extension(label, value),
                    name => printer.header(name, value),
                };
            }
            printer.header(Name::CSeq, format!("{number} {}", String::from_utf8_lossy(old.method_name())));
            for (name, value) in &changes {
                printer.header(*name, value);
            }
            match old.content_type() {
                Some(kind) if !old.body().is_empty() => printer.finish_with(&kind, old.body()),
                _ => printer.finish(),
            }
        };
        let mut bytes = print(false);
        if flow.transport == Transport::Udp && bytes.len() > self.config.udp_mtu {
            bytes = print(true);
        }
        let id = self.fresh_id();
        let mut machine = if old.method() == Some(Method::Invite) {
            Client::invite(now, &mut self.out, id, flow, &branch, bytes)
        } else {
            let method = String::from_utf8_lossy(old.method_name()).into_owned();
            Client::other(now, &mut self.out, id, flow, (&branch, &method, errand), bytes)
        };
        machine.errand = errand;
        machine.tries = tries;
        self.open_client(id, machine, call);
        if errand == Errand::Invite
            && let Some(Call::Outgoing(outgoing)) = call.and_then(|id| self.calls.get_mut(&id))
        {
            outgoing.client = id;
            outgoing.heard = false;
        }
        true
    }
}
