//! A trunk (API.md §1.5): the gateways of a carrier or a customer's exchange, who they are, and how they like their calls.

use std::{collections::BTreeMap, net::IpAddr};

use domain::{CallId, phone::NumberFormat};
use serde::{Deserialize, Serialize};

use super::{
    Faults, Network,
    document::{Action, draw, is_country},
    is_address,
};

macro_rules! words {
    ($($(#[$doc:meta])* $vis:vis $name:ident { $($(#[$attr:meta])* $variant:ident = $word:literal),+ $(,)? })+) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, utoipa::ToSchema)]
        $vis enum $name { $($(#[$attr])* #[doc = concat!("`", $word, "`")] #[serde(rename = $word)] $variant),+ }

        impl $name {
            /// The word in JSON and in the store.
            #[allow(dead_code, reason = "few of them have a column of their own")]
            $vis const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }
        }
    )+};
}

words! {
    /// Which way calls go.
    pub(crate) TrunkDirection { Inbound = "inbound", Outbound = "outbound", #[default] Both = "both" }
    /// What carries SIP.
    pub GatewayTransport { #[default] Udp = "udp", Tcp = "tcp", Tls = "tls" }
    /// How a call that comes in proves where it is from.
    pub(crate) InboundMode { #[default] Ip = "ip", Digest = "digest", IpAndDigest = "ip_and_digest", Mtls = "mtls" }
    /// Where the caller's number is read.
    pub(crate) CallerIdFrom { Number = "number", Pai = "pai", #[default] Both = "both" }
    /// What signed caller ids must be.
    pub StirVerify { Off = "off", #[default] Record = "record", RequireA = "require_A", RequireB = "require_B" }
    /// Codecs.
    pub(crate) TrunkCodec { #[default] Opus = "opus", G722 = "g722", Pcmu = "pcmu", Pcma = "pcma" }
    /// Encryption of the media.
    pub Srtp { #[default] Off = "off", Sdes = "sdes", Dtls = "dtls", RequireSdes = "require_sdes", RequireDtls = "require_dtls" }
    /// Whether two legs that are joined may send their media to each other.
    pub Release { #[default] Never = "never", Allow = "allow" }
    /// How keys travel.
    pub(crate) TrunkDtmf { Rfc4733 = "rfc4733", Info = "info", Inband = "inband", #[default] Auto = "auto" }
    /// Sound before the answer.
    pub(crate) EarlyMedia { #[default] Accept = "accept", Ignore = "ignore" }
    /// Reliable provisional answers.
    pub Prack { Off = "off", #[default] Supported = "supported", Required = "required" }
    /// What a REFER does.
    pub(crate) Refer { Accept = "accept", #[default] Bridge = "bridge", Refuse = "refuse" }
}

macro_rules! section {
    ($(#[$doc:meta])* $name:ident { $($(#[$attr:meta])* $field:ident: $kind:ty $(= $default:expr)?),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(deny_unknown_fields, default)]
        pub(crate) struct $name { $($(#[$attr])* pub(crate) $field: $kind),+ }

        impl Default for $name {
            fn default() -> Self {
                Self { $($field: section!(@default $($default)?)),+ }
            }
        }
    };
    (@default) => { Default::default() };
    (@default $default:expr) => { $default };
}

section! {
    /// The whole trunk but for its secrets, which are sealed beside it.
    Trunk {
        name: String,
        direction: TrunkDirection,
        enabled: bool = true,
        gateways: Vec<Gateway>,
        auth: Auth,
        register: Register,
        identity: Identity,
        media: TrunkMedia,
        sip: TrunkSip,
        limits: TrunkLimits,
        failover: Failover,
        /// What happens to a call that no number and no rule wants; 404 when absent.
        #[serde(skip_serializing_if = "Option::is_none")]
        default: Option<Action>,
    }
}

section! {
    /// One address of the other side.
    Gateway {
        host: String,
        /// 5060, or 5061 over TLS.
        #[serde(skip_serializing_if = "Option::is_none")]
        port: Option<u16>,
        transport: GatewayTransport,
        /// Calls that come from here are this trunk's; the host itself when it is an address.
        #[serde(skip_serializing_if = "Option::is_none")]
        cidr: Option<String>,
        inbound: bool = true,
        outbound: bool = true,
        /// Lowest first.
        priority: i64,
        /// 1 to 1000: share among those of one priority.
        weight: u32 = 1,
    }
}

section! {
    /// Who we are to them and they to us.
    Auth { inbound: InboundAuth, outbound: OutboundAuth }
}

section! {
    /// How they prove who they are.
    InboundAuth {
        mode: InboundMode,
        #[serde(skip_serializing_if = "Option::is_none")]
        username: Option<String>,
        /// Written, never read; absent keeps the one there is, "" takes it away.
        #[serde(skip_serializing)]
        password: Option<String>,
        /// Whether there is a password.
        password_set: Option<bool>,
    }
}

section! {
    /// How we prove who we are.
    OutboundAuth {
        #[serde(skip_serializing_if = "Option::is_none")]
        username: Option<String>,
        /// Written, never read; absent keeps the one there is, "" takes it away.
        #[serde(skip_serializing)]
        password: Option<String>,
        /// Whether there is a password.
        password_set: Option<bool>,
        /// Challenges of other realms are not answered.
        #[serde(skip_serializing_if = "Option::is_none")]
        realm: Option<String>,
        algorithms: Vec<String> = vec!["SHA-256".into(), "MD5".into()],
    }
}

section! {
    /// Our registration with a registrar.
    Register {
        enabled: bool,
        #[serde(skip_serializing_if = "Option::is_none")]
        registrar: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        aor: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        contact_user: Option<String>,
        expires_s: u32 = 3600,
    }
}

section! {
    /// How numbers are written and believed.
    Identity {
        #[serde(skip_serializing_if = "Option::is_none")]
        from_domain: Option<String>,
        caller_id: CallerIdFrom,
        privacy_honour: bool = true,
        e164: NumberFormat,
        stir: Stir,
    }
}

section! {
    /// Signed caller ids (RFC 8224).
    Stir { verify: StirVerify, sign: bool }
}

section! {
    /// Media.
    TrunkMedia {
        codecs: Vec<TrunkCodec> = vec![TrunkCodec::Opus, TrunkCodec::G722, TrunkCodec::Pcmu, TrunkCodec::Pcma],
        srtp: Srtp,
        ptime_ms: u32 = 20,
        dtmf: TrunkDtmf,
        symmetric_rtp: bool = true,
        early_media: EarlyMedia,
        /// Whether the media of two legs that are joined may go past us.
        release: Release,
    }
}

/// What a trunk says of the media of its calls.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MediaTerms {
    /// Encryption.
    pub srtp: Srtp,
    /// Whether media may go past us.
    pub release: Release,
}

impl TrunkMedia {
    pub(crate) fn terms(&self) -> MediaTerms {
        MediaTerms { srtp: self.srtp, release: self.release }
    }
}

section! {
    /// SIP beyond the call itself.
    TrunkSip {
        session_timer_s: u32 = 1800,
        options_ping_s: u32 = 30,
        prack: Prack,
        max_forwards: u32 = 70,
        /// Header to text, in which `{{name}}` is a variable of the call.
        headers_out: BTreeMap<String, String>,
        /// Header to the name of a variable of the call.
        headers_in: BTreeMap<String, String>,
        refer: Refer,
    }
}

section! {
    /// How much it may carry.
    TrunkLimits { max_channels: u32 = 30, max_cps: u32 = 5 }
}

section! {
    /// When the next gateway is tried.
    Failover {
        on: Vec<u16> = vec![408, 500, 502, 503, 504],
        next_after_ms: u64 = 4_000,
        ban_ms: u64 = 30_000,
    }
}

/// What a writer of trunks may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Powers<'a> {
    /// The platform's operator: any width of network.
    pub(crate) platform: bool,
    /// Networks that are not public and that trunks may name all the same.
    pub(crate) private: &'a [Network],
}

impl Gateway {
    /// The network whose calls are this trunk's.
    pub(crate) fn network(&self) -> Option<Network> {
        match &self.cidr {
            Some(cidr) => cidr.parse().ok(),
            None => bare(&self.host).parse::<IpAddr>().ok().map(Network::from),
        }
    }

    /// The port to send to.
    pub(crate) fn port(&self) -> u16 {
        self.port.unwrap_or(if self.transport == GatewayTransport::Tls { 5061 } else { 5060 })
    }

    fn check(&self, powers: Powers<'_>) -> Faults {
        let mut faults = Faults::default();
        faults.need(is_host(&self.host), "host", "a host name or an address");
        faults.need(self.port != Some(0), "port", "port is from 1 to 65535");
        faults.need((1..=1000).contains(&self.weight), "weight", "weight is from 1 to 1000");
        faults.need((0..=1000).contains(&self.priority), "priority", "priority is from 0 to 1000");
        match self.cidr.as_ref().map(|text| text.parse::<Network>()) {
            Some(Err(error)) => faults.add("cidr", error.to_string()),
            Some(Ok(network)) if !powers.platform => {
                let least = if network.is_v6() { 56 } else { 24 };
                faults.need(
                    network.bits() >= least,
                    "cidr",
                    "at least /24 (IPv4) or /56 (IPv6); the platform's operator may go wider",
                );
            }
            _ => {}
        }
        let foreign = |network: Network| {
            !super::network::is_public(network.base())
                && !powers.private.iter().any(|allowed| allowed.contains(network.base()))
        };
        if self.inbound && !powers.platform && self.network().is_some_and(foreign) {
            let field = if self.cidr.is_some() { "cidr" } else { "host" };
            faults.add(
                field,
                "an address of a private or reserved network; the operator can allow it (routing.private_networks)",
            );
        }
        faults
    }
}

impl Trunk {
    /// Whether calls may come from it.
    pub(crate) fn takes(&self) -> bool {
        self.enabled && self.direction != TrunkDirection::Outbound
    }

    /// Whether calls may go to it.
    pub(crate) fn gives(&self) -> bool {
        self.enabled
            && self.direction != TrunkDirection::Inbound
            && self.gateways.iter().any(|gateway| gateway.outbound)
    }

    /// The gateways, by their place in the document, in the order in which this call tries them: by priority, within one by weighted
    /// lot.
    pub(crate) fn order(&self, call: CallId) -> Vec<usize> {
        let mut left: Vec<_> = self.gateways.iter().enumerate().filter(|(_, gateway)| gateway.outbound).collect();
        let mut order = Vec::with_capacity(left.len());
        while let Some(first) = left.iter().map(|(_, gateway)| gateway.priority).min() {
            let same = |gateway: &Gateway| gateway.priority == first;
            let weights =
                left.iter().filter(|(_, gateway)| same(gateway)).map(|(_, gateway)| u64::from(gateway.weight));
            let total: u64 = weights.sum();
            let mut at = draw(call, &[order.len() as u8]) % total.max(1);
            let chosen = left.iter().position(|(_, gateway)| {
                let here = same(gateway) && at < u64::from(gateway.weight);
                if same(gateway) {
                    at = at.saturating_sub(u64::from(gateway.weight));
                }
                here
            });
            order.push(left.remove(chosen.unwrap_or(0)).0);
        }
        order
    }

    /// The document without what may never be stored in clear.
    pub(crate) fn without_secrets(mut self) -> Self {
        (self.auth.inbound.password, self.auth.outbound.password) = (None, None);
        (self.auth.inbound.password_set, self.auth.outbound.password_set) = (None, None);
        self
    }

    pub(crate) fn check(&self, powers: Powers<'_>) -> Faults {
        let mut faults = Faults::default();
        let named = (1..=64).contains(&self.name.chars().count()) && !self.name.chars().any(char::is_control);
        faults.need(named, "name", "name has 1 to 64 characters and no control characters");
        faults.need(self.gateways.len() <= 20, "gateways", "at most 20 gateways");
        for (n, gateway) in self.gateways.iter().enumerate() {
            faults.below(&format!("gateways.{n}"), gateway.check(powers));
        }
        self.check_auth(&mut faults);
        let identity = &self.identity;
        faults.need(
            identity.from_domain.as_deref().is_none_or(is_host),
            "identity.from_domain",
            "a host name or an address",
        );
        let format = &identity.e164;
        faults.need(is_country(&format.country), "identity.e164.country", "a country code, as US");
        faults.need((4..=12).contains(&format.national_length), "identity.e164.national_length", "from 4 to 12 digits");
        for (field, text) in [("strip_prefix", &format.strip_prefix), ("tech_prefix", &format.tech_prefix)] {
            let sound = text.len() <= 16 && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"+#*".contains(&b));
            faults.need(sound, &format!("identity.e164.{field}"), "at most 16 of 0-9 A-Z a-z + # *");
        }
        faults.need(!self.media.codecs.is_empty(), "media.codecs", "at least one of opus, g722, pcmu, pcma");
        faults.need([10, 20, 30, 40, 60].contains(&self.media.ptime_ms), "media.ptime_ms", "10, 20, 30, 40 or 60");
        self.check_sip(&mut faults);
        faults.need((1..=10_000).contains(&self.limits.max_channels), "limits.max_channels", "from 1 to 10000");
        faults.need((1..=1_000).contains(&self.limits.max_cps), "limits.max_cps", "from 1 to 1000");
        let refusal = |status: &u16| (300..=699).contains(status);
        faults.need(
            self.failover.on.len() <= 50 && self.failover.on.iter().all(refusal),
            "failover.on",
            "at most 50 statuses from 300 to 699",
        );
        faults.need(
            (500..=32_000).contains(&self.failover.next_after_ms),
            "failover.next_after_ms",
            "from 500 to 32000",
        );
        faults.need(self.failover.ban_ms <= 3_600_000, "failover.ban_ms", "at most 3600000");
        if let Some(default) = &self.default {
            faults.below("default", default.check());
        }
        faults
    }

    fn check_auth(&self, faults: &mut Faults) {
        let auth = &self.auth;
        let texts = [
            ("auth.inbound.username", &auth.inbound.username, 128),
            ("auth.inbound.password", &auth.inbound.password, 256),
            ("auth.outbound.username", &auth.outbound.username, 128),
            ("auth.outbound.password", &auth.outbound.password, 256),
            ("auth.outbound.realm", &auth.outbound.realm, 255),
        ];
        for (field, text, most) in texts {
            let sound =
                |text: &String| text.len() <= most && !text.chars().any(char::is_control) && !text.contains('"');
            faults.need(
                text.as_ref().is_none_or(sound),
                field,
                &format!("at most {most} bytes, no control characters and no quotes"),
            );
        }
        if matches!(auth.inbound.mode, InboundMode::Digest | InboundMode::IpAndDigest) {
            faults.need(auth.inbound.username.is_some(), "auth.inbound.username", "digest needs a username");
        }
        let known = |name: &String| ["SHA-512-256", "SHA-256", "MD5"].contains(&name.as_str());
        let algorithms = &auth.outbound.algorithms;
        faults.need(
            !algorithms.is_empty() && algorithms.iter().all(known),
            "auth.outbound.algorithms",
            "one or more of SHA-512-256, SHA-256, MD5",
        );
        let register = &self.register;
        for (field, uri) in [("register.registrar", &register.registrar), ("register.aor", &register.aor)] {
            let sound = uri.as_deref().is_none_or(|uri| uri.starts_with("sip") && is_address(uri));
            faults.need(sound && (uri.is_some() || !register.enabled), field, "a sip: URI; needed to register");
        }
        let user = |user: &String| {
            (1..=64).contains(&user.len()) && user.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.+~".contains(&b))
        };
        faults.need(
            register.contact_user.as_ref().is_none_or(user),
            "register.contact_user",
            "1 to 64 letters, digits and - _ . + ~",
        );
        faults.need((60..=7200).contains(&register.expires_s), "register.expires_s", "from 60 to 7200");
    }

    fn check_sip(&self, faults: &mut Faults) {
        let sip = &self.sip;
        faults.need((90..=7200).contains(&sip.session_timer_s), "sip.session_timer_s", "from 90 to 7200");
        faults.need(
            sip.options_ping_s == 0 || (10..=600).contains(&sip.options_ping_s),
            "sip.options_ping_s",
            "0 for none, or from 10 to 600",
        );
        faults.need((1..=255).contains(&sip.max_forwards), "sip.max_forwards", "from 1 to 255");
        faults.need(sip.headers_out.len() <= 20, "sip.headers_out", "at most 20 headers");
        for (name, text) in &sip.headers_out {
            let sound = is_extension(name) && text.len() <= 255 && !text.chars().any(char::is_control);
            faults.need(
                sound,
                &format!("sip.headers_out.{name}"),
                "a header X-… and a text of at most 255 bytes without control characters",
            );
        }
        faults.need(sip.headers_in.len() <= 20, "sip.headers_in", "at most 20 headers");
        for (name, variable) in &sip.headers_in {
            let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
            let sound = is_token(name) && (1..=64).contains(&variable.len()) && variable.bytes().all(word);
            faults.need(sound, &format!("sip.headers_in.{name}"), "a header and the name of a variable");
        }
    }
}

/// `[::1]` without its brackets.
pub(crate) fn bare(host: &str) -> &str {
    host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host)
}

/// A host name (RFC 1123) or an address.
fn is_host(text: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    bare(text).parse::<IpAddr>().is_ok() || (text.len() <= 253 && text.trim_end_matches('.').split('.').all(label))
}

fn is_token(name: &str) -> bool {
    (1..=64).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
}

/// Only extension headers: nobody writes Via or From from here.
fn is_extension(name: &str) -> bool {
    is_token(name) && name.get(..2).is_some_and(|lead| lead.eq_ignore_ascii_case("x-"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use uuid::Uuid;

    use super::*;

    const NOBODY: Powers<'_> = Powers { platform: false, private: &[] };

    fn trunk(json: serde_json::Value) -> Trunk {
        serde_json::from_value(json).unwrap()
    }

    fn fields(trunk: &Trunk) -> Vec<String> {
        trunk.check(NOBODY).0.into_iter().map(|fault| fault.field).collect()
    }

    #[test]
    fn a_name_alone_is_a_trunk_and_reads_back() {
        let bare = trunk(json!({"name": "Carrier"}));
        assert_eq!(fields(&bare), [""; 0]);
        let text = serde_json::to_value(&bare).unwrap();
        assert_eq!(text["media"]["codecs"], json!(["opus", "g722", "pcmu", "pcma"]));
        assert_eq!(text["sip"]["session_timer_s"], 1800);
        assert_eq!(serde_json::from_value::<Trunk>(text).unwrap(), bare);
        assert!(serde_json::from_value::<Trunk>(json!({"name": "x", "gateway": []})).is_err());
        assert!(serde_json::from_value::<Trunk>(json!({"name": "x", "sip": {"prak": "off"}})).is_err());
    }

    #[test]
    fn passwords_are_read_and_never_written() {
        let secret = trunk(json!({"name": "x", "auth": {"outbound": {"username": "u", "password": "hunter2"}}}));
        assert_eq!(secret.auth.outbound.password.as_deref(), Some("hunter2"));
        assert!(!serde_json::to_string(&secret).unwrap().contains("hunter2"));
    }

    #[test]
    fn faults_are_named_by_their_paths() {
        let wrong = trunk(json!({"name": "", "gateways": [
                {"host": "bad host", "port": 0, "cidr": "10.0.0.0/8", "weight": 0}, {"host": "169.254.169.254"}, {"host": "8.8.8.8"}],
            "auth": {"inbound": {"mode": "digest"}, "outbound": {"algorithms": ["MD4"]}},
            "register": {"enabled": true, "registrar": "https://x", "expires_s": 5},
            "identity": {"from_domain": "-", "e164": {"country": "Us", "tech_prefix": "a b"}},
            "media": {"codecs": [], "ptime_ms": 25},
            "sip": {"options_ping_s": 5, "headers_out": {"Via": "x", "X-A": "a\r\nVia: b"}, "headers_in": {"X-Account": "a b"}},
            "limits": {"max_channels": 0}, "failover": {"on": [200], "next_after_ms": 1},
            "default": {"kind": "agent"}}));
        assert_eq!(
            fields(&wrong),
            [
                "name",
                "gateways.0.host",
                "gateways.0.port",
                "gateways.0.weight",
                "gateways.0.cidr",
                "gateways.0.cidr",
                "gateways.1.host",
                "auth.inbound.username",
                "auth.outbound.algorithms",
                "register.registrar",
                "register.aor",
                "register.expires_s",
                "identity.from_domain",
                "identity.e164.country",
                "identity.e164.tech_prefix",
                "media.codecs",
                "media.ptime_ms",
                "sip.options_ping_s",
                "sip.headers_out.Via",
                "sip.headers_out.X-A",
                "sip.headers_in.X-Account",
                "limits.max_channels",
                "failover.on",
                "failover.next_after_ms",
                "default.agent_id"
            ]
        );
    }

    #[test]
    fn the_operator_may_name_wider_and_private_networks() {
        let wide = trunk(json!({"name": "x", "gateways": [{"host": "pbx", "cidr": "10.0.0.0/8"}]}));
        assert_eq!(wide.check(Powers { platform: true, private: &[] }), Faults::default());
        let private = ["10.0.0.0/8".parse().unwrap()];
        let office = trunk(json!({"name": "x", "gateways": [{"host": "pbx", "cidr": "10.1.2.0/24"}]}));
        assert_eq!(office.check(Powers { platform: false, private: &private }), Faults::default());
    }

    #[test]
    fn gateways_are_tried_by_priority_and_by_weight() {
        let two = trunk(json!({"name": "x", "gateways": [
            {"host": "spare.example", "priority": 1}, {"host": "a.example", "weight": 1}, {"host": "b.example", "weight": 3},
            {"host": "in.example", "outbound": false}]}));
        let mut a_first = 0;
        for _ in 0..4000 {
            let call = CallId(Uuid::now_v7());
            let hosts = || -> Vec<_> { two.order(call).into_iter().map(|at| two.gateways[at].host.as_str()).collect() };
            let order = hosts();
            assert_eq!(order.len(), 3);
            assert_eq!(order[2], "spare.example");
            assert_eq!(order, hosts());
            a_first += usize::from(order[0] == "a.example");
        }
        assert!((836..=1164).contains(&a_first), "{a_first}");
    }
}
