//! The voice threads: every call's audio passes here once, from the line to the ear to whoever talks.
//!
//! A call belongs to one voice thread from [`Voice::seat`] to its end. The thread never waits for a network; it
//! sleeps until the next step and then looks at each call's rings and links.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use codecs::pcm::Frame;

use crate::Ms;
use crate::line::{Line, LineEvent, Tick};
use crate::vad::{Ear, Edge, Vad, VadConfig};

/// How often a thread looks at its calls.
const STEP: Duration = Duration::from_millis(5);

/// Whether a call goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Going {
    /// There is more to do.
    On,
    /// The call has nothing more to do here.
    Over,
}

/// Whoever talks to the caller: a conversation, an echo, a prompt in a loop, the test phone.
pub trait Talk: Send {
    /// Twenty milliseconds have passed on the line; `edge` tells when the caller began or ceased to speak.
    fn hear(&mut self, now: Ms, tick: &Tick, edge: Option<Edge>, line: &mut dyn Line);
    /// Something happened on the line.
    fn event(&mut self, now: Ms, event: LineEvent, line: &mut dyn Line);
    /// A step of time: links and timers.
    fn advance(&mut self, now: Ms, line: &mut dyn Line) -> Going;
    /// Whether the voice thread must ignore steady noise for now.
    fn raise_floor(&mut self) -> bool {
        false
    }
}

/// Whatever writes down both sides of a call.
pub trait Tap: Send {
    /// Twenty milliseconds of both sides.
    fn frames(&mut self, caller: &Frame, agent: &Frame);
}

/// One call, as it takes its seat on a voice thread.
pub struct Seat {
    /// Who talks.
    pub talk: Box<dyn Talk>,
    /// To whom.
    pub line: Box<dyn Line>,
    /// How to listen; `None` runs no VAD.
    pub ear: Option<VadConfig>,
    /// Who writes it down.
    pub tap: Option<Box<dyn Tap>>,
    /// Taken to be the moment of answer.
    pub answered: Instant,
}

impl std::fmt::Debug for Seat {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Seat").finish_non_exhaustive()
    }
}

/// Counters of the voice threads.
#[derive(Debug, Default)]
pub struct VoiceStats {
    /// Calls that are seated now.
    pub calls: AtomicUsize,
    /// Frames heard.
    pub ticks: AtomicU64,
    /// Chunks that the VAD judged.
    pub chunks: AtomicU64,
    /// Steps that began more than 20 ms late.
    pub late_steps: AtomicU64,
}

/// The voice threads of a process.
#[derive(Clone, Debug)]
pub struct Voice {
    doors: Arc<[Sender<Seat>]>,
    next: Arc<AtomicUsize>,
    stats: Arc<VoiceStats>,
}

impl Voice {
    /// Starts `threads` threads named `voice-N`.
    ///
    /// # Errors
    /// When the system refuses a thread.
    pub fn start(threads: usize) -> std::io::Result<Self> {
        let stats = Arc::new(VoiceStats::default());
        let mut doors = Vec::new();
        for n in 0..threads.max(1) {
            let (door, seats) = channel();
            let stats = Arc::clone(&stats);
            std::thread::Builder::new().name(format!("voice-{n}")).spawn(move || run(&seats, &stats))?;
            doors.push(door);
        }
        Ok(Self { doors: doors.into(), next: Arc::default(), stats })
    }

    /// Gives a call to a thread; false when that thread is gone.
    pub fn seat(&self, seat: Seat) -> bool {
        let n = self.next.fetch_add(1, Ordering::Relaxed) % self.doors.len();
        self.doors[n].send(seat).is_ok()
    }

    /// What the threads have counted.
    #[must_use]
    pub fn stats(&self) -> &VoiceStats {
        &self.stats
    }
}

struct Seated {
    seat: Seat,
    ear: Option<(Ear, Vad)>,
    /// The tick of this round, and the edge that it made.
    tick: Option<(Tick, Option<Edge>)>,
}

fn run(door: &Receiver<Seat>, stats: &VoiceStats) {
    let mut calls: Vec<Seated> = Vec::new();
    let mut step = Instant::now();
    loop {
        if calls.is_empty() {
            match door.recv() {
                Ok(seat) => calls.push(Seated::new(seat)),
                Err(_) => return,
            }
            step = Instant::now();
        }
        loop {
            let wait = step.saturating_duration_since(Instant::now());
            match door.recv_timeout(wait) {
                Ok(seat) => calls.push(Seated::new(seat)),
                Err(RecvTimeoutError::Timeout) => break,
                Err(RecvTimeoutError::Disconnected) => {
                    std::thread::sleep(wait);
                    break;
                }
            }
        }
        let now = Instant::now();
        if now.duration_since(step) > 4 * STEP {
            stats.late_steps.fetch_add(1, Ordering::Relaxed);
            step = now;
        }
        step += STEP;
        for call in &mut calls {
            call.events(now);
        }
        while round(&mut calls, now, stats) {}
        calls.retain_mut(|call| call.advance(now) == Going::On);
        stats.calls.store(calls.len(), Ordering::Relaxed);
    }
}

