//! A call's credit: a lease before it is admitted, renewed while it lasts, a warning and an end when nothing is left.

use std::collections::HashSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use control_api::{Admission, Grant, Limit, NotAdmitted, NotRenewed, Refused, Store};
use domain::{CallId, EndedReason, TenantId};
use pipeline::link::usage::Usage;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::AbortHandle;
use tokio::time::{sleep, timeout};

use super::leg;
use super::meter::{Due, Meter};

/// How long the store may take to admit a call before it counts as away.
const PATIENCE: Duration = Duration::from_secs(3);

/// What callers hear before the end.
pub(super) const WARNING: &str = "I am sorry, our time is nearly up. This call will end in fifteen seconds.";

/// What new calls meet while the store is away.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WhenDown {
    /// A refusal.
    #[default]
    Refuse,
    /// A welcome, for so many at once; their leases are made up for when the store is back.
    AdmitUnbilled(usize),
}

/// Calls that run without a lease now.
#[derive(Clone, Debug, Default)]
pub struct Unbilled(Arc<AtomicUsize>);

impl Unbilled {
    fn seat(&self, limit: usize) -> Option<UnbilledSeat> {
        let took = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |now| (now < limit).then_some(now + 1));
        took.is_ok().then(|| UnbilledSeat(self.clone()))
    }
}

#[derive(Debug)]
struct UnbilledSeat(Unbilled);

impl Drop for UnbilledSeat {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// So many calls of a tenant may be on their way to the store at once, on all nodes, before what it said of the last one is worth nothing.
const PLENTY: i64 = 64;

/// Tenants that had credit, caps and calls to spare when one was last asked for: their calls may ring while the store is asked again.
#[derive(Clone, Debug, Default)]
pub struct Standing(Arc<Mutex<HashSet<(TenantId, bool)>>>);

impl Standing {
    /// Whether a call of this tenant will be admitted, by all that is known.
    pub(super) fn is_good(&self, tenant: TenantId, livemode: bool) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).contains(&(tenant, livemode))
    }

    fn note(&self, admission: &Admission, spare: i64) {
        let whose = (admission.tenant, admission.livemode);
        let mut good = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if spare >= PLENTY {
            good.insert(whose)
        } else {
            good.remove(&whose)
        };
    }
}

/// What a running call hears of its credit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CreditEvent {
    /// It will run out.
    Low {
        /// Until the end.
        remaining_ms: i64,
    },
    /// Warn the caller.
    Warn,
    /// It has run out.
    End(EndedReason),
}

/// The credit of an admitted call.
#[derive(Debug)]
pub(super) struct Credit {
    call: CallId,
    grant: Option<Grant>,
    /// Set while the call runs without a lease.
    unbilled: Option<UnbilledSeat>,
}

/// Why a call gets no credit: as the store has it, or because there is no store.
#[derive(Debug)]
pub(super) enum NoCredit {
    /// The store said no.
    Refused(NotAdmitted),
    /// The store is away, and the policy says no.
    StoreDown,
}

impl NoCredit {
    /// The refusal on the wire, and what the row says.
    pub(super) fn for_caller(&self) -> (Refused, EndedReason) {
        match self {
            Self::Refused(NotAdmitted::NoCredit) => (Refused::NoCredit, EndedReason::InsufficientCredit),
            Self::Refused(NotAdmitted::SpendCap) => (Refused::NoCredit, EndedReason::SpendCap),
            Self::Refused(NotAdmitted::Concurrency { .. }) => (Refused::Concurrency, EndedReason::Concurrency),
            Self::Refused(NotAdmitted::Forbidden(_)) => (Refused::Blocked, EndedReason::ForbiddenDestination),
            Self::Refused(NotAdmitted::Store(_)) | Self::StoreDown => {
                (Refused::StoreUnavailable, EndedReason::NoCapacity)
            }
        }
    }
}

impl Credit {
    /// Asks the store for a lease; while it is away the policy decides.
    pub(super) async fn open(
        store: &Store,
        admission: &Admission,
        when_down: WhenDown,
        unbilled: &Unbilled,
        standing: &Standing,
    ) -> Result<Self, NoCredit> {
        let call = admission.call;
        let answer = timeout(PATIENCE, store.admit(admission, leg::unix_ms())).await;
        standing.note(admission, answer.as_ref().map_or(0, |answer| answer.as_ref().map_or(0, |grant| grant.spare)));
        let reason = match answer {
            Ok(Ok(grant)) => return Ok(Self { call, grant: Some(grant), unbilled: None }),
            Ok(Err(NotAdmitted::Store(error))) => error.to_string(),
            Ok(Err(refused)) => return Err(NoCredit::Refused(refused)),
            Err(_) => format!("no answer in {} s", PATIENCE.as_secs()),
        };
        let seat = match when_down {
            WhenDown::Refuse => None,
            WhenDown::AdmitUnbilled(limit) => unbilled.seat(limit),
        };
        tracing::warn!(call_id = %call, reason, admitted = seat.is_some(), "the store is away at the admission of a call");
        seat.map(|seat| Self { call, grant: None, unbilled: Some(seat) }).ok_or(NoCredit::StoreDown)
    }

    /// Whether the journal has to make up for the lease.
    pub(super) fn is_unbilled(&self) -> bool {
        self.grant.is_none()
    }

