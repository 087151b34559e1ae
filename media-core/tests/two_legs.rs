//! Two legs talk over a network in virtual time.
#![allow(clippy::unwrap_used, missing_docs)]

mod line;

use line::{Line, MS, Weather, is_quiet, voice};
use media_core::{CallerAudio, Channel, LegCommand, LegEvent, rtcp, rtp};

#[test]
fn what_one_says_the_other_hears_within_forty_milliseconds_and_the_network() {
    let mut line = Line::new(Weather { delay_us: 30_000, ..Weather::default() });
    line.run(1000);
    line.command(0, LegCommand::Speak { r#gen: 1, pcm: vec![20_000; 400 * MS].into() });
    line.command(0, LegCommand::Finish { r#gen: 1 });
    line.run(2000);
    let said = line.ends[0].ticks.iter().position(|tick| !is_quiet(&tick.agent)).unwrap() as i64 * 20;
    let heard = line.ends[1].ticks.iter().position(|tick| !is_quiet(&tick.caller)).unwrap() as i64 * 20 + 7;
    // The tick that plays it begins at `heard`: the network's 30 ms and at most 40 ms of ours.
    assert!((30..=70).contains(&(heard - said)), "said at {said}, heard at {heard}");
    assert_eq!(line.heard(1).iter().filter(|s| s.abs() > 10_000).count(), 400 * MS);
    assert!(matches!(line.ends[0].events[..], [LegEvent::Mark { r#gen: 1, .. }]), "{:?}", line.ends[0].events);
}

#[test]
fn a_clean_line_counts_no_fault() {
    let mut line = Line::new(Weather { delay_us: 20_000, ..Weather::default() });
    line.command(0, LegCommand::Speak { r#gen: 1, pcm: voice(8000) });
    line.run(30_000);
    for end in &line.ends {
        let stats = end.leg.stats();
        assert!(stats.received >= 1496 && stats.sent == 1500, "{stats:?}");
        assert_eq!(
            (stats.lost, stats.late, stats.duplicate, stats.reordered, stats.concealed_ms),
            (0, 0, 0, 0, 0),
            "{stats:?}"
        );
        assert_eq!((stats.strangers, stats.malformed, stats.wrong_type), (0, 0, 0));
        let rtt = stats.rtt_ms.unwrap();
        assert!((39.0..41.0).contains(&rtt), "{rtt}");
        assert!(stats.mos > 4.2 && stats.jitter_ms < 0.1);
    }
}

#[test]
fn bad_weather_keeps_fifty_frames_a_second_and_the_voice() {
    for (loss, wanted) in [(50, 940), (200, 780)] {
        let weather = Weather { delay_us: 40_000, jitter_us: 30_000, loss, duplicate: 50 };
        let mut line = Line::new(weather);
        line.command(0, LegCommand::Speak { r#gen: 1, pcm: voice(40 * 8000) });
        line.run(30_000);
        let ticks = &line.ends[1].ticks;
        assert_eq!(ticks.len(), 1500);
        assert!(ticks.iter().enumerate().all(|(i, tick)| tick.at == i as u64 * 160));
        let received = ticks.iter().filter(|tick| tick.heard == CallerAudio::Received).count();
        assert!(received * 1000 / 1500 >= wanted - 40, "{loss}: {received}");
        let longest = ticks[10..].split(|tick| tick.heard != CallerAudio::Silent).map(<[_]>::len).max().unwrap();
        assert!(longest <= 5, "{loss}: {longest} silent frames in a row");
        let stats = line.ends[1].leg.stats();
        assert!(stats.delay_ms <= 140 && stats.duplicate > 0 && stats.reordered > 0, "{stats:?}");
        assert!(stats.mos < 4.2, "{stats:?}");
    }
}

#[test]
fn drifting_ends_keep_their_delay_for_ten_minutes() {
    for tick_us in [19_990, 20_010] {
        let mut line = Line::new(Weather { delay_us: 20_000, jitter_us: 4_000, ..Weather::default() });
        line.ends[0].tick_us = tick_us;
        line.run(600_000);
        for end in &line.ends {
            let stats = end.leg.stats();
            assert!(stats.delay_ms <= 60, "{tick_us}: {stats:?}");
            assert!(stats.concealed_ms <= 600, "{tick_us}: {stats:?}");
        }
    }
}

#[test]
fn every_tick_sends_one_packet_with_a_continuous_timestamp_and_one_marker() {
    let mut line = Line::new(Weather::default());
    line.command(0, LegCommand::Speak { r#gen: 1, pcm: voice(4000) });
    line.run(4000);
    let sent: Vec<_> = line.ends[0]
        .sent
        .iter()
        .filter(|(_, channel, _)| *channel == Channel::Rtp)
        .map(|(_, _, bytes)| rtp::Packet::parse(bytes).unwrap().header)
        .collect();
    assert_eq!(sent.len(), 200);
    for (i, header) in sent.iter().enumerate() {
        assert_eq!(header.sequence, 65_500u16.wrapping_add(i as u16));
        assert_eq!(header.timestamp, (u32::MAX - 10_000).wrapping_add(i as u32 * 160));
        assert_eq!(header.marker, i == 0);
    }
}

#[test]
fn hold_stops_our_packets_and_the_first_one_after_it_is_marked() {
    let mut line = Line::new(Weather::default());
    line.command(0, LegCommand::Speak { r#gen: 1, pcm: voice(8000) });
    line.run(400);
    let mut held = line.ends[0].config.clone();
    held.sending = false;
    line.ends[0].leg.update(held.clone());
    line.run(1000);
    let before = line.ends[0].sent.len();
    held.sending = true;
    line.ends[0].leg.update(held);
    line.run(1000);
    assert_eq!(before, 20);
    let after = rtp::Packet::parse(&line.ends[0].sent[before].2).unwrap().header;
    assert!(after.marker && after.sequence == 65_520 && after.timestamp == (u32::MAX - 10_000).wrapping_add(70 * 160));
    // Held speech waits: one second of it takes one second of sending.
    line.command(0, LegCommand::Finish { r#gen: 1 });
    line.run(1000);
    assert!(line.ends[0].events.iter().any(|e| matches!(e, LegEvent::Mark { at, .. } if *at >= 16_000)));
}

#[test]
fn reports_carry_a_name_and_a_goodbye() {
    let mut line = Line::new(Weather { loss: 100, ..Weather::default() });
    line.run(20_000);
    let now = line.now();
    line.ends[0].leg.handle_close(now);
    let mut buf = Vec::new();
    let transmit = line.ends[0].leg.poll_transmit(&mut buf).unwrap();
    assert_eq!((transmit.channel, transmit.to.port()), (Channel::Rtcp, 6001));
    let packets: Vec<_> = rtcp::parse(&buf).unwrap().map(Result::unwrap).collect();
    let rtcp::Packet::Report { ssrc: 0xAAAA, sent: Some(sent), blocks } = packets[0] else { panic!("{packets:?}") };
    assert_eq!((sent.packets, sent.octets), (1000, 160_000));
    let report = rtcp::reports(blocks).next().unwrap();
    assert!(report.ssrc == 0xBBBB && report.lost > 50 && report.last_report != 0);
    assert_eq!(packets[1], rtcp::Packet::Description { ssrc: 0xAAAA, cname: Some(b"line") });
    assert!(matches!(packets[2], rtcp::Packet::Bye { .. }));
    let reports = line.ends[1].sent.iter().filter(|(_, channel, _)| *channel == Channel::Rtcp).count();
    assert_eq!(reports, 4);
}

#[test]
fn a_line_that_goes_silent_is_told_every_five_seconds() {
    let mut line = Line::new(Weather::default());
    line.run(2000);
    line.weather.loss = 1000;
    line.run(12_000);
    let silences: Vec<u32> = line.ends[0]
        .events
        .iter()
        .filter_map(|e| if let LegEvent::Silent { ms } = e { Some(*ms) } else { None })
        .collect();
    assert!(matches!(silences[..], [5000..=5020, 10_000..=10_020]), "{silences:?}");
}
