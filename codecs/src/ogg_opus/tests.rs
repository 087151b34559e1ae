use proptest::prelude::*;

use super::*;
use crate::pcm::rms_dbov;

/// Speech-like: a tone that swells and falls, of its own pitch on each side.
fn voice(frames: usize, hz: f64, swell: f64) -> Vec<i16> {
    let at = |n: usize, hz: f64| (n as f64 * hz / 8000.0 * std::f64::consts::TAU).sin();
    (0..frames).map(|n| (9000.0 * at(n, hz) * (0.6 + 0.4 * at(n, swell))) as i16).collect()
}

fn interleaved(left: &[i16], right: &[i16]) -> Vec<i16> {
    left.iter().zip(right).flat_map(|(left, right)| [*left, *right]).collect()
}

fn side(samples: &[i16], side: usize) -> Vec<i16> {
    samples.iter().skip(side).step_by(2).copied().collect()
}

fn written(samples: &[i16], channels: u16) -> Vec<u8> {
    let mut writer = Writer::new(Vec::new(), 7, 8000, channels).unwrap();
    writer.write(samples).unwrap();
    writer.finish().unwrap()
}

fn read(file: &[u8], piece: usize) -> Result<Vec<i16>, OggOpusError> {
    let (mut decoder, mut samples) = (Decoder::default(), Vec::new());
    for piece in file.chunks(piece) {
        decoder.push(piece, &mut samples)?;
    }
    decoder.finish().map(|()| samples)
}

#[test]
fn both_sides_come_back_as_loud_as_they_were_and_on_their_side() {
    let (caller, agent) = (voice(24_000, 440.0, 3.0), voice(24_000, 1000.0, 2.0));
    let silence = vec![0; 24_000];
    for (left, right) in [(&caller, &agent), (&caller, &silence), (&silence, &agent)] {
        let back = read(&written(&interleaved(left, right), 2), 4096).unwrap();
        for (n, was) in [left, right].into_iter().enumerate() {
            let (before, after) = (rms_dbov(was), rms_dbov(&side(&back, n)));
            // What was silent may hum far below what anybody hears.
            assert!((before - after).abs() < 1.0 || after < -70.0 && before < -70.0, "{n}: {before} {after}");
        }
    }
}

#[test]
fn the_headers_are_those_of_rfc_7845() {
    let file = written(&[0; 320], 2);
    // RFC 3533 §6: capture pattern, version 0, first page, granule 0, serial, sequence 0.
    assert_eq!(file[..22], *b"OggS\0\x02\0\0\0\0\0\0\0\0\x07\0\0\0\0\0\0\0");
    assert_eq!(file[26..28], [1, 19]);
    // §5.1: version 1, two channels, pre-skip, 8000 Hz, no gain, mapping family 0.
    assert_eq!(file[28..38], *b"OpusHead\x01\x02");
    assert_eq!(file[40..47], [0x40, 0x1f, 0, 0, 0, 0, 0]);
    let head = Head::of_file(file[..HEAD_BYTES].try_into().unwrap()).unwrap();
    assert_eq!((head.channels, head.rate, head.pre_skip), (2, 8000, u16::from_le_bytes([file[38], file[39]])));
    assert!((240..=960).contains(&head.pre_skip), "{}", head.pre_skip);
    // §5.2: a vendor, and no comments.
    let tags = &file[47 + 28..];
    assert_eq!(&tags[..8], b"OpusTags");
    let vendor = u32::from_le_bytes(tags[8..12].try_into().unwrap()) as usize;
    assert!(String::from_utf8_lossy(&tags[12..12 + vendor]).starts_with("libopus"));
    assert_eq!(tags[12 + vendor..16 + vendor], [0; 4]);
    // §4: the last page's position is the pre-skip and the audio.
    assert_eq!(last_granule(&file), Some(u64::from(head.pre_skip) + 320 / 2 * 6));
    assert_eq!(head.frames(last_granule(&file).unwrap()), 160);
}

#[test]
fn pages_have_a_second_at_most_and_checksums_that_another_reader_accepts() {
    let file = written(&interleaved(&voice(8000 * 4, 300.0, 1.0), &voice(8000 * 4, 700.0, 1.5)), 2);
    let mut reader = ::ogg::PacketReader::new(std::io::Cursor::new(&file));
    let (mut in_page, mut audio, mut granules) = (0, 0, Vec::new());
    while let Some(packet) = reader.read_packet().unwrap() {
        in_page += 1;
        audio += u32::from(!packet.data.starts_with(b"Opus"));
        if packet.last_in_page() {
            assert!(in_page <= 50);
            granules.push(packet.absgp_page());
            in_page = 0;
        }
    }
    // 200 packets, and what the encoder held back.
    assert_eq!(audio, 201);
    assert_eq!(granules[..6], [0, 0, 48_000, 96_000, 144_000, 192_000]);
    assert_eq!(granules.len(), 7);
}

#[test]
fn the_same_samples_in_other_pieces_are_the_same_file() {
    let samples = interleaved(&voice(5000, 300.0, 1.0), &voice(5000, 700.0, 1.5));
    let mut writer = Writer::new(Vec::new(), 7, 8000, 2).unwrap();
    for piece in samples.chunks(77) {
        writer.write(piece).unwrap();
    }
    let file = writer.finish().unwrap();
    assert!(file == written(&samples, 2));
    assert!(read(&file, 1).unwrap() == read(&file, usize::MAX).unwrap());
}

#[test]
fn what_is_damaged_or_cut_short_is_told() {
    let file = written(&interleaved(&voice(16_000, 300.0, 1.0), &voice(16_000, 700.0, 1.5)), 2);
    assert_eq!(read(&file[..file.len() - 1], 1000), Err(OggOpusError::Short));
    assert_eq!(read(b"RIFF and more than the twenty-seven bytes of a page", 1000), Err(OggOpusError::NotOpus));
    assert_eq!(read(&[&file[..], &file].concat(), 1000), Err(OggOpusError::Page));
    let mut other = file.clone();
    *other.last_mut().unwrap() ^= 1;
    assert_eq!(read(&other, 1000), Err(OggOpusError::Page));
    for tail in [&file[..file.len() - 1], &file[1..100], b"OggS"] {
        assert_eq!(last_granule(tail), None);
    }
    assert_eq!(Writer::new(Vec::new(), 1, 44_100, 2).err().map(|error| error.kind()), Some(std::io::ErrorKind::Other));
    assert!(Writer::new(Vec::new(), 1, 8000, 3).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn lengths_are_exact_to_the_sample(frames in 0_usize..24_000, channels in 1_u16..=2) {
        let samples = voice(frames * usize::from(channels), 440.0, 2.0);
        let file = written(&samples, channels);
        prop_assert_eq!(read(&file, 8192).unwrap().len(), samples.len());
        let head = Head::of_file(file[..HEAD_BYTES].try_into().unwrap()).unwrap();
        let tail = &file[file.len().saturating_sub(TAIL_BYTES)..];
        prop_assert_eq!(head.frames(last_granule(tail).unwrap()), frames as u64);
    }

    #[test]
    fn no_bytes_panic(mut noise in proptest::collection::vec(any::<u8>(), 0..300), at in 0_usize..600) {
        let _ = read(&noise, 50);
        let _ = last_granule(&noise);
        // A file that was overwritten in the middle.
        let mut file = written(&[1; 3200], 2);
        let at = at.min(file.len());
        noise.truncate(file.len() - at);
        file[at..at + noise.len()].copy_from_slice(&noise);
        let _ = read(&file, 64);
    }
}
