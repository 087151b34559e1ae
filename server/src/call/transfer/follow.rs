//! The other side hands the agent on: a REFER that is followed (RFC 3515).

use std::time::Duration;

use control_api::{DialRefused, Entry, OnFail, TransferMode, TransferTerms};
use domain::Pii;
use domain::event::Name;
use domain::phone::E164;
use pipeline::conversation::Order;
use sip_stack::{Refer, Refusal};
use tokio::time::Instant;
use wire::media::Patch;

use super::{Stage, Transfer};
use crate::call::party::Party;
use crate::call::session::Session;
use crate::call::steer::Grip;

/// Who has passed the agent on hangs up within this time, or is hung up on.
const LEAVING: Duration = Duration::from_secs(3);

impl Session {
    /// The other side wants the agent to talk to somebody else from now on: a new leg takes the place of its own.
    pub(in crate::call) async fn follow(&mut self, refer: Refer, grip: &mut Grip) {
        match self.may_follow(&refer, grip).await {
            Ok(transfer) => {
                if self.desk.sip.accept_refer(self.call).await.is_err() {
                    self.desk.leave_trunk(self.seat.id);
                    return; // it hung up meanwhile
                }
                self.tell_transfer(&transfer, Name::TransferStarted, None, None);
                if let Some(leg) = &transfer.leg {
                    self.write(Entry::Leg(Box::new(leg.clone())));
                }
                grip.transfer = Some(transfer);
            }
            Err(status) => self.desk.sip.refuse_refer(self.call, Refusal::new(status)),
        }
    }

    async fn may_follow(&self, refer: &Refer, grip: &Grip) -> Result<Transfer, u16> {
        if !grip.talks || grip.transfer.is_some() || grip.farewell.is_some() {
            return Err(603);
        }
        let live = self.desk.live_call_of(self.seat.id).ok_or(603_u16)?;
        if let Some(trunk) = live.trunk
            && !self.desk.directory.follows_referrals(trunk).await
        {
            return Err(603);
        }
        // A carrier writes a number as the user part of a URI; it leaves by a trunk of ours, under the rules for numbers.
        let uri = &refer.to.uri;
        let number = uri.user_decoded().filter(|user| user.parse::<E164>().is_ok());
        let to = number.map_or_else(|| uri.to_string(), |number| number.into_owned());
        let terms = TransferTerms {
            to: Pii::new(to),
            mode: TransferMode::Refer,
            brief: None,
            shows_caller: false,
            ring_timeout_ms: 30_000,
            on_fail: OnFail::Resume,
        };
        let refusal = |refused| match refused {
            DialRefused::NoCapacity | DialRefused::StoreUnavailable => 503_u16,
            _ => 603,
        };
        let plan = self.way_to(&terms, &live).await.map_err(refusal)?;
        let (stage, leg) = self.ring_up(&terms, plan, refer.replaces.clone()).await.map_err(refusal)?;
        let id = uuid::Uuid::now_v7().to_string();
        let (name, tool, leg, uri) = (None, None, Some(leg), String::new());
        Ok(Transfer { id, name, terms, uri, tool, leg, rings: false, bridged_at: None, by_them: true, stage })
    }

    /// They have answered: the agent is theirs, and the one who passed it on may go.
    pub(super) fn pass_to(&mut self, mut transfer: Transfer, party: Box<Party>, grip: &mut Grip) {
        let (left, other) = Patch::succession();
        grip.leave_line();
        grip.control.patch(left);
        party.control.patch(other);
        transfer.bridged_at = Some(Instant::now());
        self.desk.sip.refer_progress(self.call, 200);
        self.tell_transfer(&transfer, Name::TransferBridged, None, None);
        if grip.gone {
            let _ = self.orders.send(Order::Away(false));
        } else {
            // It hangs up by itself, or is helped to.
            let (sip, call) = (self.desk.sip.clone(), self.call);
            tokio::spawn(async move {
                tokio::time::sleep(LEAVING).await;
                sip.end(call);
            });
        }
        transfer.stage = Stage::Passed(party);
        grip.transfer = Some(transfer);
    }

    /// The other side has hung up after it passed the agent on: until somebody answers, nobody listens.
    pub(in crate::call) fn left_behind(&mut self, grip: &mut Grip) {
        grip.gone = true;
        let waits = grip.transfer.as_ref().is_some_and(|transfer| matches!(transfer.stage, Stage::Dialling(_)));
        if waits {
            let _ = self.orders.send(Order::Away(true));
        }
    }
}
