//! Who sits on a line that no conversation belongs to: says one thing if there is one, then only watches.

use tokio::sync::mpsc::UnboundedSender;

use crate::line::{Line, LineCommand, LineEvent, Tick};
use crate::sentence::Sentences;
use crate::tts::{TtsCommand, TtsEvent, TtsLink};
use crate::vad::Edge;
use crate::voice_thread::{Going, Talk};
use crate::{Gen, Ms};

/// What a herald tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notice {
    /// Everything has been said, or cannot be said.
    Said,
    /// Nothing has come from the line for so long.
    Silent {
        /// Milliseconds.
        ms: u32,
    },
    /// The line is gone.
    Gone,
}

/// The only generation.
const WORDS: Gen = 1;

/// Lives on a voice thread as a line's [`Talk`].
#[derive(Debug)]
pub struct Herald {
    voice: Option<TtsLink>,
    tell: UnboundedSender<Notice>,
}

impl Herald {
    /// Says nothing.
    #[must_use]
    pub fn silent(tell: UnboundedSender<Notice>) -> Self {
        Self { voice: None, tell }
    }

    /// Says a text as soon as the line is open.
    #[must_use]
    pub fn saying(text: &str, voice: TtsLink, tell: UnboundedSender<Notice>) -> Self {
        let mut sentences = Sentences::default();
        let mut pieces = sentences.push(text);
        pieces.extend(sentences.finish());
        for text in pieces {
            let _ = voice.commands.try_send(TtsCommand::Speak { r#gen: WORDS, text });
        }
        let _ = voice.commands.try_send(TtsCommand::Finish { r#gen: WORDS });
        Self { voice: Some(voice), tell }
    }

    fn tell(&self, notice: Notice) {
        // Whoever waited for it may have gone.
        let _ = self.tell.send(notice);
    }
}

impl Talk for Herald {
    fn hear(&mut self, _now: Ms, _tick: &Tick, _edge: Option<Edge>, _line: &mut dyn Line) {}

    fn event(&mut self, _now: Ms, event: LineEvent, _line: &mut dyn Line) {
        match event {
            LineEvent::Mark { r#gen: WORDS } => self.tell(Notice::Said),
            LineEvent::Silent { ms } => self.tell(Notice::Silent { ms }),
            _ => {}
        }
    }

    fn advance(&mut self, _now: Ms, line: &mut dyn Line) -> Going {
        while let Some(event) = self.voice.as_mut().and_then(|voice| voice.events.try_recv().ok()) {
            match event {
                TtsEvent::Audio { pcm, .. } => line.send(LineCommand::Speak { r#gen: WORDS, pcm }),
                TtsEvent::Done { .. } => {
                    line.send(LineCommand::Finish { r#gen: WORDS });
                    self.voice = None;
                }
                TtsEvent::Error { .. } | TtsEvent::Down { .. } => {
                    self.voice = None;
                    self.tell(Notice::Said);
                }
                TtsEvent::Piece { .. } => {}
            }
        }
        Going::On
    }
}

impl Drop for Herald {
    fn drop(&mut self) {
        self.tell(Notice::Gone);
    }
}
