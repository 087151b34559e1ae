//! Carriers as they are on the wire, played by sipp: a call in and a call out over a trunk at each kind.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use serde_json::{Value, json};
use tests::{Sidetone, Sipp, free_port};

/// A carrier: its trunk's document but for the gateways, its addresses, and the number that leads to us.
struct Carrier {
    name: &'static str,
    /// Where its calls come from: a network of four.
    network: [u8; 4],
    number: &'static str,
    /// The caller as the row has it.
    caller: &'static str,
    document: Value,
    /// Its first gateway is full.
    full: bool,
}

fn carriers() -> [Carrier; 3] {
    let login = |realm: &str| json!({"outbound": {"username": "sidetone", "password": "correct-horse", "realm": realm, "algorithms": ["SHA-256", "MD5"]}});
    [
        Carrier {
            name: "twilio",
            network: [127, 0, 1, 0],
            number: "+12125550123",
            caller: "+14155550177",
            document: json!({
                "auth": login("sip.twilio.com"),
                "identity": {"from_domain": "example.pstn.twilio.com", "caller_id": "both"},
                "sip": {"options_ping_s": 0, "headers_in": {"X-Twilio-CallSid": "twilio_call"}},
            }),
            full: false,
        },
        Carrier {
            name: "telnyx",
            network: [127, 0, 2, 0],
            number: "+12125550124",
            caller: "+14155550188",
            document: json!({
                "auth": login("sip.telnyx.com"),
                "identity": {"from_domain": "sip.telnyx.com"},
                "sip": {"options_ping_s": 0, "session_timer_s": 1800, "prack": "supported"},
            }),
            full: false,
        },
        Carrier {
            name: "generic",
            network: [127, 0, 3, 0],
            number: "+12125550125",
            caller: "+14155550199",
            document: json!({
                "identity": {"e164": {"country": "US", "add_plus": false, "tech_prefix": "9911"}, "caller_id": "both"},
                "failover": {"on": [503], "next_after_ms": 4000},
                "sip": {"options_ping_s": 0},
            }),
            full: true,
        },
    ]
}

/// The place of one of a carrier's four addresses.
fn at(carrier: &Carrier, host: u8) -> IpAddr {
    let [a, b, c, _] = carrier.network;
    IpAddr::from([a, b, c, host])
}

async fn takes_calls_of(server: &Sidetone, carrier: &Carrier) {
    let (name, trunk) = (carrier.name, carrier.document.clone());
    // Calls go to the first two addresses; they come from any of the four.
    let places = [1, 2].map(|host| SocketAddr::new(at(carrier, host), free_port()));
    let gateways: Vec<_> = places
        .iter()
        .enumerate()
        .map(|(n, place)| {
            let cidr = format!("{}/{}", at(carrier, if n == 0 { 0 } else { 2 }), 31);
            json!({"host": place.ip().to_string(), "port": place.port(), "cidr": cidr, "priority": n})
        })
        .collect();
    let mut document = json!({"name": name, "gateways": gateways});
    document.as_object_mut().unwrap().extend(trunk.as_object().unwrap().clone());
    let trunk = server.api.post("trunks", &document).await["id"].clone();
    server.api.number(carrier.number, &trunk, "Good day.").await;

    // In, from the address that is no gateway's own.
    Sipp::between(server, server.sip, at(carrier, 3), &format!("{name}-in.xml"), carrier.number).calls(1).run().await;
    let calls = server.api.calls().await;
    let call = calls.iter().find(|call| call["trunk_id"] == trunk).unwrap_or_else(|| panic!("{name}: {calls:#?}"));
    let call = server.api.until(call["id"].as_str().unwrap(), |call| call["ended_at"].is_string()).await;
    assert_eq!(
        (&call["from"]["address"], &call["to"]["address"], &call["status"]),
        (&json!(carrier.caller), &json!(carrier.number), &json!("completed")),
        "{name}: {call:#}"
    );
    if name == "twilio" {
        assert_eq!(call["variables"]["twilio_call"], "CA0123456789abcdef0123456789abcdef", "{call:#}");
    }

    // Out.
    let answers = if carrier.full { places[1] } else { places[0] };
    let full = async {
        if carrier.full {
            Sipp::called(server, places[0], "full.xml").run().await;
        }
    };
    let order = json!({"to": "+14155550100", "from": carrier.number, "agent_id": "receptionist", "trunk_id": trunk});
    let call = async {
        let placed = server.api.post("calls", &order).await;
        let id = placed["id"].as_str().unwrap();
        server.api.until(id, |call| call["status"] == "in_progress" || call["ended_at"].is_string()).await;
        tokio::time::sleep(Duration::from_millis(1500)).await;
        server.api.post(&format!("calls/{id}/end"), &json!({})).await;
        server.api.until(id, |call| call["ended_at"].is_string()).await
    };
    let scenario = format!("{name}-out.xml");
    let ((), (), call) = tokio::join!(full, Sipp::called(server, answers, &scenario).run(), call);
    assert_eq!((&call["ended_reason"], &call["trunk_id"]), (&json!("api_ended"), &trunk), "{name}: {call:#}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn carriers_of_three_kinds_bring_and_take_a_call() {
    let server = Sidetone::start().await;
    let [twilio, telnyx, generic] = carriers();
    tokio::join!(takes_calls_of(&server, &twilio), takes_calls_of(&server, &telnyx), takes_calls_of(&server, &generic));
    assert!(!server.log().contains("panicked"), "{}", server.log());
}
