//! Where an offer and an answer become a leg: the words of SDP on one side, of RTP on the other.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use codecs::g711::Law;
use control_api::{Network, Srtp};
use media_core::LegConfig;
use sip_stack::offer::{self, Ability, Codec, Keying, Plan};
use sip_stack::{CallHandle, Direction, EndpointConfig, Event, NameAddr, Outgoing, Transport};
use tokio::sync::mpsc;
use wire::media::{Media, Ports};
use wire::sip::{SipConfig, SipHandle, TlsConfig};

use crate::phone::PhoneError;

/// What a trunk wants of encryption. The media threads do not encrypt yet, so there are no keys to go with it.
#[must_use]
pub fn keying(wanted: Srtp) -> Keying {
    let wanted = match wanted {
        Srtp::Off => offer::Srtp::Off,
        Srtp::Sdes => offer::Srtp::Sdes,
        Srtp::Dtls => offer::Srtp::Dtls,
        Srtp::RequireSdes => offer::Srtp::RequireSdes,
        Srtp::RequireDtls => offer::Srtp::RequireDtls,
    };
    Keying { wanted, ..Keying::default() }
}

/// What this side can do: PCMU, PCMA and telephone-events on these ports, encrypted as the trunk wants it.
#[must_use]
pub fn ability(ports: &Ports, address: IpAddr, wanted: Srtp) -> Ability {
    Ability {
        address,
        port: ports.rtp_port(),
        rtcp_port: ports.rtcp_port(),
        codecs: vec![Codec::Pcmu, Codec::Pcma],
        telephone_event: true,
        keying: keying(wanted),
        session_id: u64::from(random_u32()),
        version: 1,
    }
}

/// The leg that both sides agreed on, with numbers that an attacker cannot guess (RFC 3550 §5.1).
#[must_use]
pub fn config(plan: &Plan) -> LegConfig {
    let random = uuid::Uuid::new_v4().into_bytes();
    let four = |at: usize| u32::from_be_bytes([random[at], random[at + 1], random[at + 2], random[at + 3]]);
    LegConfig {
        law: match plan.codec {
            Codec::Pcma => Law::A,
            // `ability` names none of the others, so no plan has them.
            Codec::Pcmu | Codec::G722 | Codec::Opus => Law::Mu,
        },
        payload_type: plan.payload_type,
        dtmf_payload_type: plan.events.beside(plan.codec),
        remote: plan.remote,
        remote_rtcp: plan.remote_rtcp,
        ssrc: four(0),
        first_sequence: u16::from_be_bytes([random[9], random[10]]) & 0x7fff,
        first_timestamp: four(11),
        cname: format!("{:08x}@sidetone", four(0).rotate_left(7)),
        sending: matches!(plan.direction, Direction::SendRecv | Direction::SendOnly),
        receiving: matches!(plan.direction, Direction::SendRecv | Direction::RecvOnly),
    }
}

/// Where the media of a call may go: to whoever signals it, to public addresses and to networks that the operator names; within private
/// networks only when the signalling comes from one. To any other place nothing is sent: there the peer's own packets must show first
/// where it is, as behind a NAT.
#[derive(Debug, Clone)]
pub struct Reach {
    peer: IpAddr,
    ours: IpAddr,
    allowed: Vec<Network>,
}

impl Reach {
    /// For a call that is signalled by `peer`, offers `ours`, and may go to these networks though they are not public.
    #[must_use]
    pub fn new(peer: IpAddr, ours: IpAddr, allowed: Vec<Network>) -> Self {
        Self { peer, ours, allowed }
    }

    /// The leg that both sides agreed on, kept away from where it may not go.
    #[must_use]
    pub fn config(&self, plan: &Plan) -> LegConfig {
        let nowhere = SocketAddr::new(if plan.remote.is_ipv4() { [0, 0, 0, 0].into() } else { [0_u16; 8].into() }, 0);
        let to = |address: SocketAddr| if self.permits(address.ip()) { address } else { nowhere };
        config(&Plan { remote: to(plan.remote), remote_rtcp: to(plan.remote_rtcp), ..plan.clone() })
    }

    /// The same leg while its media goes elsewhere: nothing is sent, and without hearing nothing is missed.
    #[must_use]
    pub fn nowhere(&self, plan: &Plan, direction: Direction) -> LegConfig {
        let nowhere = SocketAddr::from(([0, 0, 0, 0], 0));
        self.config(&Plan { remote: nowhere, remote_rtcp: nowhere, direction, ..plan.clone() })
    }

