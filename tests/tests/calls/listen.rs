//! Somebody listens to a live call, and hears what is on its recording.

use std::time::Duration;

use tests::sound::voice_ms;
use tests::{Phone, Sidetone};

/// Where one row of samples begins in another.
fn place(of: &[i16], within: &[i16]) -> Option<usize> {
    (0..=within.len().checked_sub(of.len())?).find(|at| within[*at..].starts_with(of))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_listens_hears_the_call_as_it_is_recorded_and_the_call_tells_of_it() {
    let server = Sidetone::start().await;
    let listening = async {
        for _ in 0..600 {
            let call = server.api.call_from("overheard").await;
            if let Some(call) = call.filter(|call| call["status"] == "in_progress") {
                return server.api.listen(call["id"].as_str().unwrap()).await;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("the call is not answered");
    };
    let phone =
        Phone::new(&server, "demo", "overheard").say("i would like to book an appointment").with("--linger", "3");
    let (heard, _) = tokio::join!(listening, phone.call());
    let call = server.api.ended("overheard").await;
    let id = call["id"].as_str().unwrap();
    let recording = server.api.recording(id).await;
    assert!(voice_ms(&heard.agent) > 1_000 && voice_ms(&heard.caller) > 500, "{} ms heard", heard.agent.len() / 8);
    let at = place(&heard.agent, &recording.agent).expect("what the agent was heard to say is on the recording");
    assert_eq!(heard.caller, recording.caller[at..at + heard.caller.len()]);
    let told: Vec<_> = server
        .api
        .events(id)
        .await
        .into_iter()
        .filter(|event| event["type"].as_str().unwrap().contains("listen"))
        .collect();
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(told.iter().all(|event| event["data"]["key_id"].is_string()));
}