/// One tick of every call that has one: all ears are judged in one batch before anybody is told. False when no call had a tick.
fn round(calls: &mut [Seated], now: Instant, stats: &VoiceStats) -> bool {
    let mut ticks = 0;
    for call in calls.iter_mut() {
        ticks += u64::from(call.take());
    }
    if ticks == 0 {
        return false;
    }
    let mut chunks = 0;
    let mut listening: Vec<&mut Option<Edge>> = Vec::new();
    let mut ears: Vec<(&mut Ear, &mut Vad)> = Vec::new();
    for call in calls.iter_mut() {
        if let (Some((_, edge)), Some((ear, vad))) = (&mut call.tick, &mut call.ear) {
            chunks += u64::from(ear.ready().is_some());
            listening.push(edge);
            ears.push((ear, vad));
        }
    }
    crate::vad::listen(ears, |index, edge| *listening[index] = Some(edge));
    stats.ticks.fetch_add(ticks, Ordering::Relaxed);
    stats.chunks.fetch_add(chunks, Ordering::Relaxed);
    for call in calls {
        call.hear(now);
    }
    true
}

impl Seated {
    fn new(seat: Seat) -> Self {
        let ear = seat.ear.as_ref().map(|config| (Ear::new(config.clone()), Vad::new(config.engine)));
        Self { ear, seat, tick: None }
    }

    fn clock(&self, now: Instant) -> Ms {
        now.saturating_duration_since(self.seat.answered).as_millis() as Ms
    }

    fn events(&mut self, now: Instant) {
        let ms = self.clock(now);
        let Seat { talk, line, .. } = &mut self.seat;
        while let Some(event) = line.event() {
            talk.event(ms, event, line.as_mut());
        }
    }

    fn take(&mut self) -> bool {
        self.tick = self.seat.line.tick().map(|tick| (tick, None));
        if let (Some((tick, _)), Some((ear, _))) = (&self.tick, &mut self.ear) {
            ear.push(tick.at, &tick.caller);
        }
        self.tick.is_some()
    }

    fn hear(&mut self, now: Instant) {
        let ms = self.clock(now);
        let Some((tick, edge)) = self.tick.take() else { return };
        let Seat { talk, line, tap, .. } = &mut self.seat;
        if let Some(tap) = tap {
            tap.frames(&tick.caller, &tick.agent);
        }
        talk.hear(ms, &tick, edge, line.as_mut());
    }

    fn advance(&mut self, now: Instant) -> Going {
        let ms = self.clock(now);
        let Seat { talk, line, .. } = &mut self.seat;
        if talk.raise_floor()
            && let Some((ear, _)) = &mut self.ear
        {
            ear.raise_floor();
        }
        let going = talk.advance(ms, line.as_mut());
        if line.is_gone() { Going::Over } else { going }
    }
}

/// Plays the caller back to them: the subject of measurements of the path itself.
#[derive(Debug, Default)]
pub struct Echo;

impl Talk for Echo {
    fn hear(&mut self, _now: Ms, tick: &Tick, _edge: Option<Edge>, line: &mut dyn Line) {
        line.send(crate::line::LineCommand::Speak { r#gen: 1, pcm: Box::new(tick.caller) });
    }

    fn event(&mut self, _now: Ms, _event: LineEvent, _line: &mut dyn Line) {}

    fn advance(&mut self, _now: Ms, _line: &mut dyn Line) -> Going {
        Going::On
    }
}

/// Plays one prompt over and over, with VAD and recording as configured and no recogniser or model behind it.
#[derive(Debug, Default)]
pub struct Prompt {
    playing: u64,
}

impl Prompt {
    /// About four seconds that have the level and rhythm of speech, made once.
    fn audio() -> &'static [i16] {
        static AUDIO: OnceLock<Vec<i16>> = OnceLock::new();
        AUDIO.get_or_init(|| {
            let mut phase = 0.0_f32;
            (0..codecs::pcm::RATE as usize * 4)
                .map(|n| {
                    let t = n as f32 / codecs::pcm::RATE as f32;
                    phase += 120.0 + 40.0 * (t * 1.7).sin();
                    let syllable = (t * std::f32::consts::TAU * 4.0).sin().max(0.0);
                    let voice = (1..8).map(|k| (phase * k as f32 * 0.000_785).sin() / k as f32).sum::<f32>();
                    (voice * syllable * 6000.0) as i16
                })
                .collect()
        })
    }
}

impl Talk for Prompt {
    fn hear(&mut self, _now: Ms, _tick: &Tick, _edge: Option<Edge>, line: &mut dyn Line) {
        if self.playing == 0 {
            self.play(line);
        }
    }

    fn event(&mut self, _now: Ms, event: LineEvent, line: &mut dyn Line) {
        if event == (LineEvent::Mark { r#gen: self.playing }) {
            self.play(line);
        }
    }

    fn advance(&mut self, _now: Ms, _line: &mut dyn Line) -> Going {
        Going::On
    }
}

impl Prompt {
    fn play(&mut self, line: &mut dyn Line) {
        self.playing += 1;
        line.send(crate::line::LineCommand::Speak { r#gen: self.playing, pcm: Self::audio().into() });
        line.send(crate::line::LineCommand::Finish { r#gen: self.playing });
    }
}
