//! ITU-T G.711: eight-bit logarithmic PCM in both laws, by tables computed at compile time.

/// Which of the two companding laws.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Law {
    /// µ-law, RTP payload type 0 (PCMU).
    Mu,
    /// A-law, RTP payload type 8 (PCMA).
    A,
}

impl Law {
    /// The byte that decodes to silence.
    pub const fn silence(self) -> u8 {
        match self {
            Law::Mu => 0xFF,
            Law::A => 0xD5,
        }
    }
}

static MU_TO_LINEAR: [i16; 256] = mu_expansion();
static A_TO_LINEAR: [i16; 256] = a_expansion();
/// Indexed by the upper 14 bits of a sample, offset to be positive.
static LINEAR_TO_MU: [u8; 1 << 14] = mu_compression();
/// Indexed by the upper 12 bits of a sample, offset to be positive.
static LINEAR_TO_A: [u8; 1 << 12] = a_compression();

/// Encodes as many samples as fit; returns how many bytes were written.
pub fn encode(law: Law, samples: &[i16], bytes: &mut [u8]) -> usize {
    let pairs = samples.iter().zip(bytes.iter_mut());
    match law {
        Law::Mu => {
            for (&sample, byte) in pairs {
                *byte = LINEAR_TO_MU[((i32::from(sample) >> 2) + (1 << 13)) as usize];
            }
        }
        Law::A => {
            for (&sample, byte) in pairs {
                *byte = LINEAR_TO_A[((i32::from(sample) >> 4) + (1 << 11)) as usize];
            }
        }
    }
    samples.len().min(bytes.len())
}

/// Decodes as many bytes as fit; returns how many samples were written.
pub fn decode(law: Law, bytes: &[u8], samples: &mut [i16]) -> usize {
    let table = match law {
        Law::Mu => &MU_TO_LINEAR,
        Law::A => &A_TO_LINEAR,
    };
    for (&byte, sample) in bytes.iter().zip(samples.iter_mut()) {
        *sample = table[byte as usize];
    }
    bytes.len().min(samples.len())
}

/// G.711 table 2: value = (2·mantissa + 33)·2^segment − 33 in 14 bits; the byte travels inverted.
const fn mu_expansion() -> [i16; 256] {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let code = !(byte as u8);
        let segment = (code >> 4) & 7;
        let mantissa = (code & 15) as i32;
        let magnitude = ((2 * mantissa + 33) << segment) - 33;
        table[byte] = (if code & 0x80 != 0 { -magnitude } else { magnitude } * 4) as i16;
        byte += 1;
    }
    table
}

/// G.711 table 1: a linear first segment, then seven that double; every second bit travels inverted.
const fn a_expansion() -> [i16; 256] {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let code = byte as u8 ^ 0x55;
        let segment = (code >> 4) & 7;
        let mantissa = (code & 15) as i32;
        let magnitude = if segment == 0 { 2 * mantissa + 1 } else { (2 * mantissa + 33) << (segment - 1) };
        table[byte] = (if code & 0x80 != 0 { magnitude } else { -magnitude } * 8) as i16;
        byte += 1;
    }
    table
}

const fn mu_compression() -> [u8; 1 << 14] {
    let mut table = [0; 1 << 14];
    let mut index = 0;
    while index < table.len() {
        let value = index as i32 - (1 << 13);
        let negative = value < 0;
        let biased = (if negative { !value } else { value }) + 33;
        let biased = if biased > 0x1FFF { 0x1FFF } else { biased };
        // The bias puts the leading one of segment 0 at bit 5.
        let segment = 31 - biased.leading_zeros() as i32 - 5;
        let mantissa = (biased >> (segment + 1)) & 15;
        let code = (segment << 4 | mantissa) as u8;
        table[index] = !(if negative { code | 0x80 } else { code });
        index += 1;
    }
    table
}

const fn a_compression() -> [u8; 1 << 12] {
    let mut table = [0; 1 << 12];
    let mut index = 0;
    while index < table.len() {
        let value = index as i32 - (1 << 11);
        let negative = value < 0;
        let magnitude = if negative { !value } else { value };
        // The first two segments share one step; above, each leading one starts a segment of doubled step.
        let code = if magnitude < 32 {
            magnitude
        } else {
            let segment = 31 - magnitude.leading_zeros() as i32 - 3;
            segment << 4 | (magnitude >> (segment - 1)) & 15
        } as u8;
        table[index] = (if negative { code } else { code | 0x80 }) ^ 0x55;
        index += 1;
    }
    table
}

#[cfg(test)]
mod tests;
