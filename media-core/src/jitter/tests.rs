//! The buffer under reorder, loss, drift, wraps and random input, in virtual time.

use super::*;
use codecs::pcm::FRAME;
use proptest::prelude::*;

fn sample(at: i64) -> i16 {
    ((at as f32 * std::f32::consts::TAU / 57.0).sin() * 8000.0) as i16
}

fn packet(timestamp: i64) -> [i16; FRAME] {
    std::array::from_fn(|i| sample(timestamp + i as i64))
}

fn at(clock: i64) -> Moment {
    Moment { clock, into_tick: clock.rem_euclid(160) }
}

/// Sends `ticks` packets, packet n at `arrives(n)` samples on the clock (`None`: lost), and pops once every tick.
fn play(ticks: i64, first: u32, arrives: impl Fn(i64) -> Option<i64>) -> (JitterBuffer, Vec<CallerAudio>, Vec<i16>) {
    let mut due: Vec<(i64, i64)> = (0..ticks).filter_map(|n| Some((arrives(n)?, n))).collect();
    due.sort();
    let (mut buffer, mut heard, mut out, mut next, mut highest) =
        (JitterBuffer::new(), Vec::new(), Vec::new(), 0, i64::MIN);
    for tick in 0..ticks {
        while let Some(&(clock, n)) = due.get(next).filter(|(clock, _)| *clock <= tick * 160) {
            // Between ticks the moment lies within the tick; exactly on it the whole tick has passed.
            let into_tick = 160 - (tick * 160 - clock).min(160);
            let when = Moment { clock, into_tick };
            buffer.push(when, first.wrapping_add((n * 160) as u32), &packet(n * 160), n > highest);
            highest = highest.max(n);
            next += 1;
        }
        let mut frame = [0; FRAME];
        heard.push(buffer.pop(&mut frame));
        out.extend_from_slice(&frame);
    }
    (buffer, heard, out)
}

fn received(heard: &[CallerAudio]) -> usize {
    heard.iter().filter(|&&h| h == CallerAudio::Received).count()
}

#[test]
fn on_a_clean_line_every_sample_is_played_within_forty_milliseconds() {
    for phase in [1, 40, 80, 159] {
        let (buffer, heard, out) = play(100, u32::MAX - 4000, |n| Some(n * 160 + phase));
        let first = heard.iter().position(|&h| h == CallerAudio::Received).unwrap();
        assert!(first as i64 * 160 - phase <= 320, "{phase}: played {first} ticks after the start");
        assert!(received(&heard) == 100 - first && buffer.concealed() == 0);
        // Behind the joint of five milliseconds all samples are the sender's, through the wrap of the timestamp.
        let start = first * FRAME;
        assert!((40..(100 - first) * FRAME).all(|i| out[start + i] == sample(i as i64)), "{phase}");
    }
}

#[test]
fn neighbours_that_change_places_are_put_right() {
    let (buffer, heard, _) = play(200, 0, |n| Some(if n % 10 == 4 { n * 160 + 162 } else { n * 160 + 1 }));
    // The first swap may be missed: nothing was known of it.
    assert!(buffer.concealed() <= 160, "{}", buffer.concealed());
    assert!(received(&heard) >= 196);
}

#[test]
fn losses_are_covered_and_cost_no_delay() {
    let (buffer, heard, _) = play(1000, 0, |n| (n % 20 != 13).then_some(n * 160 + 10));
    assert_eq!(buffer.concealed(), 50 * 160);
    assert!(received(&heard) >= 947 && buffer.delay() <= 320, "{}", buffer.delay());
    assert!(heard.iter().skip(2).all(|&h| h != CallerAudio::Silent));
}

#[test]
fn a_burst_of_losses_is_silent_after_sixty_milliseconds() {
    let (_, heard, _) = play(100, 0, |n| (!(40..60).contains(&n)).then_some(n * 160 + 10));
    let silent = heard.iter().skip(2).filter(|&&h| h == CallerAudio::Silent).count();
    let concealed = heard.iter().filter(|&&h| h == CallerAudio::Concealed).count();
    assert_eq!((silent, concealed), (17, 3));
    assert!(heard[65..].iter().all(|&h| h == CallerAudio::Received));
}

