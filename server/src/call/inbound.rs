//! A call that comes in: admitted, routed, answered — or refused before anything is opened for it.

use std::time::Duration;

use control_api::{Directory, Identity, Item, LiveCall, NewCall, Refused, RouteQuery};
use domain::phone::E164;
use domain::{AgentSpec, CallId, Channel, Direction, EndedReason, Pii, Status};
use serde_json::{Map, Value};
use sip_stack::{CallHandle, Cause, Event, Invite, NameAddr, Refusal};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::{Instant, sleep_until, timeout};

use super::credit::NoCredit;
use super::desk::{Desk, refusal};
use super::session::{Answered, Session};
use super::{facts, leg, session};
use crate::trunks::Shown;

/// How long the greeting may take before the call is answered all the same.
const GREETING: Duration = Duration::from_millis(1500);

/// Lives as long as the call.
pub(super) async fn run(desk: Desk, call: CallHandle, invite: Invite, mut events: UnboundedReceiver<Event>) {
    let id = CallId(uuid::Uuid::now_v7());
    let to = invite.request_uri.user().unwrap_or_default().to_owned();
    let shown = desk.challenger.judge(&desk.directory, &invite).await;
    let proven = match shown {
        Shown::Proof(trunk) => Some(trunk),
        Shown::Nothing | Shown::Stale => None,
    };
    let query = RouteQuery {
        call: id,
        to: Pii::new(to.clone()),
        from: Pii::new(invite.from.uri.to_string()),
        source: invite.source,
        headers: invite.headers.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
        identity: identity(&invite),
        proven,
    };
    let route = match desk.route(query).await {
        Ok(route) => route,
        Err(refused) => {
            tracing::info!(call_id = %id, source = %invite.source, reason = %refused, "call refused");
            return match refused {
                Refused::Unproven => desk.sip.dismiss(call, desk.challenger.refusal(&invite, shown)),
                Refused::UnknownSource => desk.sip.dismiss(call, refusal(refused)),
                _ => desk.sip.reject(call, refusal(refused)),
            };
        }
    };
    if proven.is_some() {
        // The challenge before it was owed.
        desk.sip.pardon(invite.source.ip());
    }
    let verified = match &route.signed {
        Some(signed) => {
            let judged = desk.stir.judge(&invite, signed).await;
            if let Some(refusal) = judged.refusal {
                tracing::info!(call_id = %id, source = %invite.source, status = refusal.status, "call refused for its caller's signature");
                return desk.sip.reject(call, refusal);
            }
            judged.verified
        }
        None => None,
    };
    let media = route.media;
    // Rows hold numbers in one form, however the trunk writes them.
    let numbered = |number: &Option<E164>| number.as_ref().map(|number| number.as_str().to_owned());
    let from = match route.withheld {
        true => "anonymous".to_owned(),
        false => numbered(&route.from).unwrap_or_else(|| session::address(&invite.from.uri)),
    };
    let from = Pii::new(from);
    let to = Pii::new(numbered(&route.to).unwrap_or(to));
    let created_at_ms = leg::unix_ms();
    let live = LiveCall {
        id,
        tenant: route.tenant,
        livemode: route.livemode,
        direction: Direction::Inbound,
        status: Status::Pending,
        activity: None,
        from: from.clone(),
        verified,
        to: to.clone(),
        number: route.number,
        trunk: route.trunk,
        leg_trunk: None,
        agent: route.agent.name.clone(),
        created_at_ms,
        answered_at_ms: None,
    };
    let seat = match desk.admit(live, route.bounds) {
        Ok(seat) => seat,
        Err(refused) => return desk.sip.reject(call, refusal(refused)),
    };
    // What the agent declares, and over it what rule and headers say.
    let mut variables = domain::agent::variables::defaults(&route.agent.prompt.variables);
    variables.extend(mapped(&route.agent, &invite));
    variables.extend(route.variables);
    // Last, so that no header can say it in our stead.
    if let Some(verified) = verified {
        variables.insert("caller_verified".into(), verified.into());
    }
    let created = NewCall {
        tenant: route.tenant,
        livemode: route.livemode,
        channel: Channel::Sip,
        direction: Direction::Inbound,
        from: from.clone(),
        to,
        verified,
        number_id: route.number,
        trunk_id: route.trunk,
        agent_id: route.agent_id,
        agent_version: route.agent_version,
        config: serde_json::to_value(&*route.agent).ok(),
        variables,
        metadata: metadata(&route.agent),
        sip_call_id: Some(invite.call_id.clone()),
        node_id: desk.house.node.clone(),
        boot_id: desk.house.boot,
        created_at_ms,
        scheduled: false,
    };
    desk.traces.name(call, id);
    let mut session = Session::begin(desk.clone(), seat, created, call, route.agent);
    tracing::info!(call_id = %id, from = %from, agent = session.agent.name, "call comes in");

    // Everything that can refuse comes before the first ring; but nobody waits for the store to say again what it said a moment ago.
    let good_for_it = session.is_good_for_credit();
    if !good_for_it && let Err(refused) = session.take_credit(Item::VoiceIn).await {
        return no_credit(session, &refused);
    }
    let Ok(ports) = desk.media.reserve() else {
        return session.refuse(refusal(control_api::Refused::NoCapacity), EndedReason::NoCapacity);
    };
    let source = invite.source;
    let ability = leg::ability(&ports, desk.media_address(source), media.srtp);
    let described = match &invite.sdp {
        Some(offer) => sip_stack::offer::answer(offer, &ability).map(|(answer, plan)| (answer, Some(plan))),
        None => sip_stack::offer::offer(&ability).map(|offer| (offer, None)),
    };
    let (sdp, plan) = match described {
        Ok(described) => described,
        Err(refused) => {
            let (why, srtp) = (super::ways::why(&refused), media.srtp.as_str());
            tracing::warn!(call_id = %id, %source, srtp, why, "call refused for its media");
            return session.refuse(refused, EndedReason::CodecMismatch);
        }
    };
    session.status(Status::Initiating, None);
    desk.sip.ring(call, None);
    let (rang, session_rings) = (Instant::now(), session.agent.sip.answer_after_ms);
    session.status(Status::Ringing, Some(180));
    if good_for_it && let Err(refused) = session.take_credit(Item::VoiceIn).await {
        return no_credit(session, &refused);
    }
    let mut talk = match session.prepare().await {
        Ok(talk) => talk,
        Err(error) => {
            tracing::error!(call_id = %id, %error, "the agent cannot be run");
            return session.refuse(Refusal::new(500), EndedReason::AgentFailed);
        }
    };

    // It rings while the greeting is made; the caller may give up meanwhile.
    tokio::select! {
        () = async {
            let _ = timeout(GREETING, talk.ready()).await;
            sleep_until(rang + Duration::from_millis(session_rings)).await;
        } => {}
        cause = gave_up(&mut events) => return session.over(cause),
        reason = session.asked_to_end() => return session.refuse(Refusal::new(480), reason),
    }
    if desk.sip.answer(call, sdp).await.is_err() {
        return session.over(Cause::Cancel);
    }
    let plan = match plan {
        Some(plan) => plan,
        // Late offer: the answer comes with the ACK (RFC 3261 §13.2.1).
        None => match late_answer(&mut events, &ability).await {
            Ok(plan) => plan,
            Err(cause) => return session.over(cause),
        },
    };
    session.run(Answered { ports, plan, ability, reach: desk.reach(source), media, talk, events }).await;
}