    /// The call was answered: the lease is kept from now on, until the handle is dropped.
    pub(super) fn keep(self, store: Store, answered_ms: i64, since: Instant) -> Kept {
        let (tell, events) = unbounded_channel();
        let task = tokio::spawn(keep(self, store, answered_ms, since, tell)).abort_handle();
        Kept { events, task }
    }
}

/// A lease that is being kept.
#[derive(Debug)]
pub(super) struct Kept {
    /// What the call should know.
    pub(super) events: UnboundedReceiver<CreditEvent>,
    task: AbortHandle,
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn keep(mut credit: Credit, store: Store, answered_ms: i64, since: Instant, tell: UnboundedSender<CreditEvent>) {
    let elapsed = || since.elapsed().as_millis() as i64;
    if let Some(grant) = &credit.grant
        && let Err(error) = store.lease_answered(&grant.id, answered_ms).await
    {
        // The first renewal notes it as well, and the call's row has it.
        tracing::warn!(call_id = %credit.call, %error, "the answer of a call could not be noted on its lease");
    }
    let mut meter = Meter::new(credit.grant.as_ref().map(|grant| (grant.covered_ms, grant.limit)));
    loop {
        let wait = (meter.deadline() - elapsed()).max(0);
        sleep(Duration::from_millis(wait as u64)).await;
        let now = elapsed();
        while let Some(due) = meter.due(now) {
            let event = match due {
                Due::Renew => match renew(&store, &credit, now, answered_ms).await {
                    Some(Ok(cover)) => {
                        credit.unbilled = None;
                        meter.renewed(now, &cover);
                        continue;
                    }
                    Some(Err(reason)) => CreditEvent::End(reason),
                    None => continue,
                },
                Due::Low { remaining_ms } => CreditEvent::Low { remaining_ms },
                Due::Warn => CreditEvent::Warn,
                Due::End(limit) => CreditEvent::End(Limit::ended_reason(limit)),
            };
            if tell.send(event).is_err() || matches!(event, CreditEvent::End(_)) {
                return;
            }
        }
    }
}

/// The new cover; the reason to end the call; or nothing, when the store is away.
async fn renew(
    store: &Store,
    credit: &Credit,
    elapsed_ms: i64,
    answered_ms: i64,
) -> Option<Result<control_api::Cover, EndedReason>> {
    match timeout(PATIENCE, store.renew(credit.call, elapsed_ms, answered_ms + elapsed_ms)).await {
        Ok(Ok(cover)) => Some(Ok(cover)),
        // Somebody who thought that this node was lost has settled the call.
        Ok(Err(NotRenewed::Closed)) => {
            tracing::error!(call_id = %credit.call, "the lease of a running call is closed");
            Some(Err(EndedReason::Internal))
        }
        Ok(Err(error)) => {
            tracing::warn!(call_id = %credit.call, %error, "a lease could not be renewed, trying again");
            None
        }
        Err(_) => None,
    }
}

/// What a call's vendors were asked, priced.
pub(super) fn used(billing: &control_api::BillingSettings, meters: &[(String, Arc<Usage>)]) -> Vec<control_api::Used> {
    let mut all = Vec::new();
    for (provider, usage) in meters {
        let counts = usage.counts();
        for (item, quantity) in [
            ("stt_s", counts.audio_in_ms.div_ceil(1000)),
            ("llm_in_token", counts.input_tokens),
            ("llm_out_token", counts.output_tokens),
            ("tts_char", counts.characters),
        ] {
            if quantity > 0 {
                all.push(billing.used(item, provider, quantity));
            }
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_store_so_many_are_admitted_and_no_more() {
        let unbilled = Unbilled::default();
        let (first, second) = (unbilled.seat(2), unbilled.seat(2));
        assert!(first.is_some() && second.is_some() && unbilled.seat(2).is_none());
        drop(first);
        assert!(unbilled.seat(2).is_some());
        assert!(unbilled.seat(0).is_none());
    }

    #[test]
    fn a_tenant_is_in_good_standing_as_long_as_there_is_plenty() {
        let (standing, tenant) = (Standing::default(), TenantId(uuid::Uuid::from_u128(1)));
        let admission = Admission {
            tenant,
            livemode: true,
            call: CallId(uuid::Uuid::from_u128(2)),
            item: control_api::Item::VoiceIn,
            address: String::new(),
            number: None,
            node: String::new(),
            boot: domain::BootId(uuid::Uuid::nil()),
            max_cost_micros: None,
        };
        assert!(!standing.is_good(tenant, true), "nobody is known yet");
        standing.note(&admission, PLENTY);
        assert!(standing.is_good(tenant, true) && !standing.is_good(tenant, false));
        standing.note(&admission, PLENTY - 1);
        assert!(!standing.is_good(tenant, true));
    }

    #[test]
    fn refusals_on_the_wire_are_those_of_the_table() {
        for (refused, status, reason) in [
            (NoCredit::Refused(NotAdmitted::NoCredit), 480, EndedReason::InsufficientCredit),
            (NoCredit::Refused(NotAdmitted::SpendCap), 480, EndedReason::SpendCap),
            (NoCredit::Refused(NotAdmitted::Concurrency { max: 3 }), 486, EndedReason::Concurrency),
            (NoCredit::StoreDown, 503, EndedReason::NoCapacity),
        ] {
            let (wire, row) = refused.for_caller();
            assert_eq!((wire.sip_status(), row), (status, reason));
        }
    }
}
