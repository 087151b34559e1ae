//! What the test phone does, in the order of its command line, rendered to samples before the call begins.

use std::path::Path;
use std::time::Duration;

use codecs::resample::Down2;
use pipeline::offline::{Speech, SpeechConfig};
use pipeline::tts::{TtsCommand, TtsEvent};

use super::{Options, PhoneError};

/// One thing to do.
#[derive(Clone, Debug)]
pub enum Step {
    /// Speak when the agent has finished.
    Say {
        /// The words, or the file's name.
        words: String,
        /// 8 kHz samples.
        pcm: Vec<i16>,
        /// Speak this long after the agent began, not when it has finished.
        over_after: Option<Duration>,
    },
    /// Press keys when the agent has finished.
    Keys(Vec<u8>),
}

/// Reads the order of the steps off the command line and makes their audio.
pub(super) async fn render(options: &Options) -> Result<Vec<Step>, PhoneError> {
    let mut voice = Voice { worker: None, name: options.voice.clone() };
    let (mut say, mut play) = (options.say.iter(), options.play.iter());
    let (mut dtmf, mut interrupt) = (options.dtmf.iter(), options.interrupt.iter());
    let mut steps = Vec::new();
    for flag in order(std::env::args()) {
        match flag {
            "say" => {
                let Some(words) = say.next() else { continue };
                steps.push(Step::Say { words: words.clone(), pcm: voice.speak(words).await?, over_after: None });
            }
            "interrupt" => {
                let Some(text) = interrupt.next() else { continue };
                let (after, words) = text.split_once(':').unwrap_or(("1", text));
                let after =
                    Duration::try_from_secs_f64(after.trim().parse().unwrap_or(1.0)).unwrap_or(Duration::from_secs(1));
                let pcm = voice.speak(words).await?;
                steps.push(Step::Say { words: words.to_owned(), pcm, over_after: Some(after) });
            }
            "play" => {
                let Some(path) = play.next() else { continue };
                steps.push(Step::Say { words: path.display().to_string(), pcm: read(path)?, over_after: None });
            }
            _ => {
                let Some(digits) = dtmf.next() else { continue };
                steps.push(Step::Keys(digits.bytes().collect()));
            }
        }
    }
    Ok(steps)
}

/// The flags that are steps, in the order in which they stand.
fn order(arguments: impl Iterator<Item = String>) -> Vec<&'static str> {
    arguments
        .filter_map(|argument| {
            let flag = argument.strip_prefix("--")?.split('=').next()?.to_owned();
            ["say", "play", "dtmf", "interrupt"].into_iter().find(|known| *known == flag)
        })
        .collect()
}

struct Voice {
    worker: Option<Speech>,
    name: String,
}

impl Voice {
    async fn speak(&mut self, words: &str) -> Result<Vec<i16>, PhoneError> {
        if self.worker.is_none() {
            let config =
                SpeechConfig { worker: crate::house::worker_beside_us(), workers: 1, voice: self.name.clone() };
            self.worker = Some(Speech::start(config).await?);
        }
        let Some(worker) = &self.worker else { return Ok(Vec::new()) };
        let mut link = worker.tts(&self.name);
        let text = words.to_owned();
        let _ = link.commands.send(TtsCommand::Speak { r#gen: 1, text }).await;
        let _ = link.commands.send(TtsCommand::Finish { r#gen: 1 }).await;
        let mut pcm = Vec::new();
        while let Some(event) = link.events.recv().await {
            match event {
                TtsEvent::Audio { pcm: more, .. } => pcm.extend_from_slice(&more),
                TtsEvent::Piece { .. } => {}
                TtsEvent::Done { .. } => break,
                TtsEvent::Error { reason, .. } | TtsEvent::Down { reason, .. } => {
                    return Err(PhoneError::NotAnswered(format!("cannot say {words:?}: {reason}")));
                }
            }
        }
        Ok(pcm)
    }
}

fn read(path: &Path) -> Result<Vec<i16>, PhoneError> {
    let wrong = |reason: String| PhoneError::File { path: path.to_owned(), reason };
    let bytes = std::fs::read(path).map_err(|error| wrong(error.to_string()))?;
    let wav = codecs::wav::Reader::parse(&bytes).map_err(|error| wrong(error.to_string()))?;
    let left: Vec<i16> = wav.samples.iter().step_by(usize::from(wav.channels.max(1))).copied().collect();
    match wav.rate {
        8000 => Ok(left),
        16_000 => {
            let mut pcm = Vec::with_capacity(left.len() / 2);
            Down2::new().process(&left, &mut pcm);
            Ok(pcm)
        }
        rate => Err(wrong(format!("{rate} Hz; expected 8000 or 16000 Hz"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_keep_the_order_of_the_command_line() {
        let arguments = ["sidetone", "call", "sip:x@y", "--say", "a", "--dtmf=1", "--play", "f", "--say=b", "--json"];
        assert_eq!(order(arguments.into_iter().map(str::to_owned)), ["say", "dtmf", "play", "say"]);
    }
}
