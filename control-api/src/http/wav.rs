//! One side of a stereo WAV, cut out while it is read: 16-bit PCM with the plain header of 44 bytes that the recorder writes.

/// Bytes of the header.
const HEADER: u64 = 44;

/// What a file of one side looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Side {
    rate: u32,
    frames: u64,
    right: bool,
}

impl Side {
    /// Reads the stereo header; none if the file is something else. `length` is the file's.
    pub(super) fn of(header: &[u8; 44], length: u64, right: bool) -> Option<Self> {
        let word = |at: usize| u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
        let half = |at: usize| u16::from_le_bytes([header[at], header[at + 1]]);
        let plain = &header[..4] == b"RIFF" && &header[8..16] == b"WAVEfmt " && &header[36..40] == b"data";
        let stereo = half(20) == 1 && half(22) == 2 && half(34) == 16;
        // What the header says may be behind what a killed process wrote.
        let data = u64::from(word(40)).min(length.saturating_sub(HEADER));
        (plain && stereo).then_some(Self { rate: word(24), frames: data / 4, right })
    }

    /// Length of the mono file.
    pub(super) const fn length(self) -> u64 {
        HEADER + self.frames * 2
    }

    /// Header of the mono file.
    pub(super) fn header(self) -> [u8; 44] {
        let data = u32::try_from(self.frames * 2).unwrap_or(u32::MAX);
        let mut header = [0; 44];
        let mut put = |at: usize, bytes: &[u8]| header[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, b"RIFF");
        put(4, &data.saturating_add(36).to_le_bytes());
        put(8, b"WAVEfmt ");
        put(16, &16_u32.to_le_bytes());
        put(20, &1_u16.to_le_bytes());
        put(22, &1_u16.to_le_bytes());
        put(24, &self.rate.to_le_bytes());
        put(28, &(self.rate.saturating_mul(2)).to_le_bytes());
        put(32, &2_u16.to_le_bytes());
        put(34, &16_u16.to_le_bytes());
        put(36, b"data");
        put(40, &data.to_le_bytes());
        header
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

#[cfg(test)]
mod tests {
    use super::*;

    fn stereo(frames: u16) -> Vec<u8> {
        let data = u32::from(frames) * 4;
        let mut file = Side { rate: 8000, frames: u64::from(data) / 2, right: false }.header().to_vec();
        file[22] = 2;
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
        assert_eq!(Side::of(file[..44].try_into().unwrap(), 44 + 41, true).unwrap().frames, 10);
    }
}
