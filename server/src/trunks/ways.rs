//! The ways to a host: its name resolved (RFC 3263), every address judged, each way a path that costs nothing until it is used.

use std::time::Duration;

use control_api::{Network, permits};
use sip_stack::{Flow, Transport, Uri};
use wire::sip::{Resolver, SipHandle};

/// A name server that does not answer must not hold a call up for longer.
const PATIENCE: Duration = Duration::from_secs(8);

/// A gateway's transport in the words of SIP.
#[must_use]
pub fn transport(of: control_api::Transport) -> Transport {
    match of {
        control_api::Transport::Udp => Transport::Udp,
        control_api::Transport::Tcp => Transport::Tcp,
        control_api::Transport::Tls => Transport::Tls,
    }
}

/// The paths to a URI's host, best first; never none.
///
/// # Errors
/// Why there is none, for people.
pub async fn ways(sip: &SipHandle, resolver: &Resolver, private: &[Network], uri: &Uri) -> Result<Vec<Flow>, String> {
    let found = tokio::time::timeout(PATIENCE, resolver.resolve(uri)).await;
    let found = found.map_err(|_| format!("{}: the name server does not answer", uri.host()))?;
    let found = found.map_err(|error| error.to_string())?;
    let mut ways = Vec::new();
    let mut why = format!("{}: its addresses are not public (routing.private_networks)", uri.host());
    for target in found.iter().filter(|target| permits(private, target.remote.ip())) {
        if target.transport == Transport::Tls {
            sip.expect_domain(target.remote, &target.domain);
        }
        match sip.path(target.transport, target.remote).await {
            Ok(flow) => ways.push(flow),
            Err(error) => why = error.to_string(),
        }
    }
    if ways.is_empty() { Err(why) } else { Ok(ways) }
}
