//! One generation on its way from the voice to the line.

use crate::Ms;
use crate::turn::Turn;

use super::latency::Marks;

/// What is known of a generation's sound.
#[derive(Debug, Default)]
pub(super) struct Speech {
    /// The turn it answers.
    pub(super) turn: Turn,
    /// Samples that may not sound yet.
    pub(super) held: Vec<Box<[i16]>>,
    /// May sound.
    pub(super) sounding: bool,
    /// The machine knows that there is audio.
    pub(super) announced: bool,
    /// Fillers whose audio comes before the answer's and sounds at once.
    pub(super) fillers: u32,
    /// Pieces that were given to the voice.
    pub(super) pieces: u32,
    /// Samples that came from the voice.
    pub(super) samples: u64,
    /// The voice has sent everything.
    pub(super) voice_done: bool,
    /// Nothing of it is wanted any more.
    pub(super) cancelled: bool,
    /// When its first sample went to the line.
    pub(super) began: Option<Ms>,
    /// Since when it is paused.
    pub(super) paused_at: Option<Ms>,
    /// How long it was paused in all.
    pub(super) paused_ms: Ms,
    /// The machine's reckoning of what was heard, should the line not tell.
    pub(super) heard_guess: Ms,
    /// Who asked for it.
    pub(super) say_id: Option<String>,
    /// Where its time went.
    pub(super) latency: Marks,
}

impl Speech {
    /// Samples go to the line now; the first ones count. A line of our own may be let to sound before it has any.
    pub(super) fn sounds(&mut self, now: Ms) {
        self.began.get_or_insert(now);
        self.latency.first_rtp.get_or_insert(now);
    }
}
