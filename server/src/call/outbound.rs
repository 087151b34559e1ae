//! A call that we place: an offer, patience, and the same session behind the answer.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use control_api::{DialRefused, DialRequest, LiveCall, NewCall};
use domain::{AgentSpec, Channel, Direction, EndedReason, Pii, Status};
use sip_stack::{Cause, Event};
use tokio::sync::mpsc::unbounded_channel;

use super::desk::Desk;
use super::leg;
use super::session::{Answered, Session};

/// Accepts the request, makes the row, and lets the INVITE leave.
pub(super) async fn dial(desk: Desk, request: DialRequest, agent: Arc<AgentSpec>) -> Result<(), DialRefused> {
    let to = request.to.expose().clone();
    // Without trunks a call can go to a SIP URI only; numbers come with them.
    let uri: sip_stack::Uri = to.parse().map_err(|_| DialRefused::BadAddress)?;
    let remote = lookup(&uri).await.ok_or(DialRefused::BadAddress)?;
    let from = request.from.as_ref().map_or_else(|| agent_address(&desk, remote), |from| from.expose().clone());
    let created_at_ms = leg::unix_ms();
    let live = LiveCall {
        id: request.call,
        tenant: request.tenant,
        livemode: request.livemode,
        direction: Direction::Outbound,
        status: Status::Pending,
        activity: None,
        from: Pii::new(from.clone()),
        to: request.to.clone(),
        agent: agent.name.clone(),
        created_at_ms,
        answered_at_ms: None,
    };
    let seat = desk.admit(live).map_err(|refused| match refused {
        control_api::Refused::Draining => DialRefused::Draining,
        _ => DialRefused::NoCapacity,
    })?;
    let ports = desk.media.reserve().map_err(|_| DialRefused::NoCapacity)?;
    let created = NewCall {
        tenant: request.tenant,
        livemode: request.livemode,
        channel: Channel::Sip,
        direction: Direction::Outbound,
        from: Pii::new(from.clone()),
        to: request.to.clone(),
        agent_id: None,
        agent_version: None,
        config: serde_json::to_value(&*agent).ok(),
        variables: request.variables.clone(),
        metadata: request.metadata.clone(),
        sip_call_id: None,
        node_id: desk.house.node.clone(),
        boot_id: desk.house.boot,
        created_at_ms,
    };
    let ring = Duration::from_millis(request.ring_timeout_ms.unwrap_or(agent.limits.ring_timeout_ms));
    let ability = leg::ability(&ports, desk.media_address(remote));
    let mut session = Session::prepare_outbound(desk.clone(), seat, created, agent, &request);
    tokio::spawn(async move {
        let (route, mut events) = unbounded_channel();
        let watch = {
            let desk = desk.clone();
            move |call| desk.connect(call, route)
        };
        let call = match leg::invite(&desk.sip, &to, &sip_uri(&from, ability.address), remote, &ability, watch).await {
            Ok(call) => call,
            Err(error) => {
                tracing::warn!(call_id = %session.id(), %error, "the INVITE cannot leave");
                return session.end(EndedReason::Unreachable, None, None);
            }
        };
        session.call = call;
        session.status(Status::Initiating, None);
        let talk = match session.prepare() {
            Ok(talk) => talk,
            Err(error) => {
                tracing::error!(call_id = %session.id(), %error, "the agent cannot be run");
                desk.sip.end(call);
                return session.end(EndedReason::AgentFailed, None, None);
            }
        };
        let patience = tokio::time::sleep(ring);
        tokio::pin!(patience);
        let answer = loop {
            tokio::select! {
                event = events.recv() => match event {
                    Some(Event::Ringing { status, .. }) => session.status(Status::Ringing, Some(status)),
                    Some(Event::Answered { sdp, .. }) => break sdp,
                    Some(Event::Ended { cause, .. }) => return session.over(cause),
                    Some(_) => {}
                    None => return session.over(Cause::Timeout),
                },
                () = &mut patience => {
                    desk.sip.end(call);
                    return session.end(EndedReason::NoAnswer, None, None);
                }
                _ = session.asked_to_end() => {
                    desk.sip.end(call);
                    return session.end(EndedReason::Canceled, None, None);
                }
            }
        };
        match sip_stack::offer::accept(&ability, &answer) {
            Ok(plan) => session.run(Answered { ports, plan, ability, talk, events }).await,
            Err(refused) => {
                desk.sip.end(call);
                session.end(EndedReason::CodecMismatch, Some(refused.status), None);
            }
        }
    });
    Ok(())
}

async fn lookup(uri: &sip_stack::Uri) -> Option<SocketAddr> {
    let host = uri.host().to_owned();
    let port = uri.port().unwrap_or(5060);
    tokio::net::lookup_host((host.trim_matches(['[', ']']), port)).await.ok()?.next()
}

fn agent_address(desk: &Desk, remote: SocketAddr) -> String {
    format!("sip:sidetone@{}", desk.media_address(remote))
}

fn sip_uri(from: &str, ours: std::net::IpAddr) -> String {
    if from.starts_with("sip:") || from.starts_with("sips:") { from.to_owned() } else { format!("sip:{from}@{ours}") }
}
