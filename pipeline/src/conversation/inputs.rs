//! What reaches a conversation: words of the recogniser, audio of the voice, thoughts of the model, edges, keys and orders.

use super::{Conversation, ConversationEvent, Order, Say, Thought};
use crate::Ms;
use crate::line::{Line, LineCommand};
use crate::stt::{SttCommand, SttEvent};
use crate::tts::{TtsCommand, TtsEvent};
use crate::turn::In;
use crate::vad::Edge;

impl Conversation {
    pub(super) fn think(&mut self, now: Ms, line: &mut dyn Line) {
        while let Some(thought) = self.brain.poll() {
            match thought {
                Thought::Begun(r#gen) => {
                    if self.speech(r#gen).latency.token(now) {
                        self.input(now, In::Token { r#gen }, line);
                    }
                }
                Thought::Piece(r#gen, text) => {
                    let speech = self.speech(r#gen);
                    speech.pieces += 1;
                    speech.latency.sentence(now);
                    if self.tts.commands.try_send(TtsCommand::Speak { r#gen, text }).is_err() {
                        self.input(now, In::VoiceError { r#gen }, line);
                    }
                }
                Thought::Tool { r#gen, id, name, arguments } => {
                    self.tools.insert(id.clone(), (name.clone(), arguments));
                    self.input(now, In::ToolCall { r#gen, id, name, cancellable: false }, line);
                }
                Thought::End(r#gen) => self.input(now, In::EndCall { r#gen }, line),
                Thought::Done(r#gen) => {
                    if self.speech(r#gen).pieces > 0 {
                        let _ = self.tts.commands.try_send(TtsCommand::Finish { r#gen });
                    }
                    self.input(now, In::LlmDone { r#gen }, line);
                }
                Thought::Failed(r#gen, _) => {
                    self.tell(ConversationEvent::Degraded { stage: "llm" });
                    self.input(now, In::LlmError { r#gen }, line);
                }
            }
        }
    }

    pub(super) fn voiced(&mut self, now: Ms, event: TtsEvent, line: &mut dyn Line) {
        match event {
            TtsEvent::Audio { r#gen, pcm } => {
                let Some(speech) = self.speeches.get_mut(&r#gen) else { return };
                if speech.cancelled {
                    return;
                }
                speech.samples += pcm.len() as u64;
                speech.latency.voice(now);
                if speech.fillers > 0 {
                    speech.began.get_or_insert(now);
                    line.send(LineCommand::Speak { r#gen, pcm });
                    return;
                }
                if speech.sounding {
                    speech.sounds(now);
                    line.send(LineCommand::Speak { r#gen, pcm });
                } else {
                    speech.held.push(pcm);
                }
                if !std::mem::replace(&mut speech.announced, true) {
                    self.input(now, In::Audio { r#gen, duration: None }, line);
                }
            }
            TtsEvent::Piece { r#gen, text, end_sample } => {
                let Some(speech) = self.speeches.get_mut(&r#gen) else { return };
                speech.fillers = speech.fillers.saturating_sub(1);
                self.heard.piece(r#gen, text, end_sample);
            }
            TtsEvent::Done { r#gen } => {
                let Some(speech) = self.speeches.get_mut(&r#gen) else { return };
                speech.voice_done = true;
                let duration = Some(speech.samples * 1000 / u64::from(codecs::pcm::RATE));
                if speech.sounding && !speech.cancelled {
                    line.send(LineCommand::Finish { r#gen });
                }
                self.input(now, In::Audio { r#gen, duration }, line);
            }
            TtsEvent::Error { r#gen, reason, .. } => {
                tracing::warn!(r#gen, reason, "the voice failed");
                self.input(now, In::VoiceError { r#gen }, line);
            }
            TtsEvent::Down { reason, .. } => {
                tracing::warn!(reason, "the voice is down");
                self.tell(ConversationEvent::Degraded { stage: "tts" });
            }
        }
    }

    pub(super) fn recognised(&mut self, now: Ms, event: SttEvent, line: &mut dyn Line) {
        match event {
            // What was still on its way when somebody else took the line.
            SttEvent::Partial { .. }
            | SttEvent::Final { .. }
            | SttEvent::TurnEager { .. }
            | SttEvent::TurnResumed
            | SttEvent::TurnEnd { .. }
                if self.away => {}
            SttEvent::Partial { text, end } => {
                self.tell(ConversationEvent::Partial(text.clone()));
                self.input(now, In::Partial { text, end: Some(end) }, line);
            }
            SttEvent::Final { text, end, .. } => {
                self.clock.stt_final = Some(now);
                self.input(now, In::Final { text, end: Some(end) }, line);
            }
            SttEvent::TurnEager { text } => self.input(now, In::VendorEager { text }, line),
            SttEvent::TurnResumed => self.input(now, In::VendorResumed, line),
            SttEvent::TurnEnd { text } => self.input(now, In::VendorEnd { text }, line),
            SttEvent::Nothing { .. } => {}
            SttEvent::Ready { took_ms } => tracing::debug!(took_ms, "the recogniser is connected"),
            SttEvent::Down { reason, retry } => {
                tracing::warn!(reason, retry, "the recogniser is down");
                self.tell(ConversationEvent::Degraded { stage: "stt" });
                self.input(now, In::SttDown, line);
            }
        }
    }

    pub(super) fn edge(&mut self, now: Ms, edge: Edge, line: &mut dyn Line) {
        self.speaking = matches!(edge, Edge::On { .. });
        let (command, input) = match edge {
            Edge::On { at } => {
                self.clock.on(at);
                (SttCommand::SpeechStarted { at }, In::On { at })
            }
            Edge::Off { at } => {
                self.clock.off(at);
                (SttCommand::SpeechEnded { at }, In::Off { at })
            }
        };
        if let Some(stt) = &self.stt {
            let _ = stt.commands.try_send(command);
        }
        self.input(now, input, line);
    }

    pub(super) fn obey(&mut self, now: Ms, order: Order, line: &mut dyn Line) {
        match order {
            Order::ToolResult(result) => {
                let id = result.id.clone();
                self.brain.tool_ended(&result);
                self.results.insert(id.clone(), result);
                self.input(now, In::ToolResult { id }, line);
            }
            Order::Say(Say { text, now: at_once, protected, ends, id }) => {
                let say = match (ends, at_once) {
                    (true, true) => In::Farewell { text },
                    (false, true) => In::SayNow { text, protected, id },
                    (ends, false) => In::Say { text, protected, ends, id },
                };
                self.input(now, say, line);
            }
            Order::Instruct { text, respond } => {
                self.brain.instruct(&text);
                if respond && self.brain.is_model() {
                    self.notes += 1;
                    let id = format!("note-{}", self.notes);
                    self.input(now, In::Nudge { id }, line);
                }
            }
            Order::Hold(on) => {
                self.held = on;
                if !self.away {
                    self.input(now, In::Hold(on), line);
                }
            }
            Order::Away(on) => {
                if on && self.speaking {
                    self.edge(now, Edge::Off { at: now }, line);
                }
                self.away = on;
                self.input(now, In::Away(on), line);
                if !on && self.held {
                    self.input(now, In::Hold(true), line);
                }
            }
            Order::Bye => {
                self.input(now, In::Bye, line);
                // A machine that has hung up itself does not close a second time.
                self.closed_at.get_or_insert(now);
            }
            Order::Keys(keys) => {
                for digit in keys.bytes() {
                    self.pressed(now, (digit, now, true), line);
                }
            }
            Order::SendKeys(digits) => line.send(LineCommand::SendDigits(digits)),
        }
    }

    pub(super) fn pressed(&mut self, now: Ms, (digit, at, signalled): (u8, Ms, bool), line: &mut dyn Line) {
        self.clock.key(at);
        self.tell(ConversationEvent::Key { digit, at, signalled });
        if !self.away {
            self.input(now, In::Key { digit, at }, line);
        }
    }
}
