//! One file out of a `multipart/form-data` body (RFC 7578, RFC 2046 §5.1) that is in memory already.

/// A part.
pub(crate) struct Part<'a> {
    /// The file's name, without folders.
    pub(crate) file: Option<String>,
    pub(crate) content_type: String,
    pub(crate) content: &'a [u8],
}

/// The boundary that a content type names.
pub(crate) fn boundary(content_type: &str) -> Option<String> {
    let (kind, parameters) = content_type.split_once(';')?;
    if !kind.trim().eq_ignore_ascii_case("multipart/form-data") {
        return None;
    }
    parameter(parameters, "boundary").filter(|boundary| (1..=70).contains(&boundary.len()))
}

/// The part of that name.
pub(crate) fn part<'a>(body: &'a [u8], boundary: &str, name: &str) -> Option<Part<'a>> {
    let line = format!("--{boundary}");
    let mut rest = &body[find(body, line.as_bytes())? + line.len()..];
    loop {
        rest = rest.strip_prefix(b"\r\n")?;
        let head_end = find(rest, b"\r\n\r\n")?;
        let head = String::from_utf8_lossy(&rest[..head_end]).into_owned();
        let content = &rest[head_end + 4..];
        let end = find(content, format!("\r\n--{boundary}").as_bytes())?;
        let header = |wanted: &str| {
            head.lines().find_map(|line| {
                let (key, value) = line.split_once(':')?;
                key.trim().eq_ignore_ascii_case(wanted).then(|| value.trim().to_owned())
            })
        };
        let disposition = header("content-disposition").unwrap_or_default();
        if parameter(&disposition, "name").as_deref() == Some(name) {
            let file = parameter(&disposition, "filename");
            return Some(Part {
                file: file.map(|file| file.rsplit(['/', '\\']).next().unwrap_or_default().to_owned()),
                content_type: header("content-type").unwrap_or_default(),
                content: &content[..end],
            });
        }
        rest = &content[end + 4 + boundary.len()..];
    }
}

/// `…; key=value` or `…; key="value"`.
fn parameter(text: &str, wanted: &str) -> Option<String> {
    text.split(';').find_map(|piece| {
        let (key, value) = piece.split_once('=')?;
        key.trim().eq_ignore_ascii_case(wanted).then(|| value.trim().trim_matches('"').to_owned())
    })
}

fn find(text: &[u8], wanted: &[u8]) -> Option<usize> {
    text.windows(wanted.len()).position(|window| window == wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BODY: &str = "--XX\r\nContent-Disposition: form-data; name=\"note\"\r\n\r\nhi\r\n--XX\r\nContent-Disposition: form-data; name=\"file\"; filename=\"../a b.txt\"\r\nContent-Type: text/plain\r\n\r\nline\r\n-- \r\nend\r\n--XX--\r\n";

    #[test]
    fn a_file_is_found_with_its_name_and_type() {
        let boundary = boundary("multipart/form-data; boundary=\"XX\"").unwrap();
        let part = part(BODY.as_bytes(), &boundary, "file").unwrap();
        assert_eq!((part.file.as_deref(), part.content_type.as_str()), (Some("a b.txt"), "text/plain"));
        assert_eq!(part.content, b"line\r\n-- \r\nend");
    }

    #[test]
    fn broken_bodies_hold_nothing() {
        assert!(boundary("application/json").is_none() && boundary("multipart/form-data").is_none());
        for end in 0..BODY.len() {
            // However it is cut, it is read or it is not; a whole file needs its closing boundary.
            let cut = part(&BODY.as_bytes()[..end], "XX", "file");
            assert!(cut.is_none_or(|part| part.content == b"line\r\n-- \r\nend"), "{end}");
        }
        assert!(part(BODY.as_bytes(), "YY", "file").is_none());
    }
}