#[test]
fn drifting_clocks_neither_grow_the_delay_nor_starve_it() {
    for ppm in [-500i64, 500] {
        // Ten minutes: 300 ms of drift.
        let (buffer, heard, _) = play(30_000, 0, |n| Some(n * 160 + 20 + n * 160 * ppm / 1_000_000));
        assert!((0..=440).contains(&buffer.delay()), "{ppm}: delay {}", buffer.delay());
        let missing = heard.len() - received(&heard);
        assert!(missing <= 20, "{ppm}: {missing} frames not received");
    }
}

#[test]
fn jitter_raises_the_delay_to_its_need_and_calm_lowers_it_again() {
    // 0 to 60 ms, evenly; the order stays.
    let shake = |n: i64| (n * 7919 % 61) * 8;
    let (buffer, heard, _) = play(1000, 0, |n| Some(n * 160 + 10 + shake(n)));
    let tail = &heard[200..];
    assert!(tail.len() - received(tail) <= 16, "{}", tail.len() - received(tail));
    assert!((400..=960).contains(&buffer.delay()), "{}", buffer.delay());
    let (buffer, ..) = play(2000, 0, |n| Some(n * 160 + 10 + if n < 1000 { shake(n) } else { 0 }));
    assert!(buffer.delay() <= 330, "{}", buffer.delay());
}

#[test]
fn a_stall_that_ends_in_a_burst_loses_no_words_and_is_caught_up() {
    let stall = 300..315;
    let (buffer, heard, _) = play(1000, 0, |n| Some(if stall.contains(&n) { 315 * 160 } else { n * 160 + 10 }));
    assert!(heard[320..].iter().all(|&h| h == CallerAudio::Received));
    assert!(buffer.delay() <= 400, "{}", buffer.delay());
}

#[test]
fn a_jump_of_the_timestamp_stalls_for_less_than_100_ms() {
    for jump in [1_000_000u32, 0x8000_0000, 8_000, (-9_000i32) as u32] {
        let mut buffer = JitterBuffer::new();
        let mut frame = [0; FRAME];
        let mut silent = 0;
        for n in 0..200i64 {
            let offset = if n >= 100 { jump } else { 0 };
            buffer.push(at(n * 160 + 10), offset.wrapping_add((n * 160) as u32), &packet(n * 160), true);
            silent += usize::from(buffer.pop(&mut frame) != CallerAudio::Received && n > 2);
        }
        assert!(silent <= 4, "{jump}: {silent}");
    }
}

#[test]
fn packets_of_ten_thirty_and_sixty_milliseconds_are_cut_into_frames() {
    for length in [80usize, 240, 480] {
        let (mut buffer, mut sent, mut gaps) = (JitterBuffer::new(), 0usize, 0);
        for tick in 0..300usize {
            while sent <= tick * 160 {
                let samples: Vec<i16> = (sent..sent + length).map(|i| sample(i as i64)).collect();
                buffer.push(at((tick * 160) as i64), sent as u32, &samples, true);
                sent += length;
            }
            let mut frame = [0; FRAME];
            gaps += usize::from(buffer.pop(&mut frame) != CallerAudio::Received && tick > 20);
        }
        assert!(gaps <= 3, "{length}: {gaps}");
    }
}

#[test]
fn a_hushed_stretch_is_no_loss() {
    let mut buffer = JitterBuffer::new();
    let mut frame = [0; FRAME];
    for n in 0..50i64 {
        if (20..30).contains(&n) {
            buffer.hush((n * 160) as u32, 160);
        } else {
            buffer.push(at(n * 160 + 10), (n * 160) as u32, &packet(n * 160), true);
        }
        buffer.pop(&mut frame);
    }
    assert_eq!(buffer.concealed(), 0);
}

proptest! {
    #[test]
    fn whatever_comes_one_frame_a_tick_goes_out(
        packets in proptest::collection::vec((any::<u32>(), 0usize..1000, any::<bool>(), 0i64..400), 0..200),
        near: bool,
    ) {
        let mut buffer = JitterBuffer::new();
        let mut frame = [0; FRAME];
        let mut clock = 0;
        for (timestamp, length, newer, wait) in packets {
            let timestamp = if near { timestamp % 20_000 } else { timestamp };
            clock += wait;
            buffer.push(at(clock), timestamp, &vec![1; length], newer);
            if length % 7 == 0 {
                buffer.hush(timestamp, length as u32);
            }
            let cursor = buffer.cursor;
            buffer.pop(&mut frame);
            prop_assert!(!buffer.started || (1..=LOOK as i64).contains(&(buffer.cursor - cursor)));
            prop_assert!(buffer.newest - buffer.cursor <= RING as i64);
        }
    }
}
