//! Two hundred calls one after the other leave the process as it was: descriptors, memory, ports.

use std::path::Path;
use std::time::{Duration, Instant};

use tests::{Line, Sidetone};

/// What may come without anybody leaking, KiB: mostly the page caches of the database's connections, 2 MB each until they are
/// full. A call that stayed would cost some 300 KiB, two hundred of them six times as much as this.
const SLACK_KIB: u64 = 10 * 1024;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_calls_leave_nothing_behind() {
    let server = Sidetone::with(|plan| plan.set("RTP__DRAINING_MS", "200")).await;
    let ports = server.api.metric("sidetone_rtp_ports_free").await;
    // Pools, caches and arenas fill once.
    some_calls(&server, 60).await;
    let (descriptors, memory_kib) = settled(&server, ports).await;
    some_calls(&server, 200).await;
    let (after, after_kib) = settled(&server, ports).await;
    assert_eq!(after, descriptors, "open descriptors");
    assert!(after_kib < memory_kib + SLACK_KIB, "memory went from {memory_kib} to {after_kib} KiB");
    assert_eq!(server.api.metric("sidetone_calls").await, 0);
    assert_eq!(server.api.metric("sidetone_calls_answered_total").await, 260);
    assert!(server.api.calls().await.iter().all(|call| call["status"] == "completed"));
}

/// Short calls in turn to the echo and to the receptionist.
async fn some_calls(server: &Sidetone, count: u32) {
    for n in 0..count {
        let to = if n % 2 == 0 { "echo" } else { "demo" };
        let mut line = Line::call(server.sip, &server.uri(to)).await;
        line.talk(3, Duration::ZERO, |_| [0xff; 160]).await;
        line.hang_up().await;
    }
}

/// Descriptors and memory, once the last call has let go of its ports.
async fn settled(server: &Sidetone, ports: u64) -> (usize, u64) {
    let began = Instant::now();
    while server.api.metric("sidetone_rtp_ports_free").await < ports || server.api.metric("sidetone_calls").await > 0 {
        assert!(began.elapsed() < Duration::from_secs(20), "the ports do not come back");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    let proc = format!("/proc/{}", server.pid());
    // The database's pool opens connections when it needs them, and has a bound of its own.
    let is_database = |target: &Path| target.to_string_lossy().contains("sidetone.db");
    let open =
        std::fs::read_dir(format!("{proc}/fd")).unwrap().filter_map(|entry| entry.unwrap().path().read_link().ok());
    let descriptors = open.filter(|target| !is_database(target)).count();
    let status = std::fs::read_to_string(format!("{proc}/status")).unwrap();
    let memory = status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB"));
    (descriptors, memory.unwrap().parse().unwrap())
}
