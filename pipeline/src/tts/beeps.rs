//! The voice of a machine that has none: a short beep for each piece, so that a caller hears that keys are expected.

use tokio::sync::mpsc;

use super::{TtsCommand, TtsEvent, TtsLink};

/// Opens it; needs a running tokio.
#[must_use]
pub fn open() -> TtsLink {
    let (commands, mut inbox) = mpsc::channel(64);
    let (events, outbox) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        let mut samples = std::collections::BTreeMap::new();
        while let Some(command) = inbox.recv().await {
            let sent = match command {
                TtsCommand::Speak { r#gen, text } => {
                    let pcm = beep();
                    let end_sample = samples.entry(r#gen).or_insert(0);
                    *end_sample += pcm.len() as u64;
                    let piece = TtsEvent::Piece { r#gen, text, end_sample: *end_sample };
                    events.send(TtsEvent::Audio { r#gen, pcm }).and_then(|()| events.send(piece))
                }
                TtsCommand::Finish { r#gen } => {
                    samples.remove(&r#gen);
                    events.send(TtsEvent::Done { r#gen })
                }
                TtsCommand::Cancel { r#gen } => {
                    samples.remove(&r#gen);
                    Ok(())
                }
            };
            if sent.is_err() {
                return;
            }
        }
    });
    TtsLink { commands, events: outbox, name: "builtin/beeps".into(), usage: Default::default() }
}

/// A quarter of a second at 880 Hz with soft edges, and as much silence.
fn beep() -> Box<[i16]> {
    let rate = codecs::pcm::RATE as usize;
    let (sound, edge) = (rate / 4, rate / 100);
    (0..rate / 2)
        .map(|n| {
            let envelope = (n.min(sound.saturating_sub(n)) as f32 / edge as f32).clamp(0.0, 1.0);
            ((n as f32 * 880.0 * std::f32::consts::TAU / rate as f32).sin() * envelope * 6000.0) as i16
        })
        .collect()
}
