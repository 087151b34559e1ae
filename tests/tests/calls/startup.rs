//! A server that cannot start says why in one line, and its exit code says whether the configuration is to blame; what it cannot use
//! when it reads its files again it tells, and goes on with what it has.

use std::net::{TcpListener, UdpSocket};
use std::process::Command;
use std::time::{Duration, Instant};

use tests::{Plan, Sidetone};

/// `EX_CONFIG` of sysexits.h.
const CONFIG: i32 = 78;

async fn gives_up(plan: Plan, code: i32, named: &[&str]) {
    let (exit, lines) = plan.fails().await;
    assert_eq!(exit, Some(code), "{lines:?}");
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(lines[0].starts_with("sidetone: "), "{}", lines[0]);
    for name in named {
        assert!(lines[0].contains(name), "{name} is not in {:?}", lines[0]);
    }
    let _ = std::fs::remove_dir_all(plan.dir());
}

#[tokio::test]
async fn a_wrong_key_is_named() {
    gives_up(Sidetone::plan().set("SIP__UPD", "127.0.0.1:5060"), CONFIG, &["sip", "upd"]).await;
}

#[tokio::test]
async fn a_wrong_value_is_named_with_its_key() {
    gives_up(Sidetone::plan().set("RTP__PORTS", "9000"), CONFIG, &["rtp.ports", "9000"]).await;
    gives_up(Sidetone::plan().set("LIMITS__CALLS", "many"), CONFIG, &["calls", "many"]).await;
}

#[tokio::test]
async fn a_broken_agent_is_named_with_its_file() {
    let broken = |toml: &str| Sidetone::plan().agent("broken", toml);
    gives_up(broken("name = \"Broken\"\ngreetings = 1\n"), CONFIG, &["broken.toml", "greetings"]).await;
    gives_up(broken("name = \"Broken\"\nprompt = \"x\n"), CONFIG, &["broken.toml", "line 2"]).await;
}

#[tokio::test]
async fn an_occupied_port_is_named() {
    tests::enter();
    let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = udp.local_addr().unwrap().to_string();
    gives_up(Sidetone::plan().set("SIP__UDP", &address), 1, &["udp", &address]).await;
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = tcp.local_addr().unwrap().to_string();
    gives_up(Sidetone::plan().set("SIP__TCP", &address), 1, &["tcp", &address]).await;
    gives_up(Sidetone::plan().set("HTTP__LISTEN", &address), 1, &["http.listen", &address]).await;
}

#[tokio::test]
async fn a_database_that_cannot_be_written_is_named() {
    let plan = Sidetone::plan();
    let file = plan.dir().join("a-file");
    std::fs::write(&file, "").unwrap();
    let below = format!("sqlite://{}/sidetone.db", file.display());
    gives_up(plan.set("STORE__URL", &below), 1, &["store.url", "a-file"]).await;
    let plan = Sidetone::plan();
    let folder = format!("sqlite://{}", plan.dir().display());
    gives_up(plan.set("STORE__URL", &folder), 1, &["store.url"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn anchors_that_cannot_be_used_at_sighup_are_told_and_the_old_ones_stay() {
    let mut roots = None;
    let server = Sidetone::with(|plan| {
        let path = plan.dir().join("roots.pem");
        let made = rcgen::generate_simple_self_signed(["roots.example".to_owned()]).unwrap();
        std::fs::write(&path, made.cert.pem()).unwrap();
        let plan = plan.set("STIR__TRUST_ANCHORS", &path.display().to_string());
        roots = Some(path);
        plan
    })
    .await;
    std::fs::write(roots.unwrap(), "nonsense").unwrap();
    Command::new("kill").args(["-HUP", &server.pid().to_string()]).status().unwrap();
    let began = Instant::now();
    while !server.log().contains("anchors and key of [stir] stay as they were") {
        assert!(began.elapsed() < Duration::from_secs(20), "{}", server.log());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(server.log().contains("roots.pem") && server.api.calls().await.is_empty(), "{}", server.log());
}
