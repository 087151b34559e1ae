//! A call that we place: a plan, an offer to one gateway after the other, patience, and the same session behind the answer.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use control_api::{Admission, DialRefused, DialRequest, Hop, Item, LiveCall, NewCall, Plan, PlanQuery};
use domain::{AgentSpec, Channel, Direction, EndedReason, Status};
use sip_stack::{Ability, Cause, Event};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use wire::media::Ports;

use super::credit::NoCredit;
use super::desk::Desk;
use super::session::{Answered, Session};
use super::{leg, ways};

/// Accepts the request, makes the row, and lets the INVITE leave.
pub(super) async fn dial(desk: Desk, request: DialRequest, agent: Arc<AgentSpec>) -> Result<(), DialRefused> {
    let query = PlanQuery::of(&request);
    let plan = desk.directory.plan(&query).await.map_err(DialRefused::from)?;
    let from = plan.from.clone().unwrap_or_else(|| ours(&desk, &plan).into());
    let created_at_ms = request.asked_at_ms.unwrap_or_else(leg::unix_ms);
    let live = LiveCall {
        id: request.call,
        tenant: request.tenant,
        livemode: request.livemode,
        direction: Direction::Outbound,
        status: Status::Pending,
        activity: None,
        from: from.clone(),
        verified: None,
        to: request.to.clone(),
        number: plan.number,
        trunk: plan.trunk,
        leg_trunk: None,
        agent: agent.name.clone(),
        created_at_ms,
        answered_at_ms: None,
    };
    let seat = desk.admit(live, plan.bounds).map_err(|refused| match refused {
        control_api::Refused::Draining => DialRefused::Draining,
        _ => DialRefused::NoCapacity,
    })?;
    let ports = desk.media.reserve().map_err(|_| DialRefused::NoCapacity)?;
    let admission = Admission {
        tenant: request.tenant,
        livemode: request.livemode,
        call: request.call,
        item: Item::VoiceOut,
        address: request.to.expose().clone(),
        number: plan.number,
        node: desk.house.node.clone(),
        boot: desk.house.boot,
        max_cost_micros: agent.limits.max_cost_micros.map(|micros| i64::try_from(micros).unwrap_or(i64::MAX)),
    };
    let credit = desk.credit(&admission).await.map_err(no_credit)?;
    // The agent's own notes, and over them the call's.
    let mut notes: serde_json::Map<_, _> =
        agent.metadata.iter().map(|(key, value)| (key.clone(), value.clone().into())).collect();
    notes.extend(request.metadata.clone());
    let created = NewCall {
        tenant: request.tenant,
        livemode: request.livemode,
        channel: Channel::Sip,
        direction: Direction::Outbound,
        from: from.clone(),
        to: request.to.clone(),
        verified: None,
        number_id: plan.number,
        trunk_id: plan.trunk,
        agent_id: request.agent_id,
        agent_version: request.agent_version,
        config: serde_json::to_value(&*agent).ok(),
        variables: request.variables.clone(),
        metadata: notes,
        sip_call_id: None,
        node_id: desk.house.node.clone(),
        boot_id: desk.house.boot,
        created_at_ms,
        scheduled: request.asked_at_ms.is_some(),
    };
    let ring = Duration::from_millis(request.ring_timeout_ms.unwrap_or(agent.limits.ring_timeout_ms));
    let mut session = Session::prepare_outbound(desk.clone(), seat, created, agent, &request);
    session.put_credit(credit, admission);
    tokio::spawn(place(desk, session, plan, ports, ring));
    Ok(())
}

fn no_credit(why: NoCredit) -> DialRefused {
    match why {
        NoCredit::Refused(why) => why.into(),
        NoCredit::StoreDown => DialRefused::StoreUnavailable,
    }
}

