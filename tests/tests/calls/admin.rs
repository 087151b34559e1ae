//! What the operator does from a shell, with the real binary beside a running server.

use std::process::Command;

use reqwest::Method;
use serde_json::json;
use tests::{Cluster, Phone, Sidetone, enter};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_a_password_and_an_operator_are_made_beside_the_running_server() {
    let server = Sidetone::start().await;
    // A key of the shell may do everything, at once.
    let (worked, key) = server.admin(&["key", "--name", "from the shell"], "").await;
    assert!(worked && key.starts_with("st_live_") && key.lines().count() == 1, "{key}");
    let shell = server.api.with_key(&key);
    assert_eq!(shell.root(Method::GET, "/status", None).await.0, 200);
    let (worked, said) = server.admin(&["key", "--tenant", "nobody"], "").await;
    assert!(!worked && said.contains("nobody"), "{said}");

    // The first owner has no password until the operator gives them one.
    let login = |password: &str| json!({"email": "owner@localhost", "password": password});
    let refused = server.api.refused(Method::POST, "auth/login", &login("a long enough phrase 7")).await;
    assert_eq!(refused, (401, "bad_credentials".into()));
    let (worked, said) = server.admin(&["password", "owner@localhost"], "short\n").await;
    assert!(!worked, "{said}");
    let (worked, said) = server.admin(&["password", "owner@localhost"], "a long enough phrase 7\n").await;
    assert!(worked, "{said}");
    let signed_in = server.api.post("auth/login", &login("a long enough phrase 7")).await;
    let owner = server.api.with_key(signed_in["tokens"]["access_token"].as_str().unwrap());
    assert_eq!(owner.get("users/me").await["email"], "owner@localhost");

    // Somebody else becomes an operator, and is none again.
    let ann = json!({"email": "ann@example.com", "password": "a long enough phrase 8", "name": "Ann"});
    let ann = server.api.post("auth/register", &ann).await;
    let asks = server.api.with_key(ann["tokens"]["access_token"].as_str().unwrap());
    assert_eq!(asks.root(Method::GET, "/status", None).await.0, 403);
    let standing = async |wanted: u16| {
        // What a session may do is believed for five seconds.
        for _ in 0..80 {
            if asks.root(Method::GET, "/status", None).await.0 == wanted {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
        panic!("her standing does not become {wanted}");
    };
    assert!(server.admin(&["operator", "ann@example.com"], "").await.0);
    standing(200).await;
    assert!(server.admin(&["operator", "ann@example.com", "--remove"], "").await.0);
    standing(403).await;
    let (worked, said) = server.admin(&["operator", "nobody@example.com"], "").await;
    assert!(!worked && said.contains("nobody@example.com"), "{said}");
}

/// A call with keys pressed, and what the API tells of it.
async fn a_call(server: &Sidetone) -> (String, serde_json::Value) {
    Phone::new(server, "demo", "keeper").keys("1").with("--linger", "1").call().await;
    let call = server.api.ended("keeper").await;
    let id = call["id"].as_str().unwrap().to_owned();
    // The last that happens to it: nothing is to change between the first look and the second.
    server.api.told(&id, "call.analyzed").await;
    let told = tell(server, &id).await;
    (id, told)
}

async fn tell(server: &Sidetone, id: &str) -> serde_json::Value {
    let call = server.api.get(&format!("calls/{id}")).await;
    json!({"status": call["status"], "from": call["from"], "duration_ms": call["duration_ms"], "turns": server.api.transcript(id).await,
        "events": server.api.events(id).await})
}

/// What was made after the backup is not in it.
async fn restored(server: &Sidetone, id: &str, told: &serde_json::Value) {
    assert_eq!(&tell(server, id).await, told);
    let turns = told["turns"].as_array().unwrap();
    assert!(!turns.is_empty() && told["events"].as_array().unwrap().len() > 3, "{told:#}");
    let trunks = server.api.get("trunks").await["data"].as_array().unwrap().clone();
    assert_eq!(trunks.iter().map(|trunk| trunk["name"].clone()).collect::<Vec<_>>(), [json!("before")]);
    // Secrets open under the node's key, and the node takes calls.
    assert_eq!(trunks[0]["auth"]["outbound"]["password_set"], true, "{}", trunks[0]);
    let spoken = Phone::new(server, "demo", "next").with("--linger", "1").call().await;
    assert_eq!(spoken.code, Some(0), "{:#}", spoken.report);
}

async fn trunk(server: &Sidetone, name: &str) {
    let auth = json!({"outbound": {"username": "u", "password": "carrier-secret"}});
    server.api.post("trunks", &json!({"name": name, "auth": auth})).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_of_sqlite_is_restored_and_its_call_read_back() {
    let mut server = Sidetone::start().await;
    let (id, told) = a_call(&server).await;
    trunk(&server, "before").await;
    let file = server.dir().join("backup.db");
    let path = file.display().to_string();
    let (worked, said) = server.admin(&["backup", &path], "").await;
    assert!(worked && said.contains(&path), "{said}");
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&file).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
    // A backup never overwrites one.
    let (worked, said) = server.admin(&["backup", &path], "").await;
    assert!(!worked && said.contains("backup.db"), "{said}");
    trunk(&server, "after").await;
    server.move_to(&format!("sqlite://{path}")).await;
    restored(&server, &id, &told).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_of_postgresql_is_restored_and_its_call_read_back() {
    enter();
    let database = Cluster::start();
    let url = database.database();
    let mut server = Sidetone::with(|plan| plan.set("STORE__URL", &url)).await;
    let (id, told) = a_call(&server).await;
    trunk(&server, "before").await;
    let file = server.dir().join("backup.dump");
    let path = file.display().to_string();
    let (worked, said) = server.admin(&["backup", &path], "").await;
    assert!(worked && said.contains(&path), "{said}");
    trunk(&server, "after").await;
    let fresh = database.database();
    let restored_by =
        Command::new("pg_restore").args(["--exit-on-error", "--no-owner", "--dbname", &fresh]).arg(&file).output();
    let restored_by = restored_by.expect("pg_restore comes with pg_dump");
    assert!(restored_by.status.success(), "{}", String::from_utf8_lossy(&restored_by.stderr));
    server.move_to(&fresh).await;
    restored(&server, &id, &told).await;
}