/// Refuses a call that nobody pays for.
fn no_credit(session: Session, refused: &NoCredit) {
    let (wire, reason) = refused.for_caller();
    tracing::info!(call_id = %session.id(), reason = reason.as_str(), "call refused for its credit");
    session.refuse(refusal(wire), reason);
}

/// The headers that the agent wants to know, as its variables.
fn mapped(agent: &AgentSpec, invite: &Invite) -> Map<String, Value> {
    let mut variables = Map::new();
    for (header, variable) in &agent.sip.headers_to_variables {
        if let Some((_, value)) = invite.headers.iter().find(|(name, _)| name.eq_ignore_ascii_case(header)) {
            let value: String = value.chars().filter(|c| !c.is_control()).take(500).collect();
            variables.insert(variable.clone(), value.into());
        }
    }
    variables
}

/// The agent's own notes stand on each of its calls.
fn metadata(agent: &AgentSpec) -> Map<String, Value> {
    agent.metadata.iter().map(|(key, value)| (key.clone(), value.clone().into())).collect()
}

/// What the INVITE says of its caller beside From. A number in Remote-Party-ID counts only where nothing is asserted.
fn identity(invite: &Invite) -> Identity {
    let said = sip_stack::identity::Identity::of(&invite.headers);
    let user = |who: &NameAddr| who.uri.user().map(|user| Pii::new(user.to_owned()));
    let number = |who: &&NameAddr| who.uri.user().is_some_and(|user| facts::number(user).is_some());
    // One SIP and one tel URI may be asserted; the one with a number says more.
    let asserted = said.asserted.iter().find(number).or(said.asserted.first());
    let party = said.remote_party.iter().find(|party| party.party.as_deref().is_none_or(|role| role == "calling"));
    let hidden = |privacy: &Option<String>| privacy.as_deref().is_some_and(|privacy| privacy != "off");
    // The first diversion of all stands last; the oldest entry of a history first.
    let diverted = said.diversion.last().map(|diversion| &diversion.who);
    let history = (said.history.len() > 1).then(|| said.history.first().map(|entry| &entry.who)).flatten();
    Identity {
        asserted: asserted.or(party.map(|party| &party.who)).and_then(user),
        private: said.privacy.iter().any(|word| matches!(word.as_str(), "id" | "user" | "header"))
            || (asserted.is_none() && party.is_some_and(|party| hidden(&party.privacy))),
        diverted_from: diverted.or(history).and_then(user),
    }
}

async fn gave_up(events: &mut UnboundedReceiver<Event>) -> Cause {
    while let Some(event) = events.recv().await {
        if let Event::Ended { cause, .. } = event {
            return cause;
        }
    }
    Cause::Cancel
}

async fn late_answer(
    events: &mut UnboundedReceiver<Event>,
    ability: &sip_stack::Ability,
) -> Result<sip_stack::Plan, Cause> {
    while let Some(event) = events.recv().await {
        match event {
            Event::Established { sdp: Some(answer), .. } => {
                return sip_stack::offer::accept(ability, &answer).map_err(|refused| Cause::Rejected(refused.status));
            }
            Event::Established { sdp: None, .. } => return Err(Cause::Rejected(488)),
            Event::Ended { cause, .. } => return Err(cause),
            _ => {}
        }
    }
    Err(Cause::NoAck)
}