/// Tries the gateways one after the other until one answers, all have failed, or patience ends.
async fn place(desk: Desk, mut session: Session, plan: Plan, ports: Ports, ring: Duration) {
    if let Some(refused) = ways::unfit(&plan) {
        let why = ways::why(&refused);
        tracing::warn!(call_id = %session.id(), trunk = ?plan.trunk, why, "the trunk's media.srtp allows no plain call");
        return session.end(EndedReason::CodecMismatch, Some(refused.status), None);
    }
    let talk = match session.prepare().await {
        Ok(talk) => talk,
        Err(error) => {
            tracing::error!(call_id = %session.id(), %error, "the agent cannot be run");
            return session.end(EndedReason::AgentFailed, None, None);
        }
    };
    let patience = tokio::time::Instant::now() + ring;
    let mut last = None;
    let mut begun = false;
    let hops = desk.by_health(plan.trunk, plan.hops.clone());
    let count = hops.len();
    for (n, hop) in hops.into_iter().enumerate() {
        let way = match ways::find(&desk, &hop, &ports, plan.media).await {
            Ok(way) => way,
            Err(error) => {
                tracing::warn!(call_id = %session.id(), host = hop.host, error, "this gateway cannot be reached");
                desk.ban(&hop, Instant::now() + plan.ban);
                continue;
            }
        };
        let from = from(&plan, &hop, &way.ability, None);
        let (route, mut events) = unbounded_channel();
        let connect = {
            let (desk, id) = (desk.clone(), session.id());
            move |call| {
                desk.traces.name(call, id);
                desk.connect(call, route);
            }
        };
        session.call = match way.invite(&desk, &plan, &hop, &from, None, connect).await {
            Ok(call) => call,
            Err(error) => {
                tracing::warn!(call_id = %session.id(), host = hop.host, error, "the INVITE cannot leave");
                desk.ban(&hop, Instant::now() + plan.ban);
                continue;
            }
        };
        if !begun {
            session.status(Status::Initiating, None);
            begun = true;
        }
        let next = (n + 1 < count).then_some(plan.next_after);
        match attempt(&desk, &mut session, &mut events, patience, next, &plan.next_on).await {
            Outcome::Answered(sdp) => {
                let (ability, reach, media) = (way.ability, way.reach, plan.media);
                return match sip_stack::offer::accept(&ability, &sdp) {
                    Ok(plan) => session.run(Answered { ports, plan, ability, reach, media, talk, events }).await,
                    Err(refused) => {
                        desk.sip.end(session.call);
                        session.end(EndedReason::CodecMismatch, Some(refused.status), None);
                    }
                };
            }
            Outcome::Over(reason) => {
                desk.sip.end(session.call);
                return session.end(reason, None, None);
            }
            Outcome::Ended(cause) => return session.over(cause),
            Outcome::Next(cause) => {
                tracing::info!(call_id = %session.id(), host = hop.host, ?cause, "the next gateway is tried");
                desk.ban(&hop, Instant::now() + plan.ban);
                last = Some(cause);
            }
        }
    }
    match last {
        Some(cause) => session.over(cause),
        None => session.end(EndedReason::Unreachable, None, None),
    }
}

/// How one gateway took it.
enum Outcome {
    Answered(sip_stack::Sdp),
    /// It ended, and no other gateway would help.
    Ended(Cause),
    /// We end it.
    Over(EndedReason),
    /// Another gateway may do better.
    Next(Cause),
}

async fn attempt(
    desk: &Desk,
    session: &mut Session,
    events: &mut UnboundedReceiver<Event>,
    patience: tokio::time::Instant,
    next_after: Option<Duration>,
    next_on: &[u16],
) -> Outcome {
    let mut silent = true;
    let silence = tokio::time::sleep(next_after.unwrap_or_default());
    tokio::pin!(silence);
    loop {
        tokio::select! {
            event = events.recv() => match event {
                Some(Event::Ringing { status, .. }) => {
                    silent = false;
                    session.status(Status::Ringing, Some(status));
                }
                Some(Event::Answered { sdp, .. }) => return Outcome::Answered(sdp),
                Some(Event::Ended { cause, .. }) => {
                    let help = next_after.is_some() && next_on.contains(&status_of(cause));
                    return if help { Outcome::Next(cause) } else { Outcome::Ended(cause) };
                }
                Some(_) => {}
                None => return Outcome::Ended(Cause::Timeout),
            },
            () = &mut silence, if silent && next_after.is_some() => {
                desk.sip.end(session.call);
                return Outcome::Next(Cause::Timeout);
            }
            () = tokio::time::sleep_until(patience) => return Outcome::Over(EndedReason::NoAnswer),
            _ = session.asked_to_end() => return Outcome::Over(EndedReason::Canceled),
        }
    }
}

/// Who the callee sees: what the trunk or the plan says, or `shown`, a caller who is passed on, with the trunk's domain.
pub(super) fn from(plan: &Plan, hop: &Hop, ability: &Ability, shown: Option<&str>) -> String {
    let own = || format!("sip:sidetone@{}", ability.address);
    let planned = plan.from.as_ref().map(|from| sip_uri(from.expose(), ability.address));
    match (&hop.from, shown) {
        (Some(from), Some(shown)) => {
            let domain = from.expose().rsplit_once('@').map_or("", |(_, domain)| domain.trim_end_matches('>'));
            let user = shown.strip_prefix("sip:").unwrap_or(shown).split(['@', ';']).next().unwrap_or_default();
            format!("<sip:{user}@{domain}>")
        }
        (Some(from), None) => from.expose().clone(),
        (None, Some(shown)) => sip_uri(shown, ability.address),
        (None, None) => planned.unwrap_or_else(own),
    }
}

/// The status that an end before the answer stands for.
pub(super) fn status_of(cause: Cause) -> u16 {
    match cause {
        Cause::Rejected(status) => status,
        // Nothing came back at all (RFC 3261 §8.1.3.1: treat as 408).
        _ => 408,
    }
}

/// The node's own address towards the first hop, for the row of a call that shows no number.
fn ours(desk: &Desk, plan: &Plan) -> String {
    let remote = plan.hops.first().and_then(|hop| hop.addresses.first());
    remote.map_or_else(|| "anonymous".into(), |remote| format!("sip:sidetone@{}", desk.media_address(*remote)))
}

fn sip_uri(from: &str, ours: IpAddr) -> String {
    if from.starts_with("sip:") || from.starts_with("sips:") { from.to_owned() } else { format!("sip:{from}@{ours}") }
}
