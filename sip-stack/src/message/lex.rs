//! The smallest pieces of the grammar: tokens, white space, quoted strings, comma lists (RFC 3261 §25.1).

/// True for a byte that may stand in a token.
pub(crate) fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-.!%*_+`'~".contains(&byte)
}

/// True for a space, a tab, and the line ends that unfolding left.
pub(crate) fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n')
}

/// Cuts white space at both ends.
pub fn trim(bytes: &[u8]) -> &[u8] {
    let start = bytes.iter().position(|byte| !is_space(*byte)).unwrap_or(bytes.len());
    let end = bytes.iter().rposition(|byte| !is_space(*byte)).map_or(start, |last| last + 1);
    &bytes[start..end]
}

/// The index after the quoted string that begins at `start`, or `None` when it never ends.
pub(crate) fn quoted_end(bytes: &[u8], start: usize) -> Option<usize> {
    let mut at = start + 1;
    while at < bytes.len() {
        match bytes[at] {
            b'\\' => at += 2,
            b'"' => return Some(at + 1),
            _ => at += 1,
        }
    }
    None
}

/// The first `wanted` byte outside quotes and angle brackets. An unterminated quote counts as an ordinary character.
pub(crate) fn find_outside(bytes: &[u8], wanted: u8) -> Option<usize> {
    let mut at = 0;
    let mut bracket = false;
    while at < bytes.len() {
        let byte = bytes[at];
        if byte == wanted && !bracket {
            return Some(at);
        }
        match byte {
            b'"' if !bracket => {
                at = quoted_end(bytes, at).unwrap_or(at + 1);
                continue;
            }
            b'<' => bracket = true,
            b'>' => bracket = false,
            _ => {}
        }
        at += 1;
    }
    None
}

/// Splits a comma list, leaving commas inside quotes and angle brackets alone; empty elements are skipped.
pub fn split_commas(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(value);
    std::iter::from_fn(move || {
        loop {
            let value = rest?;
            let element = match find_outside(value, b',') {
                Some(comma) => {
                    rest = Some(&value[comma + 1..]);
                    &value[..comma]
                }
                None => {
                    rest = None;
                    value
                }
            };
            let element = trim(element);
            if !element.is_empty() {
                return Some(element);
            }
        }
    })
}
