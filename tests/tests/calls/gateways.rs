//! Gateways that answer, that do not, and that cannot prove who they are: what a try of their trunk, and its status, say.

use std::net::{SocketAddr, UdpSocket};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use reqwest::Method;
use serde_json::{Value, json};
use tests::kamailio::Kamailio;
use tests::{Sidetone, Sipp, free_port};
use tokio::process::Command;
use tokio::time::sleep;

/// A trunk with these gateways that nobody asks whether they live, until it is tried.
async fn trunk(server: &Sidetone, gateways: Value) -> String {
    let document = json!({"name": "Gates", "gateways": gateways, "sip": {"options_ping_s": 0}});
    server.api.post("trunks", &document).await["id"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trunk_that_is_tried_says_which_gateways_answer() {
    let server = Sidetone::start().await;
    let mut carrier = Kamailio::place();
    carrier.start(server.sip, "sip:nobody@127.0.0.1").await;
    let maintained = SocketAddr::from(([127, 0, 0, 2], free_port()));
    // Hears and says nothing; and nobody at all.
    let silent = UdpSocket::bind("127.0.0.3:0").unwrap();
    let closed = SocketAddr::from(([127, 0, 0, 4], free_port()));
    let gates = json!([
        {"host": "127.0.0.3", "port": silent.local_addr().unwrap().port()},
        {"host": "127.0.0.4", "port": closed.port(), "transport": "tcp"},
        {"host": "127.0.0.2", "port": maintained.port()},
        {"host": "127.0.0.1", "port": carrier.sip.port()},
    ]);
    let id = trunk(&server, gates).await;
    let path = format!("trunks/{id}/test");
    let nothing = json!({});
    let try_it = async {
        sleep(Duration::from_millis(500)).await;
        let began = Instant::now();
        // The silent one keeps the try waiting; meanwhile there is no second one.
        let first = server.api.post(&path, &nothing);
        let second = async {
            sleep(Duration::from_millis(500)).await;
            server.api.refused(Method::POST, &path, &nothing).await
        };
        let (first, second) = tokio::join!(first, second);
        assert!(began.elapsed() < Duration::from_secs(10), "silence costs its time once");
        assert_eq!(second, (409, "test_running".to_owned()));
        first
    };
    let ((), told) = tokio::join!(Sipp::called(&server, maintained, "maintained.xml").run(), try_it);
    let gates = told["gateways"].as_array().unwrap();
    let said: Vec<_> = gates.iter().map(|gate| (gate["host"].as_str().unwrap(), gate["status"].as_u64())).collect();
    let wanted =
        [("127.0.0.3", Some(408)), ("127.0.0.4", Some(408)), ("127.0.0.2", Some(503)), ("127.0.0.1", Some(200))];
    assert_eq!(said, wanted, "{told:#}");
    assert_eq!(gates[0]["detail"], "no answer", "{told:#}");
    assert!(gates[1]["detail"].as_str().is_some_and(|detail| detail.contains("refused")), "{told:#}");
    for (gate, answers) in gates.iter().zip([false, false, true, true]) {
        assert_eq!(gate["rtt_ms"].is_number(), answers, "{told:#}");
    }
    // The best of them speaks for the trunk.
    assert!(told["options"]["status"] == 200 && told["options"]["rtt_ms"].is_number(), "{told:#}");

    // Without any that answers.
    let lonely = trunk(&server, json!([{"host": "127.0.0.5", "port": free_port()}])).await;
    let told = server.api.post(&format!("trunks/{lonely}/test"), &nothing).await;
    assert!(told["options"]["status"] == 408 && told["options"]["rtt_ms"].is_null(), "{told:#}");
    server.api.patch(&format!("trunks/{lonely}"), &json!({"enabled": false})).await;
    let refused = server.api.refused(Method::POST, &format!("trunks/{lonely}/test"), &nothing).await;
    assert_eq!(refused, (409, "not_in_service".to_owned()));
}

/// Makes certificates for 127.0.0.1 in a folder.
struct Authority {
    dir: PathBuf,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    fn new(dir: PathBuf) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        std::fs::write(dir.join("root.pem"), issuer.pem()).unwrap();
        Self { dir, issuer }
    }

    /// Writes `gate.pem` and `gate.key`, good until a year.
    fn certify(&self, until: i32) {
        let mut params = CertificateParams::new(["127.0.0.1".to_owned()]).unwrap();
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(until, 1, 1);
        let key = KeyPair::generate().unwrap();
        let made = params.signed_by(&key, &self.issuer).unwrap();
        std::fs::write(self.dir.join("gate.pem"), made.pem()).unwrap();
        std::fs::write(self.dir.join("gate.key"), key.serialize_pem()).unwrap();
    }

    fn file(&self, name: &str) -> String {
        self.dir.join(name).display().to_string()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_with_an_expired_certificate_takes_no_calls_and_the_trunk_says_why() {
    let mut made = None;
    let port = free_port();
    let gate = Sidetone::with(|plan| {
        let authority = Authority::new(plan.dir().to_owned());
        authority.certify(2021);
        let plan = plan
            .set("SIP__TLS", &format!("127.0.0.1:{port}"))
            .set("SIP__TLS_CERTIFICATE", &authority.file("gate.pem"))
            .set("SIP__TLS_KEY", &authority.file("gate.key"));
        made = Some(authority);
        plan
    })
    .await;
    let authority = made.unwrap();
    let server = Sidetone::with(|plan| plan.set("SIP__TLS_CA", &authority.file("root.pem"))).await;
    let document = json!({
        "name": "Expired",
        "gateways": [{"host": "127.0.0.1", "port": port, "transport": "tls"}],
        "sip": {"options_ping_s": 60},
    });
    let trunk = server.api.post("trunks", &document).await["id"].as_str().unwrap().to_owned();
    let began = Instant::now();
    let status = loop {
        let status = server.api.get(&format!("trunks/{trunk}/status")).await;
        if status["gateways"][0]["detail"].is_string() {
            break status;
        }
        assert!(began.elapsed() < Duration::from_secs(20), "{status:#}\n{}", server.log());
        sleep(Duration::from_millis(100)).await;
    };
    let expired = |detail: &Value| detail.as_str().is_some_and(|detail| detail.contains("certificate expired"));
    assert!(expired(&status["gateways"][0]["detail"]) && status["state"] != "up", "{status:#}");
    let log = server.log();
    let line = log.lines().find(|line| line.contains("gateway does not answer as it should")).unwrap_or(&log);
    assert!(line.contains("certificate expired") && line.contains(&trunk), "{line}");

    server.api.number("+12125550123", &json!(trunk), "Good day.").await;
    let order = json!({"to": "+14155550100", "from": "+12125550123", "agent_id": "receptionist", "trunk_id": trunk});
    let placed = server.api.post("calls", &order).await;
    let call = server.api.until(placed["id"].as_str().unwrap(), |call| call["ended_at"].is_string()).await;
    assert!(call["answered_at"].is_null() && call["ended_reason"] == "unreachable", "{call:#}");
    assert!(gate.api.calls().await.is_empty(), "nothing was said to who is not believed");

    // Replaced, and read again at SIGHUP: the next try is answered.
    authority.certify(2099);
    Command::new("kill").args(["-HUP", &gate.pid().to_string()]).status().await.unwrap();
    let began = Instant::now();
    loop {
        let told = server.api.post(&format!("trunks/{trunk}/test"), &json!({})).await;
        if told["options"]["status"] == 200 {
            break;
        }
        assert!(expired(&told["gateways"][0]["detail"]), "{told:#}");
        assert!(began.elapsed() < Duration::from_secs(20), "{told:#}\n{}", gate.log());
        sleep(Duration::from_millis(200)).await;
    }
}
