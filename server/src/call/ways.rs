//! From a hop of a plan to an INVITE: where its host is, who answers its challenges, and how the trunk likes its calls.

use control_api::{Hop, MediaTerms, Plan, Prack};
use sip_stack::offer::{self, Ability};
use sip_stack::{CallHandle, Flow, NameAddr, Outgoing, Refusal, Reliable, Transport, Uri};
use wire::media::Ports;

use super::desk::Desk;
use super::leg;
use crate::trunks;

/// A hop whose host was found.
pub(super) struct Way {
    /// What we offer there.
    pub(super) ability: Ability,
    /// Where its media may be.
    pub(super) reach: leg::Reach,
    first: Flow,
    others: Vec<Flow>,
}

/// Finds a hop's host; every address is judged again now that its name has been resolved.
///
/// # Errors
/// Why it cannot be reached, for people.
pub(super) async fn find(desk: &Desk, hop: &Hop, ports: &Ports, media: MediaTerms) -> Result<Way, String> {
    let mut found = Vec::new();
    if hop.addresses.is_empty() {
        let port = hop.named_port.then_some(hop.port);
        let uri = trunks::uri(&hop.host, port, hop.transport)?;
        found = trunks::ways(&desk.sip, desk.trunks.resolver(), &desk.house.checked.private, &uri).await?;
    } else {
        let to: Uri = hop.to.expose().parse().map_err(|_| "not a SIP URI".to_owned())?;
        for address in &hop.addresses {
            let transport = trunks::transport(hop.transport);
            if transport == Transport::Tls {
                desk.sip.expect_domain(*address, to.host());
            }
            found.push(desk.sip.path(transport, *address).await.map_err(|error| error.to_string())?);
        }
    }
    let mut found = found.into_iter();
    let first = found.next().ok_or("no address")?;
    let ability = leg::ability(ports, desk.media_address(first.remote), media.srtp);
    let reach = desk.reach(first.remote);
    Ok(Way { ability, reach, first, others: found.collect() })
}

/// Why no call can be offered over a trunk, whatever its gateways are: it wants encryption that there is not.
pub(super) fn unfit(plan: &Plan) -> Option<Refusal> {
    leg::keying(plan.media.srtp).check().err()
}

/// The words of a refusal's warning.
pub(super) fn why(refused: &Refusal) -> String {
    refused.warning.as_ref().map_or_else(|| refused.reason.clone(), |warning| warning.text.clone())
}

impl Way {
    /// Sends the INVITE, with `more` headers beside the hop's; `placed` is told its call before any event of it can come.
    ///
    /// # Errors
    /// Why it cannot leave, for people.
    pub(super) async fn invite(
        &self,
        desk: &Desk,
        plan: &Plan,
        hop: &Hop,
        from: &str,
        more: Option<(String, String)>,
        placed: impl FnOnce(CallHandle) + Send + 'static,
    ) -> Result<CallHandle, String> {
        let to = hop.to.expose().parse().map_err(|_| "the address called is no SIP URI".to_owned())?;
        let from = NameAddr::parse(from.as_bytes()).map_err(|_| "the caller's address is no SIP URI".to_owned())?;
        let headers = hop.headers.iter().map(|(name, value)| (name.clone(), value.expose().clone()));
        let mut headers: Vec<_> = headers.chain(more).collect();
        if let (Some(signature), Some(trunk)) =
            (plan.manners.as_ref().and_then(|manners| manners.sign.as_ref()), plan.trunk)
        {
            // Each INVITE is signed for itself: the next gateway is tried some time later.
            headers.extend(desk.stir.sign(signature, &trunk.to_string()));
        }
        let sdp = offer::offer(&self.ability).map_err(|refused| why(&refused))?;
        let mut outgoing =
            Outgoing { headers, alternates: self.others.clone(), ..Outgoing::new(to, from, self.first, sdp) };
        if let Some(trunk) = plan.trunk {
            outgoing.routes = desk.trunks.service_route(trunk);
        }
        if let Some(manners) = &plan.manners {
            let servers = std::iter::once(&self.first).chain(&self.others).map(|way| way.remote.ip());
            outgoing.credentials = manners.login.as_ref().map(|login| trunks::credentials(login, servers.collect()));
            outgoing.session_expires = Some(manners.session_timer);
            outgoing.max_forwards = manners.max_forwards;
            outgoing.reliable = match manners.prack {
                Prack::Off => Reliable::Off,
                Prack::Supported => Reliable::Supported,
                Prack::Required => Reliable::Required,
            };
        }
        desk.sip.place(outgoing, placed).await.map_err(|error| error.to_string())
    }
}
