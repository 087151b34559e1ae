//! Whole conversations without a clock: a flow as the brain, a voice and a recogniser in the test's own hands.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use pipeline::Ms;
use pipeline::conversation::{Brain, Conversation, ConversationEvent, Ended, Lines, Order, Parts, Say};
use pipeline::flow::{Facts, Flow};
use pipeline::line::{Line, LineCommand, LineEvent, Tick};
use pipeline::stt::{SttCommand, SttEvent, SttLink};
use pipeline::tts::{TtsCommand, TtsEvent, TtsLink};
use pipeline::turn::TurnConfig;
use pipeline::vad::Edge;
use pipeline::voice_thread::Talk;
use tokio::sync::mpsc;

/// What went to the line.
#[derive(Default)]
struct Sent(Vec<LineCommand>);

impl Line for Sent {
    fn tick(&mut self) -> Option<Tick> {
        None
    }
    fn event(&mut self) -> Option<LineEvent> {
        None
    }
    fn send(&mut self, command: LineCommand) {
        self.0.push(command);
    }
    fn is_gone(&self) -> bool {
        false
    }
}

fn quiet(now: Ms) -> Tick {
    Tick { at: now * 8, caller: [0; 160], agent: [0; 160] }
}

struct World {
    talk: Conversation,
    line: Sent,
    now: Ms,
    orders: mpsc::UnboundedSender<Order>,
    events: mpsc::UnboundedReceiver<ConversationEvent>,
    asked: mpsc::Receiver<TtsCommand>,
    voice: mpsc::UnboundedSender<TtsEvent>,
    words: mpsc::UnboundedSender<SttEvent>,
    _heard: mpsc::Receiver<SttCommand>,
}

impl World {
    /// A call whose greeting has been heard.
    fn greeted() -> Self {
        let flow = serde_json::json!({"start": "ask", "states": {
            "ask": {"say": "Shall I book?", "expect": {"kind": "yes_no"}, "on": {"yes": "bye", "no": "bye"},
                    "no_match": {"say": "Yes or no?", "max": 9, "go": "bye"}},
            "bye": {"say": "Goodbye.", "end": true}}});
        let brain = Brain::flow(Flow::compile(&flow).unwrap(), Facts::default(), "Hello.".into());
        let (tell, events) = mpsc::unbounded_channel();
        let (orders, told) = mpsc::unbounded_channel();
        let (say, asked) = mpsc::channel(64);
        let (voice, said) = mpsc::unbounded_channel();
        let (hear, heard) = mpsc::channel(64);
        let (words, recognised) = mpsc::unbounded_channel();
        let talk = Conversation::new(Parts {
            brain,
            stt: Some(SttLink { commands: hear, events: recognised, name: "test/ear".into(), usage: Arc::default() }),
            tts: TtsLink { commands: say, events: said, name: "test/voice".into(), usage: Arc::default() },
            turns: TurnConfig::default(),
            greeting_interruptible: true,
            lines: Lines::default(),
            events: tell,
            orders: told,
        });
        let line = Sent::default();
        let mut world = Self { talk, line, now: 0, orders, events, asked, voice, words, _heard: heard };
        world.spoken();
        world.agent_turns();
        world
    }

    /// Lets time pass.
    fn until(&mut self, at: Ms) {
        while self.now < at {
            self.now += 20;
            let tick = quiet(self.now);
            self.talk.hear(self.now, &tick, None, &mut self.line);
            self.talk.advance(self.now, &mut self.line);
        }
    }

    fn edge(&mut self, edge: Edge) {
        let tick = quiet(self.now);
        self.talk.hear(self.now, &tick, Some(edge), &mut self.line);
    }

    /// What the voice is asked to say: a generation and its words.
    fn asked(&mut self) -> (u64, String) {
        let (mut of, mut words) = (0, Vec::new());
        while let Ok(command) = self.asked.try_recv() {
            if let TtsCommand::Speak { r#gen, text } = command {
                of = r#gen;
                words.push(text);
            }
        }
        (of, words.join(" "))
    }

    /// The voice says what it was asked for, and the line sends all of it.
    fn spoken(&mut self) {
        let (r#gen, text) = self.asked();
        self.voice.send(TtsEvent::Audio { r#gen, pcm: vec![0; 4000].into() }).unwrap();
        self.voice.send(TtsEvent::Piece { r#gen, text, end_sample: 4000 }).unwrap();
        self.voice.send(TtsEvent::Done { r#gen }).unwrap();
        self.until(self.now + 20);
        assert!(self.line.0.iter().any(|sent| matches!(sent, LineCommand::Speak { r#gen: of, .. } if *of == r#gen)));
        self.until(self.now + 500);
        self.talk.event(self.now, LineEvent::Mark { r#gen }, &mut self.line);
    }

    fn agent_turns(&mut self) -> Vec<Ended> {
        let mut turns = Vec::new();
        while let Ok(event) = self.events.try_recv() {
            if let ConversationEvent::Agent(ended) = event {
                turns.push(*ended);
            }
        }
        turns
    }
}

#[test]
fn a_say_that_the_caller_spoke_into_before_it_sounded_is_heard_later_under_its_own_id() {
    let mut world = World::greeted();
    let text = "This call is recorded.";
    let say = Say { text: text.into(), protected: true, id: Some("say-1".into()), ..Say::default() };
    world.orders.send(Order::Say(say)).unwrap();
    world.until(world.now + 20);
    let (lost, wanted) = world.asked();
    assert_eq!(wanted, text);
    // The caller begins while the voice is still at it.
    world.edge(Edge::On { at: world.now });
    world.words.send(SttEvent::Partial { text: "wait what".into(), end: world.now }).unwrap();
    world.until(world.now + 600);
    world.edge(Edge::Off { at: world.now });
    world.words.send(SttEvent::Final { text: "Wait, what is the price?".into(), end: world.now, sure: true }).unwrap();
    world.voice.send(TtsEvent::Audio { r#gen: lost, pcm: vec![0; 4000].into() }).unwrap();
    world.until(world.now + 1500);
    // It is answered, and behind the answer comes what had to be said.
    for expected in [("Yes or no?", None), (text, Some("say-1"))] {
        world.spoken();
        let [ended] = &world.agent_turns()[..] else { panic!("one turn of the agent") };
        assert_eq!((ended.text.as_str(), ended.say_id.as_deref()), expected);
        assert!(!ended.interrupted);
    }
    assert_eq!(world.asked().1, "");
}
