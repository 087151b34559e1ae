//! One frame of telephone audio: 20 ms of linear samples at 8 kHz.

/// Samples a second.
pub const RATE: u32 = 8000;
/// Samples in a frame of 20 ms.
pub const FRAME: usize = 160;
/// Twenty milliseconds of linear audio.
pub type Frame = [i16; FRAME];
/// A frame of nothing.
pub const SILENCE: Frame = [0; FRAME];
