//! One side of a stereo WAV, cut out while it is read: 16-bit PCM with the plain header of 44 bytes that the recorder writes.

use codecs::wav::Head;

/// Bytes of the header.
pub(super) const HEADER: u64 = Head::BYTES as u64;

/// What a file of one side looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Side {
    mono: Head,
    right: bool,
}

impl Side {
    /// Reads the stereo header; none if the file is something else. `length` is the file's.
    pub(super) fn of(header: &[u8; 44], length: u64, right: bool) -> Option<Self> {
        // What the header says may be behind what a killed process wrote.
        let stereo = Head::parse(header, length).filter(|head| head.channels == 2)?;
        Some(Self { mono: Head { channels: 1, data_bytes: stereo.data_bytes / 2, ..stereo }, right })
    }

    /// Length of the mono file.
    pub(super) fn length(self) -> u64 {
        HEADER + u64::from(self.mono.data_bytes)
    }

    /// Header of the mono file.
    pub(super) fn header(self) -> [u8; 44] {
        self.mono.bytes()
    }

    /// Where in the stereo file the sample lies that holds a byte of the mono file's data, and how many of its bytes come before.
    pub(super) const fn place(byte: u64) -> (u64, usize) {
        let into = byte - HEADER;
        (HEADER + into / 2 * 4, (into % 2) as usize)
    }

    /// One side of whole stereo frames.
    pub(super) fn cut(self, stereo: &[u8]) -> Vec<u8> {
        let at = if self.right { 2 } else { 0 };
        stereo.chunks_exact(4).flat_map(|frame| [frame[at], frame[at + 1]]).collect()
    }
}

/// One of two interleaved channels, as bytes.
pub(super) fn one_of_two(samples: &[i16], channel: usize) -> Vec<u8> {
    samples.iter().skip(channel).step_by(2).flat_map(|sample| sample.to_le_bytes()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stereo(frames: u16) -> Vec<u8> {
        let mut file = Head { rate: 8000, channels: 2, data_bytes: u32::from(frames) * 4 }.bytes().to_vec();
        for n in 0..frames {
            file.extend(n.to_le_bytes());
            file.extend((n + 1000).to_le_bytes());
        }
        file
    }

    #[test]
    fn each_side_is_a_mono_file_of_its_samples() {
        let file = stereo(3);
        for (right, samples) in [(false, [0_u16, 1, 2]), (true, [1000, 1001, 1002])] {
            let side = Side::of(file[..44].try_into().unwrap(), file.len() as u64, right).unwrap();
            assert_eq!(side.length(), 44 + 6);
            assert_eq!(side.cut(&file[44..]), samples.iter().flat_map(|n| n.to_le_bytes()).collect::<Vec<_>>());
            assert_eq!((side.header()[22], u32::from_le_bytes(side.header()[40..44].try_into().unwrap())), (1, 6));
        }
        assert_eq!((Side::place(44), Side::place(47)), ((44, 0), (48, 1)));
    }

    #[test]
    fn what_is_no_stereo_wav_has_no_sides() {
        let mut file = stereo(1);
        file[22] = 1;
        assert_eq!(Side::of(file[..44].try_into().unwrap(), 48, false), None);
        assert_eq!(Side::of(&[0; 44], 48, false), None);
        // Cut short: only what is there.
        let file = stereo(100);
        assert_eq!(Side::of(file[..44].try_into().unwrap(), 44 + 41, true).unwrap().length(), 44 + 20);
    }
}
