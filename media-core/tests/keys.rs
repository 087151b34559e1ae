//! Keys across a line: each press once, in order, at its time.
#![allow(clippy::unwrap_used, missing_docs)]

mod line;

use line::{Line, Weather, voice};
use media_core::{Channel, Dial, LegCommand, LegEvent, rtp};

fn keys(line: &Line, which: usize) -> Vec<(char, u32)> {
    line.ends[which]
        .events
        .iter()
        .filter_map(|event| match event {
            LegEvent::Key { digit, duration_ms, .. } => Some((char::from(*digit), *duration_ms)),
            _ => None,
        })
        .collect()
}

#[test]
fn digits_arrive_once_each_with_their_length() {
    let mut line = Line::new(Weather { delay_us: 10_000, ..Weather::default() });
    line.run(500);
    line.command(0, LegCommand::SendDigits(Dial::plain(b"12#".to_vec())));
    line.run(1500);
    assert_eq!(keys(&line, 1), [('1', 100), ('2', 100), ('#', 100)]);
    let at: Vec<u64> = line.ends[1]
        .events
        .iter()
        .filter_map(|e| if let LegEvent::Key { at, .. } = e { Some(*at) } else { None })
        .collect();
    assert!(at.windows(2).all(|w| (w[1] as i64 - w[0] as i64 - 12 * 160).abs() < 16), "{at:?}");
    assert_eq!(line.ends[1].leg.stats().concealed_ms, 0);
}

#[test]
fn on_a_lossy_shuffled_line_no_digit_is_doubled_or_swapped() {
    let mut line = Line::new(Weather { delay_us: 10_000, jitter_us: 30_000, loss: 100, duplicate: 200 });
    line.run(500);
    line.command(0, LegCommand::SendDigits(Dial::plain(b"0123456789*#ABCD".to_vec())));
    line.run(5000);
    let heard: String = keys(&line, 1).iter().map(|(digit, _)| *digit).collect();
    assert_eq!(heard, "0123456789*#ABCD");
}

#[test]
fn an_event_keeps_its_timestamp_has_one_marker_and_three_ends() {
    let mut line = Line::new(Weather::default());
    line.run(100);
    line.command(0, LegCommand::SendDigits(Dial::plain(b"5".to_vec())));
    line.run(500);
    let events: Vec<_> = line.ends[0]
        .sent
        .iter()
        .filter(|(_, channel, _)| *channel == Channel::Rtp)
        .map(|(_, _, bytes)| rtp::Packet::parse(bytes).unwrap())
        .filter(|packet| packet.header.payload_type == 101)
        .collect();
    assert_eq!(events.len(), 8);
    assert!(events.iter().all(|p| p.header.timestamp == events[0].header.timestamp && p.payload[0] == 5));
    assert_eq!(events.iter().filter(|p| p.header.marker).count(), 1);
    assert!(events[0].header.marker);
    assert_eq!(events.iter().filter(|p| p.payload[1] & 0x80 != 0).count(), 3);
    // Audio goes on with its own continuous clock behind the event.
    let (_, _, last) = line.ends[0].sent.last().unwrap();
    let last = rtp::Packet::parse(last).unwrap().header;
    assert_eq!(last.timestamp, (u32::MAX - 10_000).wrapping_add(29 * 160));
}

#[test]
fn speech_waits_for_keys_and_loses_nothing() {
    let mut line = Line::new(Weather::default());
    line.command(0, LegCommand::Speak { r#gen: 1, pcm: voice(1600) });
    line.command(0, LegCommand::Finish { r#gen: 1 });
    line.run(100);
    line.command(0, LegCommand::SendDigits(Dial::plain(b"9".to_vec())));
    line.run(1000);
    assert!(line.ends[0].events.contains(&LegEvent::Mark { r#gen: 1, at: 1600 + 12 * 160 }));
}

#[test]
fn without_agreed_events_keys_are_tones() {
    let mut line = Line::new(Weather::default());
    let mut config = line.ends[0].config.clone();
    config.dtmf_payload_type = None;
    line.ends[0].leg.update(config);
    line.run(100);
    line.command(0, LegCommand::SendDigits(Dial::plain(b"5".to_vec())));
    line.run(1000);
    let loud = line.ends[1].ticks.iter().filter(|tick| codecs::pcm::rms_dbov(&tick.caller) > -20.0).count();
    assert!((5..=6).contains(&loud), "{loud}");
    assert!(keys(&line, 1).is_empty());
}
