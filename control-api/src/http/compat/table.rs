//! The rows: which path of an earlier product stands for which of ours. `{…}` are handed over in their order.

/// Whose clients ask: they have field names in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Family {
    /// Our own names.
    Own,
    /// Rooms of a voice platform: calls in a browser.
    Rooms,
    /// `phone_number`, `system_prompt`, `voice`; answers with `call_id`, `duration_seconds`.
    Dialler,
    /// `phoneNumber`; answers with `callSid`.
    Caller,
    /// `number`, `areaCode`, `type`, and words in capitals.
    Trunks,
    /// `agentId`, `systemPrompt`, `voiceId`.
    Agents,
}

/// One row.
#[derive(Debug)]
pub(super) struct Alias {
    pub(super) method: &'static str,
    pub(super) path: &'static str,
    pub(super) to_method: &'static str,
    pub(super) to: &'static str,
    pub(super) family: Family,
    /// The first `{…}` of the path is the tenant, which must be the credential's.
    pub(super) of_tenant: bool,
    /// 200 is answered as 204.
    pub(super) no_content: bool,
}

impl Alias {
    const fn new(family: Family, method: &'static str, path: &'static str, to: &'static str) -> Self {
        Self { method, path, to_method: method, to, family, of_tenant: false, no_content: false }
    }

    /// A row below `/api/v1/tenants/{tenant}`.
    const fn below(method: &'static str, path: &'static str, to: &'static str) -> Self {
        Self { of_tenant: true, ..Self::new(Family::Trunks, method, path, to) }
    }

    pub(super) fn has_body(&self) -> bool {
        matches!(self.method, "POST" | "PUT" | "PATCH")
    }
}

use Family::{Agents, Caller, Dialler, Own, Rooms};

/// All of them.
pub(super) const TABLE: &[Alias] = &[
    Alias::new(Own, "POST", "/api/v1/orgs", "/api/v1/tenants"),
    Alias::new(Own, "GET", "/api/v1/orgs", "/api/v1/tenants"),
    Alias::new(Own, "GET", "/api/v1/orgs/{id}", "/api/v1/tenants/{id}"),
    Alias::new(Own, "PUT", "/api/v1/orgs/{id}", "/api/v1/tenants/{id}"),
    Alias::new(Own, "POST", "/api/v1/orgs/{id}/invitations", "/api/v1/tenants/{id}/invitations"),
    Alias::new(Own, "GET", "/api/v1/orgs/{id}/members", "/api/v1/tenants/{id}/members"),
    Alias::new(Own, "PUT", "/api/v1/orgs/{id}/members/{uid}", "/api/v1/tenants/{id}/members/{uid}"),
    Alias::new(Own, "DELETE", "/api/v1/orgs/{id}/members/{uid}", "/api/v1/tenants/{id}/members/{uid}"),
    Alias::new(Own, "POST", "/api/v1/numbers/buy", "/api/v1/numbers"),
    Alias::new(Own, "GET", "/api/v1/calls/{id}/logs", "/api/v1/calls/{id}/events"),
    Alias::new(Own, "POST", "/api/v1/calls/outbound", "/api/v1/calls"),
    Alias::new(Rooms, "POST", "/api/v1/rooms", "/api/v1/calls"),
    Alias::new(Rooms, "GET", "/api/v1/rooms/{id}", "/api/v1/calls/{id}"),
    Alias {
        to_method: "POST",
        no_content: true,
        ..Alias::new(Own, "DELETE", "/api/v1/rooms/{id}", "/api/v1/calls/{id}/end")
    },
    Alias::new(Dialler, "POST", "/api/v1/calls/initiate", "/api/v1/calls"),
    Alias::new(Dialler, "GET", "/api/v1/calls/active/list", "/api/v1/calls/active"),
    Alias::new(Own, "GET", "/api/v1/calls/dashboard/analytics", "/api/v1/analytics/overview"),
    Alias::new(Caller, "POST", "/api/outbound-call", "/api/v1/calls"),
    Alias::new(Caller, "GET", "/api/calls", "/api/v1/calls"),
    Alias::new(Own, "GET", "/api/leads", "/api/v1/leads"),
    Alias::new(Caller, "GET", "/api/active-calls", "/api/v1/calls/active"),
    Alias::below("GET", "/api/v1/tenants/{tenant}/phone-numbers/available", "/api/v1/numbers/available"),
    Alias::below("POST", "/api/v1/tenants/{tenant}/phone-numbers", "/api/v1/numbers"),
    Alias::below("GET", "/api/v1/tenants/{tenant}/phone-numbers", "/api/v1/numbers"),
    Alias::below("GET", "/api/v1/tenants/{tenant}/phone-numbers/{id}", "/api/v1/numbers/{id}"),
    Alias::below("PUT", "/api/v1/tenants/{tenant}/phone-numbers/{id}", "/api/v1/numbers/{id}"),
    Alias::below("DELETE", "/api/v1/tenants/{tenant}/phone-numbers/{id}", "/api/v1/numbers/{id}"),
    Alias::below("GET", "/api/v1/tenants/{tenant}/platform-trunks", "/api/v1/trunks"),
    Alias::below("POST", "/api/v1/tenants/{tenant}/platform-trunks", "/api/v1/trunks"),
    Alias::below("GET", "/api/v1/tenants/{tenant}/platform-trunks/{id}", "/api/v1/trunks/{id}"),
    Alias::below("PUT", "/api/v1/tenants/{tenant}/platform-trunks/{id}", "/api/v1/trunks/{id}"),
    Alias::below("DELETE", "/api/v1/tenants/{tenant}/platform-trunks/{id}", "/api/v1/trunks/{id}"),
    Alias::below("GET", "/api/v1/tenants/{tenant}/livekit-trunks", "/api/v1/trunks"),
    Alias::below("POST", "/api/v1/tenants/{tenant}/livekit-trunks", "/api/v1/trunks"),
    Alias::below("GET", "/api/v1/tenants/{tenant}/livekit-trunks/{id}", "/api/v1/trunks/{id}"),
    Alias::below("PUT", "/api/v1/tenants/{tenant}/livekit-trunks/{id}", "/api/v1/trunks/{id}"),
    Alias::below("DELETE", "/api/v1/tenants/{tenant}/livekit-trunks/{id}", "/api/v1/trunks/{id}"),
    Alias::new(Own, "GET", "/internal/v1/workers", "/api/v1/nodes"),
    Alias::new(Own, "POST", "/internal/v1/retry/{id}", "/api/v1/deliveries/{id}/retry"),
    Alias::new(Own, "GET", "/usage", "/api/v1/billing/usage"),
    Alias::new(Agents, "GET", "/agents", "/api/v1/agents"),
    Alias::new(Agents, "POST", "/agents", "/api/v1/agents"),
    Alias::new(Agents, "PUT", "/agents/{id}", "/api/v1/agents/{id}"),
    Alias::new(Agents, "DELETE", "/agents/{id}", "/api/v1/agents/{id}"),
    Alias::new(Agents, "GET", "/agents/{id}/transcripts", "/api/v1/agents/{id}/transcripts"),
    Alias::new(Agents, "POST", "/agents/{id}/tools/{tool}/invoke", "/api/v1/agents/{id}/tools/{tool}/invoke"),
    Alias::new(Agents, "POST", "/auth/login", "/api/v1/auth/login"),
    Alias::new(Agents, "POST", "/auth/signup", "/api/v1/auth/register"),
];
