//! How a message finds its transaction (RFC 3261 §17.1.3, §17.2.3).

use crate::message::{Message, Method, Via};

/// Names a server transaction.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct ServerKey(Vec<u8>);

fn join(parts: &[&[u8]]) -> Vec<u8> {
    let mut key = Vec::with_capacity(parts.iter().map(|part| part.len() + 1).sum());
    for part in parts {
        key.extend_from_slice(part);
        key.push(b'\n');
    }
    key
}

impl ServerKey {
    /// The key of a request; an ACK gets the key of its INVITE, a CANCEL its own.
    pub(crate) fn of(request: &Message, via: &Via<'_>) -> Self {
        let method = match request.method() {
            Some(Method::Ack) => Method::Invite.as_str().as_bytes(),
            _ => request.method_name(),
        };
        ServerKey::with_method(request, via, method)
    }

    /// The key of the INVITE that a CANCEL means.
    pub(crate) fn cancelled(request: &Message, via: &Via<'_>) -> Self {
        ServerKey::with_method(request, via, Method::Invite.as_str().as_bytes())
    }

    fn with_method(request: &Message, via: &Via<'_>, method: &[u8]) -> Self {
        let port = via.port.map(|port| port.to_string()).unwrap_or_default();
        let host = via.host.to_ascii_lowercase();
        match via.branch().filter(|branch| branch.len() > 7 && branch[..7].eq_ignore_ascii_case(b"z9hG4bK")) {
            Some(branch) => ServerKey(join(&[b"3261", &branch.to_ascii_lowercase(), &host, port.as_bytes(), method])),
            // RFC 2543 peers: everything but the To tag, which the ACK gets from our answer.
            None => {
                let sequence = request.cseq().map_or(0, |cseq| cseq.number).to_string();
                let call_id = request.call_id().unwrap_or_default();
                let branch = via.branch().unwrap_or_default();
                let parts =
                    [b"2543", call_id, request.from_tag(), sequence.as_bytes(), &host, port.as_bytes(), branch, method];
                ServerKey(join(&parts))
            }
        }
    }
}

/// Names a request that may arrive over two paths (RFC 3261 §8.2.2.2).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct MergeKey(Vec<u8>);

impl MergeKey {
    pub(crate) fn of(request: &Message) -> Self {
        let sequence = request.cseq().map_or(0, |cseq| cseq.number).to_string();
        let call_id = request.call_id().unwrap_or_default();
        MergeKey(join(&[call_id, request.from_tag(), sequence.as_bytes(), request.method_name()]))
    }
}

/// The key of a response: the branch we made and the method it answers.
pub(crate) fn client_key(response: &Message) -> Option<(Vec<u8>, Vec<u8>)> {
    let branch = response.top_via()?.branch()?.to_vec();
    Some((branch, response.cseq()?.method.to_vec()))
}
