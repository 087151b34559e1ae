//! What the test phone prints and saves: a conversation with latencies measured in the recording, and that recording.

use std::fs::File;
use std::io::BufWriter;
use std::path::Path;
use std::process::ExitCode;

use codecs::pcm::{FRAME, RATE};
use serde_json::{Value, json};

use super::talk::Heard;
use super::{Options, PhoneError};

/// Less of the agent's voice than this is "nothing heard".
const HEARD_MS: u64 = 300;

/// Saves left our side, right the agent's.
pub(super) fn save(heard: &Heard, path: &Path) -> Result<(), PhoneError> {
    let wrong = |error: std::io::Error| PhoneError::File { path: path.to_owned(), reason: error.to_string() };
    let file = BufWriter::new(File::create(path).map_err(wrong)?);
    let mut wav = codecs::wav::Writer::new(file, RATE, 2).map_err(wrong)?;
    let both: Vec<i16> = heard.ours.iter().zip(&heard.theirs).flat_map(|(left, right)| [*left, *right]).collect();
    wav.write(&both).map_err(wrong)?;
    wav.finish().map_err(wrong)?;
    Ok(())
}

/// The turns of the newest call of this phone, if the API is there and the key is good.
pub(super) async fn transcript(options: &Options) -> Option<Vec<Value>> {
    let key = options.key.as_deref()?;
    let client = reqwest::Client::builder().timeout(std::time::Duration::from_secs(5)).build().ok()?;
    let get = async |path: String| -> Option<Value> {
        let answer = client.get(format!("{}/api/v1/{path}", options.api)).bearer_auth(key).send().await.ok()?;
        answer.error_for_status().ok()?.json().await.ok()
    };
    let calls = get("calls?limit=20".into()).await?;
    let ours = calls["data"]
        .as_array()?
        .iter()
        .find(|call| call["from"]["address"].as_str().is_some_and(|address| address.contains(options.from.as_str())))?;
    let turns = get(format!("calls/{}/transcript", ours["id"].as_str()?)).await?;
    turns["turns"].as_array().cloned()
}

/// Prints the call; the exit code says whether the agent was heard and every step was done.
#[allow(clippy::print_stdout)]
pub(super) fn print(
    options: &Options,
    heard: &Heard,
    ended: &str,
    stats: &media_core::Stats,
    transcript: Option<&[Value]>,
) -> ExitCode {
    let agent_ms = heard.theirs.chunks(FRAME).filter(|frame| codecs::pcm::rms_dbov(frame) > -45.0).count() as u64 * 20;
    let steps: Vec<Value> = heard
        .steps
        .iter()
        .map(|step| {
            let latency = step.answered.map(|answered| answered.saturating_sub(step.ended));
            json!({"said": step.what, "began_ms": step.began, "ended_ms": step.ended, "voice_to_voice_ms": latency})
        })
        .collect();
    let good = agent_ms >= HEARD_MS && heard.left == 0;
    if options.json {
        let report = json!({
            "heard_ms": agent_ms, "greeted_ms": heard.greeted, "duration_ms": heard.theirs.len() as u64 / 8,
            "steps": steps, "steps_left": heard.left, "ended": ended, "recording": options.save,
            "received_packets": stats.received, "lost_packets": stats.lost, "transcript": transcript,
        });
        println!("{report}");
    } else {
        println!("{:>7}  agent greets", stamp(heard.greeted));
        for step in &heard.steps {
            println!("{:>7}  you: {}", stamp(Some(step.began)), step.what);
            match step.answered {
                Some(answered) => {
                    println!("{:>7}  agent, after {} ms", stamp(Some(answered)), answered.saturating_sub(step.ended));
                }
                None => println!("{:>7}  agent: silent", ""),
            }
        }
        for turn in transcript.unwrap_or_default() {
            let start = turn["start_ms"].as_u64();
            let words = turn["heard_text"].as_str().or_else(|| turn["text"].as_str()).unwrap_or_default();
            println!("{:>7}  {}: {words}", stamp(start), turn["speaker"].as_str().unwrap_or("?"));
        }
        println!(
            "{ended}; heard {:.1} s of speech in {:.1} s, {} packets lost of {}; recording: {}",
            agent_ms as f64 / 1000.0,
            heard.theirs.len() as f64 / f64::from(RATE),
            stats.lost,
            stats.received,
            options.save.display()
        );
        if heard.left > 0 {
            println!("{} steps were left when the call ended", heard.left);
        }
    }
    if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn stamp(ms: Option<u64>) -> String {
    ms.map_or_else(|| "-".into(), |ms| format!("{}.{:02} s", ms / 1000, ms % 1000 / 10))
}
