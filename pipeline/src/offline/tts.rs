//! The built-in voice of one conversation: clause by clause, in order, each generation until it is cancelled.

use std::collections::VecDeque;

use tokio::sync::mpsc;

use super::Speech;
use super::wire::{Reply, Request};
use super::worker::Port;
use crate::Gen;
use crate::tts::{TtsCommand, TtsEvent, TtsLink};

/// Clauses longer than this are also cut at commas: the first sound comes earlier.
const LONG: usize = 90;
/// A clause is given to another worker so often after its worker died.
const TRIES: u8 = 3;

pub(crate) fn open(speech: Speech, voice: String) -> TtsLink {
    let (commands, inbox) = mpsc::channel(64);
    let (outbox, events) = mpsc::unbounded_channel();
    let name = format!("builtin/{voice}");
    let (done, from_workers) = mpsc::unbounded_channel();
    let speaker = Speaker { speech, voice, outbox, done, queue: VecDeque::new(), spoken: (0, 0) };
    tokio::spawn(speaker.run(inbox, from_workers));
    TtsLink { commands, events, name, usage: Default::default() }
}

/// A clause that is being made, or a mark behind clauses.
enum Item {
    Clause {
        generation: Gen,
        text: String,
        port: Port,
        tries: u8,
        ready: VecDeque<Vec<i16>>,
        end: Option<Result<(), String>>,
        sent: bool,
    },
    Piece {
        generation: Gen,
        text: String,
    },
    Finish {
        generation: Gen,
    },
}

impl Item {
    fn generation(&self) -> Gen {
        match self {
            Item::Clause { generation, .. } | Item::Piece { generation, .. } | Item::Finish { generation } => {
                *generation
            }
        }
    }
}

struct Speaker {
    speech: Speech,
    voice: String,
    outbox: mpsc::UnboundedSender<TtsEvent>,
    done: mpsc::UnboundedSender<(u32, Reply)>,
    queue: VecDeque<Item>,
    /// The generation that is being said and its samples so far.
    spoken: (Gen, u64),
}

impl Speaker {
    async fn run(mut self, mut inbox: mpsc::Receiver<TtsCommand>, mut replies: mpsc::UnboundedReceiver<(u32, Reply)>) {
        loop {
            tokio::select! {
                command = inbox.recv() => match command {
                    Some(TtsCommand::Speak { r#gen: generation, text }) => self.speak(generation, text),
                    Some(TtsCommand::Finish { r#gen: generation }) => {
                        self.queue.push_back(Item::Finish { generation });
                    }
                    Some(TtsCommand::Cancel { r#gen: generation }) => self.cancel(generation),
                    None => break,
                },
                Some((id, reply)) = replies.recv() => self.reply(id, reply),
            }
            self.drain();
        }
        for item in &self.queue {
            stop(item);
        }
    }

    fn speak(&mut self, generation: Gen, text: String) {
        for clause in clauses(&text) {
            let port = self.ask(clause);
            self.queue.push_back(Item::Clause {
                generation,
                text: clause.to_owned(),
                port,
                tries: 1,
                ready: VecDeque::new(),
                end: None,
                sent: false,
            });
        }
        self.queue.push_back(Item::Piece { generation, text });
    }

    /// Gives a clause to a worker.
    fn ask(&self, clause: &str) -> Port {
        let id = self.speech.id();
        let (replies, mut from_worker) = mpsc::unbounded_channel();
        let port = self.speech.worker().open(id, replies);
        port.send(Request::Speak { job: id, voice: self.voice.clone(), text: clause.to_owned() });
        let done = self.done.clone();
        tokio::spawn(async move {
            while let Some(reply) = from_worker.recv().await {
                if done.send((id, reply)).is_err() {
                    break;
                }
            }
        });
        port
    }

    fn cancel(&mut self, cancelled: Gen) {
        self.queue.retain(|item| {
            let keep = item.generation() != cancelled;
            if !keep {
                stop(item);
            }
            keep
        });
    }

    fn reply(&mut self, id: u32, reply: Reply) {
        let mut again = None;
        for (at, item) in self.queue.iter_mut().enumerate() {
            let Item::Clause { port, ready, end, tries, sent, text, .. } = item else { continue };
            if port.id != id || end.is_some() {
                continue;
            }
            match reply {
                Reply::Pcm { pcm } => ready.push_back(pcm),
                Reply::Spoken => *end = Some(Ok(())),
                Reply::Unspeakable { reason } => *end = Some(Err(reason)),
                // Nothing of it has been heard yet: another worker says it from the start.
                Reply::Lost if !*sent && *tries < TRIES => {
                    *tries += 1;
                    ready.clear();
                    again = Some((at, text.clone()));
                }
                Reply::Lost => *end = Some(Err("the speech worker died".to_owned())),
                _ => {}
            }
            break;
        }
        if let Some((at, clause)) = again {
            let fresh = self.ask(&clause);
            if let Some(Item::Clause { port, .. }) = self.queue.get_mut(at) {
                *port = fresh;
            }
        }
    }

    /// Passes on what is ready at the head of the queue.
    fn drain(&mut self) {
        while let Some(head) = self.queue.front_mut() {
            let generation = head.generation();
            if self.spoken.0 != generation {
                self.spoken = (generation, 0);
            }
            let mut failed = None;
            match head {
                Item::Clause { ready, end, sent, .. } => {
                    while let Some(pcm) = ready.pop_front() {
                        *sent = true;
                        self.spoken.1 += pcm.len() as u64;
                        let _ = self.outbox.send(TtsEvent::Audio { r#gen: generation, pcm: pcm.into() });
                    }
                    match end.take() {
                        None => return,
                        Some(Ok(())) => {}
                        Some(Err(reason)) => failed = Some(reason),
                    }
                }
                Item::Piece { text, .. } => {
                    let text = std::mem::take(text);
                    let end_sample = self.spoken.1;
                    let _ = self.outbox.send(TtsEvent::Piece { r#gen: generation, text, end_sample });
                }
                Item::Finish { .. } => {
                    self.spoken.1 = 0;
                    let _ = self.outbox.send(TtsEvent::Done { r#gen: generation });
                }
            }
            self.queue.pop_front();
            if let Some(reason) = failed {
                self.cancel(generation);
                let _ = self.outbox.send(TtsEvent::Error { r#gen: generation, reason, retry: true });
            }
        }
    }
}

fn stop(item: &Item) {
    if let Item::Clause { port, end: None, .. } = item {
        port.send(Request::Cancel { job: port.id });
    }
}

/// A text in clauses, each with its punctuation.
fn clauses(text: &str) -> Vec<&str> {
    let mut out = Vec::new();
    let mut start = 0;
    let mut chars = text.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        let space = chars.peek().is_some_and(|(_, next)| next.is_whitespace());
        let long = at - start > LONG;
        if space && (matches!(c, '.' | '?' | '!' | ';' | ':') && at - start > 3 || c == ',' && long) {
            out.push(text[start..at + c.len_utf8()].trim());
            start = at + c.len_utf8();
        }
    }
    out.push(text[start..].trim());
    out.retain(|clause| clause.chars().any(char::is_alphanumeric));
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_come_apart_at_the_ends_of_sentences() {
        assert_eq!(clauses("One moment. You are booked!"), ["One moment.", "You are booked!"]);
        assert_eq!(clauses("At 10.30, Tuesday"), ["At 10.30, Tuesday"]);
        assert_eq!(clauses(" ... "), Vec::<&str>::new());
        let long = format!("{} and so on, but no end", "word ".repeat(20));
        assert_eq!(clauses(&long).len(), 2);
    }
}
