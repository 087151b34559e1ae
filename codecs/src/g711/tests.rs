//! Both laws against the formulae of the ITU texts (G.711 tables, G.191 software), written a second way.

use super::*;

fn one_encode(law: Law, sample: i16) -> u8 {
    let mut byte = [0];
    assert_eq!(encode(law, &[sample], &mut byte), 1);
    byte[0]
}

fn one_decode(law: Law, byte: u8) -> i16 {
    let mut sample = [0];
    assert_eq!(decode(law, &[byte], &mut sample), 1);
    sample[0]
}

/// G.191 `ulaw_compress`, by arithmetic: the segment is the logarithm of the biased magnitude.
fn mu_by_formula(sample: i16) -> u8 {
    let magnitude = if sample < 0 { !sample } else { sample };
    let biased = (f64::from(magnitude >> 2) + 33.0).min(8191.0);
    let segment = (biased / 32.0).log2().floor();
    let mantissa = (biased / 2f64.powf(segment + 1.0)).floor() as u8 - 16;
    let code = (segment as u8) * 16 + mantissa;
    0xFF - (if sample < 0 { code + 128 } else { code })
}

/// G.191 `alaw_compress`: 11-bit magnitude, linear below 32, logarithmic above.
fn a_by_formula(sample: i16) -> u8 {
    let magnitude = f64::from((if sample < 0 { !sample } else { sample }) >> 4);
    let code = if magnitude < 32.0 {
        magnitude as u8
    } else {
        let segment = (magnitude / 8.0).log2().floor();
        segment as u8 * 16 + (magnitude / 2f64.powf(segment - 1.0)).floor() as u8 - 16
    };
    (if sample < 0 { code } else { code + 128 }) ^ 0x55
}

#[test]
fn every_sample_is_encoded_as_the_formulae_say() {
    for sample in i16::MIN..=i16::MAX {
        assert_eq!(one_encode(Law::Mu, sample), mu_by_formula(sample), "mu {sample}");
        assert_eq!(one_encode(Law::A, sample), a_by_formula(sample), "a {sample}");
    }
}

#[test]
fn known_values_of_the_recommendation_decode() {
    // G.711 table 2a/2b: the ends and the zeros; 8031·4 = 32124, 4032·8 = 32256.
    assert_eq!(one_decode(Law::Mu, 0x80), 32124);
    assert_eq!(one_decode(Law::Mu, 0x00), -32124);
    assert_eq!(one_decode(Law::Mu, 0xFF), 0);
    assert_eq!(one_decode(Law::Mu, 0x7F), 0);
    assert_eq!(one_decode(Law::A, 0xAA), 32256);
    assert_eq!(one_decode(Law::A, 0x2A), -32256);
    assert_eq!(one_decode(Law::A, 0xD5), 8);
    assert_eq!(one_decode(Law::A, 0x55), -8);
}

#[test]
fn a_decoded_byte_encodes_to_itself() {
    for byte in 0..=255u8 {
        assert_eq!(one_encode(Law::A, one_decode(Law::A, byte)), byte);
        // µ-law has two zeros; the negative one comes back as the positive one.
        let expected = if byte == 0x7F { 0xFF } else { byte };
        assert_eq!(one_encode(Law::Mu, one_decode(Law::Mu, byte)), expected);
    }
}

#[test]
fn the_error_is_at_most_half_a_step() {
    for sample in -32_000..=32_000i16 {
        let magnitude = f64::from(sample).abs();
        for law in [Law::Mu, Law::A] {
            let error = (f64::from(one_decode(law, one_encode(law, sample))) - f64::from(sample)).abs();
            assert!(error <= (magnitude / 16.0).max(8.0) / 2.0 + 8.0, "{law:?} {sample}: {error}");
        }
    }
}

#[test]
fn silence_bytes_are_the_quietest() {
    assert_eq!(one_encode(Law::Mu, 0), Law::Mu.silence());
    assert_eq!(one_encode(Law::A, 0), Law::A.silence());
}

#[test]
fn a_short_output_takes_what_fits() {
    assert_eq!(encode(Law::Mu, &[1, 2, 3], &mut [0; 2]), 2);
    assert_eq!(decode(Law::A, &[1, 2, 3], &mut [0; 2]), 2);
}