    /// Whether media of who signals here may go to this address.
    pub(super) fn permits(&self, target: IpAddr) -> bool {
        let (target, peer) = (target.to_canonical(), self.peer.to_canonical());
        target == peer
            || target != self.ours.to_canonical() && control_api::permits(&self.allowed, target)
            || is_site(target) && is_site(peer)
    }
}

/// Networks of one's own house (RFC 1918, RFC 4193) and the shared space of carriers (RFC 6598).
fn is_site(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_private() || matches!(v4.octets(), [100, 64..=127, ..]),
        IpAddr::V6(v6) => v6.is_unique_local(),
    }
}

/// Name of a codec as SDP has it.
#[must_use]
pub fn codec_name(codec: Codec) -> &'static str {
    match codec {
        Codec::Pcmu => "pcmu",
        Codec::Pcma => "pcma",
        Codec::G722 => "g722",
        Codec::Opus => "opus",
    }
}

/// A user agent for the test phone: it listens on UDP only, on a port of the system's choice, and believes these authorities.
///
/// # Errors
/// When no socket can be had.
pub async fn user_agent(
    address: IpAddr,
    roots: Option<PathBuf>,
) -> std::io::Result<(SipHandle, mpsc::Receiver<Event>)> {
    let endpoint = EndpointConfig {
        user_agent: Some("Sidetone phone".into()),
        contact_user: "phone".into(),
        ..EndpointConfig::default()
    };
    wire::sip::bind(SipConfig {
        udp: vec![SocketAddr::new(address, 0)],
        certificates: TlsConfig { roots, ..TlsConfig::default() },
        endpoint,
        ..SipConfig::default()
    })
    .await
}

/// A pair of ports, for the test phone.
///
/// # Errors
/// When there is none.
pub fn reserve(media: &Media) -> Result<Ports, PhoneError> {
    media.reserve().map_err(|error| PhoneError::NotAnswered(error.to_string()))
}

/// Sends an INVITE with an offer for the test phone; `from` is a URI, or one with a display name.
///
/// # Errors
/// When the addresses cannot be used or the way there cannot be opened.
pub async fn invite(
    sip: &SipHandle,
    to: &str,
    from: &str,
    (transport, remote): (Transport, SocketAddr),
    ability: &Ability,
) -> Result<CallHandle, PhoneError> {
    let to = to.parse().map_err(|_| PhoneError::Uri(to.to_owned()))?;
    let from = NameAddr::parse(from.as_bytes()).map_err(|_| PhoneError::Uri(from.to_owned()))?;
    let unreachable = |error: wire::sip::SipError| PhoneError::NotAnswered(error.to_string());
    let flow = sip.flow_to(transport, remote).await.map_err(unreachable)?;
    let sdp = offer::offer(ability).map_err(|refused| PhoneError::NotAnswered(refused.reason))?;
    sip.invite(Outgoing::new(to, from, flow, sdp)).await.map_err(unreachable)
}

/// Milliseconds since 1970.
#[must_use]
pub fn unix_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64)
}

fn random_u32() -> u32 {
    let bytes = uuid::Uuid::new_v4().into_bytes();
    u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn media_goes_nowhere_near_what_the_signalling_has_no_business_with() {
        let home: Network = "127.0.0.0/8".parse().unwrap();
        // Who signals, where the media is to go, whether this machine's own networks are open to calls, and the verdict.
        for (peer, target, open, goes) in [
            ("203.0.114.7", "203.0.114.7", false, true),
            ("203.0.114.7", "8.8.8.8", false, true),
            ("203.0.114.7", "127.0.0.1", false, false),
            ("203.0.114.7", "::ffff:127.0.0.1", false, false),
            ("203.0.114.7", "169.254.169.254", false, false),
            ("203.0.114.7", "10.0.0.5", false, false),
            ("203.0.114.7", "100.64.0.5", false, false),
            ("203.0.114.7", "fe80::1", false, false),
            ("203.0.114.7", "8.8.4.4", false, false), // ours
            ("10.0.0.9", "10.0.0.5", false, true),
            ("10.0.0.9", "127.0.0.1", false, false),
            ("fd00::9", "fd00::5", false, true),
            ("127.0.0.1", "127.0.0.1", false, true),
            ("203.0.114.7", "127.0.0.1", true, true),
        ] {
            let allowed = if open { vec![home] } else { Vec::new() };
            let reach = Reach::new(peer.parse().unwrap(), "8.8.4.4".parse().unwrap(), allowed);
            assert_eq!(reach.permits(target.parse().unwrap()), goes, "{peer} wants media at {target}");
        }
    }
}
