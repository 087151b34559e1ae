//! Names of events, as they stand in the store, in webhooks, on the WebSocket and on the bus (API.md §3.5).
//!
//! A [`Name`] is durable: stored, numbered, delivered everywhere. A [`Live`] one is shown to who watches, and gone.

use crate::call::words;

words! {
    /// The type of a durable event.
    Name {
        /// The row exists.
        CallCreated = "call.created",
        /// INVITE sent, or tenant and agent resolved.
        CallInitiating = "call.initiating",
        /// 180 or 183.
        CallRinging = "call.ringing",
        /// Answered.
        CallAnswered = "call.answered",
        /// A caller's turn is final.
        TurnCaller = "call.turn.caller",
        /// An agent's turn was played or cut.
        TurnAgent = "call.turn.agent",
        /// A barge-in was confirmed: `{turn,at_ms,heard_chars,stop_ms}`.
        TurnInterrupted = "call.turn.interrupted",
        /// A false alarm, speech went on: `{turn,paused_ms}`.
        TurnResumed = "call.turn.resumed",
        /// A digit came: `{digit,ms,via}`.
        DtmfReceived = "call.dtmf.received",
        /// A digit left: `{digit,ms,via}`.
        DtmfSent = "call.dtmf.sent",
        /// A tool began: `{invocation_id,tool,arguments}`.
        ToolStarted = "call.tool.started",
        /// A tool ended: `{…,ok,status,duration_ms,result_excerpt}`.
        ToolFinished = "call.tool.finished",
        /// A transfer began: `{transfer_id,destination,mode}`.
        TransferStarted = "call.transfer.started",
        /// The target rings: `{transfer_id,sip_status}`.
        TransferRinging = "call.transfer.ringing",
        /// Caller and target hear each other: `{transfer_id}`.
        TransferBridged = "call.transfer.bridged",
        /// A transfer failed: `{transfer_id,sip_status,reason}`.
        TransferFailed = "call.transfer.failed",
        /// A transfer is done.
        TransferCompleted = "call.transfer.completed",
        /// The media of two joined legs goes past us: `{transfer_id}`.
        MediaReleased = "call.media.released",
        /// It comes here again: `{transfer_id,reason}`.
        MediaReturned = "call.media.returned",
        /// Either side holds: `{by}`.
        HoldStarted = "call.hold.started",
        /// The hold is over: `{by}`.
        HoldEnded = "call.hold.ended",
        /// Who or what answered: `{kind,confidence,after_ms}`.
        MachineDetected = "call.machine.detected",
        /// The message was played after the beep: `{ms}`.
        VoicemailLeft = "call.voicemail.left",
        /// The caller's answer to the question of consent: `{given}`.
        Consent = "call.consent",
        /// The language changed: `{from,to}`.
        LanguageChanged = "call.language.changed",
        /// A stage changed vendor: `{stage,from,to,reason,after_ms}`.
        ProviderFailedOver = "call.provider.failed_over",
        /// All vendors of a stage are down: `{stage,action}`.
        Degraded = "call.degraded",
        /// Loss or MOS crossed a limit.
        Quality = "call.quality",
        /// The last lease that credit covers has begun: `{remaining_ms}`.
        CreditLow = "call.credit.low",
        /// Someone listens: `{user_id}`.
        ListenStarted = "call.listen.started",
        /// Someone stopped to listen: `{user_id}`.
        ListenEnded = "call.listen.ended",
        /// Exactly once per call.
        CallEnded = "call.ended",
        /// Stored: `{recording_id,duration_ms,bytes,sha256}`.
        RecordingReady = "call.recording.ready",
        /// Could not be stored.
        RecordingFailed = "call.recording.failed",
        /// The analysis is done or failed; its data is the analysis.
        CallAnalyzed = "call.analyzed",
        /// Settled, vendors' counts included; its data is the cost.
        CostFinal = "call.cost.final",
        /// A lead exists.
        LeadCreated = "lead.created",
        /// A lead changed.
        LeadUpdated = "lead.updated",
        /// An agent took a message.
        MessageTaken = "message.taken",
        /// An agent booked a slot.
        BookingCreated = "booking.created",
        /// A booking was given up.
        BookingCanceled = "booking.canceled",
        /// A mail left: `{lead_id,template,to_masked}`.
        EmailSent = "email.sent",
        /// A mail was refused: `{lead_id,template,to_masked}`.
        EmailFailed = "email.failed",
        /// A campaign dials: `{campaign_id}`.
        CampaignStarted = "campaign.started",
        /// A campaign waits: `{campaign_id}`.
        CampaignPaused = "campaign.paused",
        /// A campaign has no contact left: `{campaign_id}`.
        CampaignCompleted = "campaign.completed",
        /// Too few answers or too many failures: `{campaign_id}`.
        CampaignBreakerOpened = "campaign.breaker_opened",
        /// A contact needs no further call: `{campaign_id,contact_id,outcome}`.
        CampaignContactDone = "campaign.contact.done",
        /// A number was bought; its data is the number.
        NumberPurchased = "number.purchased",
        /// A number has another agent; its data is the number.
        NumberAssigned = "number.assigned",
        /// A number was given back; its data is the number.
        NumberReleased = "number.released",
        /// An order was compensated; its data is the order.
        NumberOrderFailed = "number.order.failed",
        /// A port has moved on; its data is the order.
        NumberPortUpdated = "number.port.updated",
        /// A gateway answers: `{trunk_id,gateway,detail}`.
        TrunkUp = "trunk.up",
        /// A gateway does not answer: `{trunk_id,gateway,detail}`.
        TrunkDown = "trunk.down",
        /// A registration stands: `{trunk_id,gateway,detail}`.
        TrunkRegistered = "trunk.registered",
        /// A registration was refused: `{trunk_id,gateway,detail}`.
        TrunkRegistrationFailed = "trunk.registration_failed",
        /// An agent exists: `{agent_id,version}`.
        AgentCreated = "agent.created",
        /// An agent has a new version: `{agent_id,version}`.
        AgentUpdated = "agent.updated",
        /// An agent is gone: `{agent_id,version}`.
        AgentDeleted = "agent.deleted",
        /// A document can be asked: `{agent_id,doc_id}`.
        KnowledgeReady = "knowledge.ready",
        /// A document cannot be read: `{agent_id,doc_id,error}`.
        KnowledgeFailed = "knowledge.failed",
        /// Credit was bought: `{payment_id,credit_micros}`.
        TopUpSucceeded = "billing.top_up.succeeded",
        /// A payment failed: `{payment_id,credit_micros}`.
        TopUpFailed = "billing.top_up.failed",
        /// Credit was paid back: `{payment_id,credit_micros}`.
        Refunded = "billing.refunded",
        /// Credit fell below the mark, once per crossing; its data is the balance.
        BalanceLow = "billing.balance.low",
        /// Credit is used up, once per crossing; its data is the balance.
        BalanceExhausted = "billing.balance.exhausted",
        /// A spend cap is reached, once per crossing; its data is the balance.
        CapReached = "billing.cap.reached",
        /// An invoice is final; its data is the invoice.
        InvoiceCreated = "invoice.created",
        /// An invoice is paid; its data is the invoice.
        InvoicePaid = "invoice.paid",
        /// A plan was taken; its data is the subscription.
        SubscriptionCreated = "subscription.created",
        /// A plan changed; its data is the subscription.
        SubscriptionUpdated = "subscription.updated",
        /// Someone registered: `{user_id}`.
        UserCreated = "user.created",
        /// A tenant exists: `{tenant_id}`.
        TenantCreated = "tenant.created",
        /// An invitation is open: `{invitation_id}`.
        MemberInvited = "member.invited",
        /// A member joined: `{user_id}`.
        MemberJoined = "member.joined",
        /// A member left: `{user_id}`.
        MemberRemoved = "member.removed",
        /// An API key exists: `{key_id}`.
        KeyCreated = "key.created",
        /// An API key is dead: `{key_id}`.
        KeyRevoked = "key.revoked",
        /// A sign-up came by a link: `{referral_id}`.
        ReferralAttributed = "referral.attributed",
        /// Earnings are asked for: `{payout_id,amount_micros}`.
        PayoutRequested = "referral.payout.requested",
        /// An export can be fetched: `{file_id}`.
        ExportReady = "export.ready",
        /// A report can be fetched: `{file_id}`.
        ReportReady = "report.ready",
        /// A webhook was switched off: `{webhook_id,reason}`.
        WebhookDisabled = "webhook.disabled",
        /// What the test of a webhook sends: `{webhook_id}`.
        WebhookTest = "webhook.test",
        /// A node takes no new calls: `{node_id,calls}`. Platform only.
        NodeDraining = "node.draining",
        /// A node is silent: `{node_id,calls}`. Platform only.
        NodeLost = "node.lost",
    }
}

words! {
    /// The type of an event that is only shown to who watches now: neither stored nor numbered.
    Live {
        /// What the agent does changed: `{activity}`.
        Activity = "call.activity",
        /// The recogniser's view of the sentence that is being spoken: `{turn,speaker,text,stable_chars}`.
        TranscriptPartial = "call.transcript.partial",
    }
}

impl Name {
    /// Whether it concerns the whole installation: only its operator sees it.
    pub const fn is_platform(self) -> bool {
        matches!(self, Self::NodeDraining | Self::NodeLost)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_read_back_and_are_lower_case_paths() {
        for name in Name::ALL {
            assert_eq!(name.as_str().parse(), Ok(*name));
            assert!(name.as_str().bytes().all(|b| b.is_ascii_lowercase() || b == b'.' || b == b'_'));
            assert!(name.as_str().contains('.'));
        }
    }

    #[test]
    fn no_event_is_both_durable_and_live() {
        for live in Live::ALL {
            assert!(live.as_str().parse::<Name>().is_err(), "{live}");
        }
    }
}
