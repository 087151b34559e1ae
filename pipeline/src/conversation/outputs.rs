//! What the turn machine decides, carried out: the model asked, words spoken, played and taken back, tools run.

use super::speech::Speech;
use super::{Ask, Brain, Conversation, ConversationEvent, Ended, Spoken};
use crate::line::{Line, LineCommand, LineEvent, Tick};
use crate::sentence::Sentences;
use crate::stt::SttCommand;
use crate::tts::TtsCommand;
use crate::turn::{self, HoldWhy, Manner, Out, Place, Said};
use crate::{Gen, Ms};

impl Conversation {
    /// Before there is a line, all that the machine can want is synthesis.
    pub(super) fn carry_out_without_line(&mut self) {
        let mut nowhere = Nowhere;
        self.drain(0, &mut nowhere);
    }

    pub(super) fn carry_out(&mut self, now: Ms, out: Out, line: &mut dyn Line) {
        match out {
            Out::Pause { r#gen } => {
                line.send(LineCommand::Pause);
                self.speech(r#gen).paused_at = Some(now);
            }
            Out::Resume { r#gen, from } => self.resume(now, r#gen, from, line),
            Out::Cancel { r#gen, heard } => self.cancel(now, r#gen, heard, line),
            Out::Play { r#gen } => self.play(now, r#gen, line),
            Out::Generate { r#gen, turn, said, speculative, results, manner } => {
                self.generate(now, r#gen, turn, said, speculative, &results, manner);
            }
            Out::Promote { r#gen } => self.adopt(now, r#gen),
            Out::Flush => {
                if let Some(stt) = &self.stt {
                    let _ = stt.commands.try_send(SttCommand::Flush);
                }
            }
            Out::Open { .. } => {}
            Out::Reopen { .. } => self.brain.reopen(),
            Out::Commit { turn, said } => self.commit(now, turn, &said),
            Out::Amend { turn, text } => {
                self.brain.caller_said(&text, true);
                self.tell(ConversationEvent::Amended { turn, text });
            }
            Out::Drop(_) | Out::Note(_) | Out::TakeFloor | Out::Verdict(_) | Out::StartGreeting | Out::Stay => {}
            Out::Record { text, .. } => {
                let (start, end) = self.clock.take_caller(now);
                self.tell(ConversationEvent::Caller(Spoken { text, start, end, keys: false, again: false }));
            }
            Out::RunTool { id } => self.run_tool(&id),
            Out::CancelTool { id } => self.tell(ConversationEvent::ToolCancelled { id }),
            Out::Say { r#gen, line } => self.say_line(r#gen, line),
            Out::Prompt { r#gen, kind } => self.prompt(now, r#gen, kind),
            Out::BackupVoice { .. } => self.tell(ConversationEvent::Degraded { stage: "tts" }),
            Out::RaiseFloor => self.floor_raised = true,
            Out::Hold(why) => {
                // Of the other holds the call knows by itself.
                self.music = why == HoldWhy::Music;
                if self.music {
                    self.tell(ConversationEvent::Hold(true));
                }
            }
            Out::Unhold => {
                if std::mem::take(&mut self.music) {
                    self.tell(ConversationEvent::Hold(false));
                }
            }
            Out::Hangup(cause) => self.tell(ConversationEvent::Hangup(cause)),
            Out::Closed => self.closed_at = Some(now),
        }
    }

    pub(super) fn speech(&mut self, r#gen: Gen) -> &mut Speech {
        self.speeches.entry(r#gen).or_default()
    }

    fn resume(&mut self, now: Ms, r#gen: Gen, from: Place, line: &mut dyn Line) {
        let speech = self.speeches.entry(r#gen).or_default();
        let paused = speech.paused_at.take().unwrap_or(now);
        let heard = paused.saturating_sub(speech.began.unwrap_or(paused) + speech.paused_ms);
        let rewind_ms = if from == Place::WordStart { self.heard.into_word_ms(r#gen, heard) } else { 0 };
        speech.paused_ms += now - paused;
        line.send(LineCommand::Resume { rewind_ms });
        self.tell(ConversationEvent::Resumed { paused_ms: now - paused });
    }

    fn cancel(&mut self, now: Ms, r#gen: Gen, heard: Option<Ms>, line: &mut dyn Line) {
        self.brain.cancel(r#gen, heard.is_some());
        let _ = self.tts.commands.try_send(TtsCommand::Cancel { r#gen });
        let Some(speech) = self.speeches.get_mut(&r#gen) else { return };
        speech.held.clear();
        speech.cancelled = true;
        if speech.began.is_some() {
            // What was heard is known when the line has stopped: `LineEvent::Stopped`.
            speech.heard_guess = heard.unwrap_or(0);
            line.send(LineCommand::Cancel { r#gen });
            self.tell(ConversationEvent::Interrupted { at: now });
        } else {
            self.speeches.remove(&r#gen);
            self.heard.forget(r#gen);
        }
    }

    fn play(&mut self, now: Ms, r#gen: Gen, line: &mut dyn Line) {
        let speech = self.speeches.entry(r#gen).or_default();
        speech.sounding = true;
        if !speech.held.is_empty() {
            speech.sounds(now);
        }
        for pcm in speech.held.drain(..) {
            line.send(LineCommand::Speak { r#gen, pcm });
        }
        if speech.voice_done {
            line.send(LineCommand::Finish { r#gen });
        }
        self.tell(ConversationEvent::Activity("speaking"));
    }

    #[allow(clippy::too_many_arguments)]
    fn generate(
        &mut self,
        now: Ms,
        r#gen: Gen,
        turn: turn::Turn,
        said: Said,
        speculative: bool,
        results: &[String],
        manner: Manner,
    ) {
        let mut asks: Vec<Ask> = Vec::new();
        for id in results {
            if let Some(result) = self.results.get(id) {
                asks.push(Ask::Result(result.clone()));
            }
        }
        match said {
            Said::Nothing => {}
            Said::Words(words) => asks.push(Ask::Words(words)),
            Said::Keys(keys) => asks.push(Ask::Keys(keys)),
        }
        let latency = self.clock.asked(now, speculative);
        let speech = self.speech(r#gen);
        speech.turn = turn;
        speech.latency = latency;
        tracing::debug!(r#gen, turn, speculative, ?manner, "the brain is asked");
        self.brain.ask(r#gen, &asks);
        if !speculative {
            self.adopt(now, r#gen);
            self.tell(ConversationEvent::Activity("thinking"));
        }
    }

    pub(super) fn adopt(&mut self, now: Ms, r#gen: Gen) {
        if let Some(expect) = self.brain.adopt(r#gen) {
            self.expect(now, expect);
        }
        let stopped = self.clock.committed;
        self.speech(r#gen).latency.committed = stopped.or(Some(now));
    }

    fn commit(&mut self, now: Ms, turn: turn::Turn, said: &Said) {
        let again = turn == self.last_turn && turn != 0;
        self.last_turn = turn;
        let (start, end) = self.clock.commit(now, again);
        let (text, keys) = match said {
            Said::Nothing => return,
            Said::Words(words) => (words.clone(), false),
            Said::Keys(keys) => (keys.clone(), true),
        };
        if keys {
            self.brain.caller_said(&format!("[pressed the keys {text}]"), again);
        } else {
            self.brain.caller_said(&text, again);
        }
        self.tell(ConversationEvent::Caller(Spoken { text, start, end, keys, again }));
    }

    pub(super) fn run_tool(&mut self, id: &str) {
        let Some((name, arguments)) = self.tools.get(id).cloned() else { return };
        self.brain.tool_began(id, &name, &arguments);
        self.tell(ConversationEvent::Tool { id: id.to_owned(), name, arguments });
    }

    fn say_line(&mut self, r#gen: Gen, line: turn::Line) {
        let text = match line {
            turn::Line::Text { text, id } => {
                self.speech(r#gen).say_id = id;
                text
            }
            turn::Line::Filler => {
                let running = self.tools.iter().filter(|(id, _)| !self.results.contains_key(*id));
                let own =
                    running.filter_map(|(_, (name, _))| self.lines.of_tools.get(name)).find(|own| !own.is_empty());
                let fillers = own.unwrap_or(&self.lines.fillers);
                let Some(text) = fillers.get(self.fillers % fillers.len().max(1)).cloned() else { return };
                self.fillers += 1;
                self.speech(r#gen).fillers += 1;
                let _ = self.tts.commands.try_send(TtsCommand::Speak { r#gen, text });
                return;
            }
            turn::Line::Apology => {
                "I am sorry, something is not working here. Could you say that again, please?".to_owned()
            }
            turn::Line::NobodyThere if self.lines.goodbye.is_empty() => "Goodbye.".to_owned(),
            turn::Line::NobodyThere => self.lines.goodbye.clone(),
            turn::Line::TimeIsUp => "I am afraid our time is up. Goodbye.".to_owned(),
            turn::Line::Voicemail | turn::Line::NameAndReason => {
                "This is an automated call. We will try again.".to_owned()
            }
        };
        self.speak(r#gen, &text);
    }

    fn prompt(&mut self, now: Ms, r#gen: Gen, kind: turn::Prompt) {
        let text = match kind {
            turn::Prompt::Silence(n) => {
                if let Brain::Flow(_) = self.brain {
                    self.brain.ask(r#gen, &[Ask::Silence(n.into())]);
                    self.adopt(now, r#gen);
                    return;
                }
                let prompts = &self.lines.silence;
                let prompt = prompts.get(usize::from(n.saturating_sub(1))).or(prompts.last());
                prompt.map_or("Are you still there?", String::as_str)
            }
            turn::Prompt::TooFewDigits => "That was too short. Please try once more.",
            turn::Prompt::AreYouBack => "Are you back?",
            turn::Prompt::LastMinute => "We have about one minute left.",
        };
        let text = text.to_owned();
        self.speak(r#gen, &text);
    }

    /// Says a text of our own, whole.
    fn speak(&mut self, r#gen: Gen, text: &str) {
        let mut sentences = Sentences::default();
        let mut pieces = sentences.push(text);
        pieces.extend(sentences.finish());
        self.speech(r#gen);
        for text in pieces {
            let _ = self.tts.commands.try_send(TtsCommand::Speak { r#gen, text });
        }
        let _ = self.tts.commands.try_send(TtsCommand::Finish { r#gen });
    }

    /// A generation has ended on the line: what was heard of it becomes transcript and context.
    pub(super) fn settle(&mut self, r#gen: Gen, heard_ms: Option<Ms>) {
        let Some(speech) = self.speeches.remove(&r#gen) else { return };
        let text = self.heard.generated(r#gen);
        let all = speech.samples * 1000 / u64::from(codecs::pcm::RATE);
        let heard_text = match heard_ms {
            Some(ms) if ms < all => self.heard.until(r#gen, ms),
            _ => text.clone(),
        };
        self.heard.forget(r#gen);
        self.brain.agent_said(&heard_text);
        let start = speech.began.unwrap_or(0);
        let length = heard_ms.unwrap_or(all).min(all) + speech.paused_ms;
        if text.is_empty() {
            return;
        }
        let interrupted = heard_ms.is_some();
        let latency = speech.latency.waterfall();
        let (end, say_id) = (start + length, speech.say_id);
        let ended = Ended { text, heard_text, interrupted, start, end, latency, say_id };
        self.tell(ConversationEvent::Agent(Box::new(ended)));
    }
}

/// Stands in for the line while the call rings.
struct Nowhere;

impl Line for Nowhere {
    fn tick(&mut self) -> Option<Tick> {
        None
    }
    fn event(&mut self) -> Option<LineEvent> {
        None
    }
    fn send(&mut self, _command: LineCommand) {}
    fn is_gone(&self) -> bool {
        false
    }
}
