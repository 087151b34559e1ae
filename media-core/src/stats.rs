//! What a leg can say about its line, and the opinion a listener would have of it (ITU-T G.107, simplified).

use serde::Serialize;

/// A snapshot of a leg's counters.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Stats {
    /// Packets of the caller that were accepted, duplicates apart.
    pub received: u64,
    /// Packets that never came.
    pub lost: u64,
    /// Packets that came after their time and were not played.
    pub late: u64,
    /// Packets that came more than once.
    pub duplicate: u64,
    /// Packets that came after younger ones and were still of use.
    pub reordered: u64,
    /// Made-up audio.
    pub concealed_ms: u64,
    /// Interarrival jitter (RFC 3550).
    pub jitter_ms: f32,
    /// From the fastest arrival to playing.
    pub delay_ms: u32,
    /// Round trip by RTCP; `None` before the first report came back.
    pub rtt_ms: Option<f32>,
    /// The other side's loss of our packets since its last report, 0 to 1.
    pub remote_loss: Option<f32>,
    /// Packets from anywhere but the caller.
    pub strangers: u64,
    /// What is no RTP or RTCP.
    pub malformed: u64,
    /// Packets of a payload type that was not agreed.
    pub wrong_type: u64,
    /// Telephone events that are no keys, and keys beyond the rate cap.
    pub keys_refused: u64,
    /// RTCP BYEs: noted, never obeyed.
    pub byes: u64,
    /// Times the caller's stream restarted: another SSRC, place or time line.
    pub restarts: u64,
    /// The caller speaks from another place than was signalled.
    pub displaced: bool,
    /// Packets we staged.
    pub sent: u64,
    /// Mean opinion score, 1 to 4.5, estimated for what we hear.
    pub mos: f32,
}

/// Mean opinion score of G.711 with concealment, by the E-model: `loss` 0 to 1 of packets, `delay_ms` mouth to ear.
pub fn mos(loss: f32, delay_ms: f32) -> f32 {
    // G.113 appendix I: Ie = 0 and Bpl = 25.1 for G.711 with concealment and random loss.
    let percent = loss.clamp(0.0, 1.0) * 100.0;
    let equipment = 95.0 * percent / (percent + 25.1);
    let delay = 0.024 * delay_ms + if delay_ms > 177.3 { 0.11 * (delay_ms - 177.3) } else { 0.0 };
    let r = (93.2 - equipment - delay).clamp(0.0, 100.0);
    (1.0 + 0.035 * r + r * (r - 60.0) * (100.0 - r) * 7e-6).clamp(1.0, 4.5)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clean_short_line_is_good_and_a_lossy_or_long_one_is_not() {
        assert!((mos(0.0, 0.0) - 4.41).abs() < 0.01);
        assert!(mos(0.05, 50.0) < 3.9 && mos(0.05, 50.0) > 3.3);
        assert!(mos(0.2, 50.0) < 2.6);
        assert!(mos(0.0, 400.0) < mos(0.0, 150.0) - 0.4);
        assert_eq!(mos(1.0, 5000.0), 1.0);
    }
}
