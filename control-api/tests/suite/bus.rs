//! The bus with a real nats-server: nothing is missing, nothing is twice, and the order holds.

use std::{
    os::unix::process::CommandExt as _,
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::Duration,
};

use async_nats::jetstream::{self, message::StreamMessage, stream::Stream};
use control_api::{Background, BackgroundSettings, NatsSettings, Store};
use serde_json::{Value, json};

use crate::{
    db::{Db, on_both},
    fake::conversation,
    outbox::all_published,
    postgres::KEEPER,
    ws::many,
};

/// A nats-server with a memory, gone when it is dropped.
struct Nats {
    port: u16,
    folder: PathBuf,
    keeper: Option<Child>,
}

impl Nats {
    fn start(db: &Db) -> Self {
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut nats = Self { port, folder: db.folder.join("nats"), keeper: None };
        nats.again();
        nats
    }

    fn again(&mut self) {
        let folder = self.folder.join("run");
        std::fs::create_dir_all(&folder).unwrap();
        let mut keeper = Command::new("sh");
        keeper.args(["-c", KEEPER, "keeper"]).arg(&folder).args(["nats-server", "-js", "-a", "127.0.0.1", "-sd"]);
        keeper
            .arg(self.folder.join("data"))
            .args(["-p", &self.port.to_string()])
            .stdin(Stdio::piped())
            .process_group(0);
        self.keeper = Some(keeper.spawn().unwrap());
        for _ in 0..600 {
            if std::net::TcpStream::connect(("127.0.0.1", self.port)).is_ok() {
                return;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        let log = std::fs::read_to_string(folder.join("log")).unwrap_or_default();
        panic!("nats-server did not come up (Debian: apt-get install nats-server; scripts/setup test does it): {log}");
    }

    fn stop(&mut self) {
        if let Some(mut keeper) = self.keeper.take() {
            drop(keeper.stdin.take());
            keeper.wait().unwrap();
        }
    }

    fn settings(&self) -> NatsSettings {
        NatsSettings { url: format!("nats://127.0.0.1:{}", self.port), ..NatsSettings::default() }
    }

    async fn node(&self, store: &Store, node: &str) -> Background {
        let settings = BackgroundSettings { node: node.into(), nats: self.settings(), ..Default::default() };
        Background::start(store, settings).await.unwrap()
    }

    async fn stream(&self) -> Stream {
        let client = async_nats::connect(self.settings().url).await.unwrap();
        let context = jetstream::new(client);
        for _ in 0..600 {
            if let Ok(stream) = context.get_stream("SIDETONE").await {
                return stream;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("nobody made the stream");
    }

    /// All messages once there are this many.
    async fn messages(&self, count: u64) -> Vec<StreamMessage> {
        let mut stream = self.stream().await;
        for _ in 0..1200 {
            if stream.info().await.unwrap().state.messages >= count {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        // Long enough for one too many to come.
        tokio::time::sleep(Duration::from_millis(300)).await;
        let state = stream.info().await.unwrap().state.clone();
        assert_eq!(state.messages, count);
        let mut all = Vec::new();
        for sequence in state.first_sequence..=state.last_sequence {
            all.push(stream.get_raw_message(sequence).await.unwrap());
        }
        all
    }
}

impl Drop for Nats {
    fn drop(&mut self) {
        self.stop();
    }
}

fn event(message: &StreamMessage) -> Value {
    serde_json::from_slice(&message.payload).unwrap()
}

async fn begun(db: &Db) {
    for _ in 0..600 {
        if db.number("SELECT COUNT(*) FROM consumers WHERE name = 'bus'").await == 1 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("the bus does not begin");
}

fn numbers(messages: &[StreamMessage]) -> Vec<i64> {
    messages.iter().map(|message| event(message)["data"]["n"].as_i64().unwrap()).collect()
}

on_both! {
    async fn each_event_is_a_message_under_its_id_and_its_calls_name(db) {
        let nats = Nats::start(&db);
        let _node = nats.node(&db.store, "n1").await;
        begun(&db).await;
        let call = conversation(&db.journal, db.tenant, 1_000_000);
        db.journal.flush().await;
        let messages = nats.messages(8).await;
        for (n, message) in messages.iter().enumerate() {
            let event = event(message);
            assert_eq!(message.subject.as_str(), format!("sidetone.v1.{}.{}", db.tenant, event["type"].as_str().unwrap()));
            let header = |name: &str| message.headers.get(name).map(|value| value.as_str().to_owned());
            assert_eq!((header("Nats-Msg-Id"), header("Sidetone-Call")), (event["id"].as_str().map(str::to_owned), Some(call.to_string())));
            assert_eq!((&event["seq"], &event["cursor"]), (&json!(n + 1), &json!((n + 1).to_string())));
        }
    }

    async fn what_is_sent_again_is_not_there_twice(db) {
        let nats = Nats::start(&db);
        let node = nats.node(&db.store, "n1").await;
        begun(&db).await;
        many(&db, 0, 450, 0).await;
        all_published(&db).await;
        nats.messages(450).await;
        node.stop(Duration::from_secs(5)).await;
        // As if the node had died between the acknowledgements and its note of them.
        db.run("UPDATE consumers SET pub_seq = 120 WHERE name = 'bus'").await;
        many(&db, 450, 10, 0).await;
        let _node = nats.node(&db.store, "n1").await;
        assert!(numbers(&nats.messages(460).await).into_iter().eq(0..460));
    }

    async fn a_bus_that_was_away_gets_all_of_it_in_order_from_whichever_node(db) {
        let mut nats = Nats::start(&db);
        let other = Store::open(&db.url).await.unwrap();
        let (one, _two) = (nats.node(&db.store, "n1").await, nats.node(&other, "n2").await);
        begun(&db).await;
        many(&db, 0, 100, 0).await;
        nats.messages(100).await;
        nats.stop();
        many(&db, 100, 700, 0).await;
        all_published(&db).await;
        nats.again();
        many(&db, 800, 100, 0).await;
        // Whoever sends now goes; the other takes over when the lease is free.
        one.stop(Duration::from_secs(5)).await;
        many(&db, 900, 100, 0).await;
        let messages = nats.messages(1000).await;
        assert!(numbers(&messages).into_iter().eq(0..1000));
    }
}
