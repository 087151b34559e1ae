//! Joins the media thread's rings to the conversation's [`Line`]: the one place where the two crates' words meet.

use media_core::{Dial, LegCommand, LegEvent};
use pipeline::line::{Line, LineCommand, LineEvent, Tick};

/// Samples in a millisecond.
const PER_MS: u64 = 8;

/// A call's rings, seen as a conversation sees a line.
pub struct Rings {
    line: wire::media::Line,
    /// Commands that the ring had no room for: with 20 ms ticks that means a media thread that stands still.
    lost: u64,
}

impl Rings {
    /// Takes a leg's rings.
    #[must_use]
    pub fn new(line: wire::media::Line) -> Self {
        Self { line, lost: 0 }
    }
}

impl Line for Rings {
    fn tick(&mut self) -> Option<Tick> {
        let tick = self.line.ticks.pop().ok()?;
        Some(Tick { at: tick.at, caller: tick.caller, agent: tick.agent })
    }

    fn event(&mut self) -> Option<LineEvent> {
        while self.line.spent.pop().is_ok() {}
        loop {
            return Some(match self.line.events.pop().ok()? {
                LegEvent::Key { digit, at, .. } => LineEvent::Key { digit, at: at / PER_MS },
                LegEvent::Sent { digit, in_band, .. } => LineEvent::Sent { digit, in_band },
                LegEvent::Mark { r#gen, .. } => LineEvent::Mark { r#gen },
                LegEvent::Stopped { r#gen, heard_ms } => LineEvent::Stopped { r#gen, heard_ms },
                LegEvent::Underrun { r#gen } => LineEvent::Underrun { r#gen },
                LegEvent::Refill { r#gen } => LineEvent::Refill { r#gen },
                LegEvent::Silent { ms } => LineEvent::Silent { ms },
                LegEvent::Paused { .. } => continue,
            });
        }
    }

    fn send(&mut self, command: LineCommand) {
        let command = match command {
            LineCommand::Speak { r#gen, pcm } => LegCommand::Speak { r#gen, pcm },
            LineCommand::Finish { r#gen } => LegCommand::Finish { r#gen },
            LineCommand::Pause => LegCommand::Pause,
            LineCommand::Resume { rewind_ms } => LegCommand::Resume { rewind_ms },
            LineCommand::Cancel { r#gen } => LegCommand::Cancel { r#gen },
            LineCommand::SendDigits(digits) => LegCommand::SendDigits(Dial::plain(digits)),
        };
        if self.line.commands.push(command).is_err() {
            self.lost += 1;
        }
    }

    fn is_gone(&self) -> bool {
        self.line.ticks.is_abandoned() && self.line.ticks.is_empty()
    }
}

impl Drop for Rings {
    fn drop(&mut self) {
        if self.lost > 0 {
            tracing::warn!(lost = self.lost, "the media thread did not take all commands");
        }
    }
}
