//! The node's own metrics in Prometheus text: counters that only grow, gauges, and what the vendors were asked.

use std::fmt::Write;
use std::sync::atomic::Ordering::Relaxed;

use pipeline::link::usage;

use super::desk::Desk;

/// All families, `sidetone_*`; no phone number and no tenant in a label.
pub(super) fn text(desk: &Desk, answered: u64, refused: u64) -> String {
    let (voice, media, sip) = (desk.voice.stats(), desk.media.counts(), desk.sip.counts());
    let (ports, journal) = (desk.media.port_counts(), desk.journal.counts());
    let mut text = String::new();
    let mut family = |kind: &str, name: &str, help: &str, value: u64| {
        let _ = write!(text, "# HELP sidetone_{name} {help}\n# TYPE sidetone_{name} {kind}\nsidetone_{name} {value}\n");
    };
    family("counter", "calls_answered_total", "Calls that were answered.", answered);
    family("counter", "calls_refused_total", "Calls refused for lack of room or while draining.", refused);
    family("counter", "voice_ticks_total", "Frames heard by the voice threads.", voice.ticks.load(Relaxed));
    family("counter", "vad_chunks_total", "Chunks judged by the VAD.", voice.chunks.load(Relaxed));
    family("counter", "voice_late_steps_total", "Voice steps over 20 ms late.", voice.late_steps.load(Relaxed));
    family("counter", "media_slipped_ticks_total", "Ticks a media thread gave up, being late.", media.slipped_ticks);
    family("counter", "media_lost_ticks_total", "Ticks a voice thread did not fetch in time.", media.lost_ticks);
    family("counter", "sip_received_total", "SIP messages and datagrams received.", sip.received);
    family("counter", "sip_sent_total", "SIP messages sent.", sip.sent);
    family(
        "counter",
        "bad_transition_total",
        "Steps the state machine of calls does not have.",
        journal.bad_transitions,
    );
    family("gauge", "calls", "Live calls.", desk.live_calls() as u64);
    family("gauge", "rtp_ports_free", "Pairs of RTP ports that are free.", ports.free as u64);
    family("gauge", "draining", "1 while new calls are refused.", desk.is_draining().into());
    vendors(&mut text);
    text
}

/// One figure of a vendor's counters.
type Pick = fn(&usage::Counts) -> u64;

fn vendors(text: &mut String) {
    let all = usage::all();
    let families: [(&str, &str, Pick); 5] = [
        ("vendor_connects_total", "Connections or requests accepted.", |counts| counts.connects),
        ("vendor_failures_total", "Connections or requests failed or cut.", |counts| counts.failures),
        ("vendor_audio_in_ms_total", "Caller's audio sent, ms.", |counts| counts.audio_in_ms),
        ("vendor_characters_total", "Characters sent to be spoken.", |counts| counts.characters),
        ("vendor_output_tokens_total", "Tokens written by models.", |counts| counts.output_tokens),
    ];
    for (name, help, value) in families {
        let _ = write!(text, "# HELP sidetone_{name} {help}\n# TYPE sidetone_{name} counter\n");
        for (vendor, counts) in &all {
            let vendor = vendor.replace(['"', '\\', '\n'], "_");
            let _ = writeln!(text, "sidetone_{name}{{vendor=\"{vendor}\"}} {}", value(counts));
        }
    }
}
