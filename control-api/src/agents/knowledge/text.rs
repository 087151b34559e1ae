//! What a document says, whatever it is written in: plain text, paragraphs apart by an empty line.

use serde_json::Value;

/// What a document is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Text,
    Markdown,
    Html,
    Csv,
    Json,
}

impl Kind {
    /// By the name of a file, else by its content type.
    pub(crate) fn of(file: &str, content_type: &str) -> Option<Self> {
        let ending = file.rsplit_once('.').map(|(_, ending)| ending.to_ascii_lowercase()).unwrap_or_default();
        let by_name = match ending.as_str() {
            "txt" | "text" => Some(Self::Text),
            "md" | "markdown" => Some(Self::Markdown),
            "html" | "htm" => Some(Self::Html),
            "csv" => Some(Self::Csv),
            "json" => Some(Self::Json),
            _ => None,
        };
        by_name.or_else(|| match content_type.split(';').next().unwrap_or_default().trim() {
            "text/plain" => Some(Self::Text),
            "text/markdown" => Some(Self::Markdown),
            "text/html" | "application/xhtml+xml" => Some(Self::Html),
            "text/csv" => Some(Self::Csv),
            "application/json" => Some(Self::Json),
            _ => None,
        })
    }

    /// The word in the API.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Markdown => "markdown",
            Self::Html => "html",
            Self::Csv => "csv",
            Self::Json => "json",
        }
    }
}

/// Reads a document.
///
/// # Errors
/// A sentence about why it cannot be read.
pub(crate) fn read(kind: Kind, bytes: &[u8]) -> Result<String, String> {
    let text = std::str::from_utf8(bytes).map_err(|error| format!("not UTF-8 text: {error}"))?;
    let text = text.trim_start_matches('\u{feff}').replace("\r\n", "\n").replace('\0', " ");
    let text = match kind {
        Kind::Text => text,
        Kind::Markdown => markdown(&text),
        Kind::Html => html(&text),
        Kind::Csv => csv(&text),
        Kind::Json => json(&text)?,
    };
    if text.trim().is_empty() { Err("there is no text in it".to_owned()) } else { Ok(text) }
}

/// Marks are no words; a heading becomes a paragraph of its own.
fn markdown(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for line in text.lines() {
        let bare = line.trim_start_matches(['#', '>', ' ', '\t']);
        if line.starts_with('#') {
            out.push('\n');
        }
        out.extend(bare.chars().filter(|c| !matches!(c, '*' | '`' | '_')));
        out.push('\n');
    }
    out
}

/// Blocks become paragraphs, scripts and styles nothing, entities their characters.
fn html(text: &str) -> String {
    const BLOCKS: [&str; 20] = [
        "p", "div", "br", "li", "ul", "ol", "tr", "table", "h1", "h2", "h3", "h4", "h5", "h6", "section", "article",
        "header", "footer", "title", "dd",
    ];
    let (mut out, mut rest) = (String::with_capacity(text.len() / 2), text);
    while let Some((before, after)) = rest.split_once('<') {
        out.push_str(&collapse(before));
        if let Some(comment) = after.strip_prefix("!--") {
            rest = comment.split_once("-->").map_or("", |(_, rest)| rest);
            continue;
        }
        let (tag, behind) = after.split_once('>').unwrap_or((after, ""));
        let name: String = tag.trim_start_matches('/').chars().take_while(char::is_ascii_alphanumeric).collect();
        let name = name.to_ascii_lowercase();
        rest = behind;
        if !tag.starts_with('/') && matches!(name.as_str(), "script" | "style" | "noscript" | "template") {
            let end = format!("</{name}");
            let lower = rest.to_ascii_lowercase();
            rest = lower.find(&end).map_or("", |at| rest[at..].split_once('>').map_or("", |(_, rest)| rest));
        } else if BLOCKS.contains(&name.as_str()) {
            out.push_str("\n\n");
        } else if matches!(name.as_str(), "td" | "th") {
            out.push(' ');
        }
    }
    out.push_str(&collapse(rest));
    entities(&out)
}

/// In HTML any white space is one space.
fn collapse(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        let c = if c.is_whitespace() { ' ' } else { c };
        if !(c == ' ' && out.ends_with(' ')) {
            out.push(c);
        }
    }
    out
}

fn entities(text: &str) -> String {
    let (mut out, mut rest) = (String::with_capacity(text.len()), text);
    while let Some((before, after)) = rest.split_once('&') {
        out.push_str(before);
        let entity = after.split_once(';').filter(|(name, _)| (1..=8).contains(&name.len()));
        let read = entity.and_then(|(name, behind)| Some((character(name)?, behind)));
        match read {
            Some((c, behind)) => {
                out.push(c);
                rest = behind;
            }
            None => {
                out.push('&');
                rest = after;
            }
        }
    }
    out.push_str(rest);
    out
}

fn character(name: &str) -> Option<char> {
    if let Some(number) = name.strip_prefix('#') {
        let code = match number.strip_prefix(['x', 'X']) {
            Some(hex) => u32::from_str_radix(hex, 16).ok()?,
            None => number.parse().ok()?,
        };
        return char::from_u32(code).filter(|c| *c != '\0');
    }
    Some(match name {
        "amp" => '&',
        "lt" => '<',
        "gt" => '>',
        "quot" => '"',
        "apos" => '\'',
        "nbsp" => ' ',
        "ndash" => '–',
        "mdash" => '—',
        "euro" => '€',
        "pound" => '£',
        "copy" => '©',
        _ => return None,
    })
}

/// RFC 4180: each row becomes a paragraph "column: value; …", so that a passage says what its values are.
fn csv(text: &str) -> String {
    let mut rows = records(text).into_iter().filter(|row| row.iter().any(|field| !field.trim().is_empty()));
    let Some(header) = rows.next() else { return String::new() };
    let mut out = String::new();
    let mut any = false;
    for row in rows {
        any = true;
        let named = row.iter().enumerate().filter(|(_, value)| !value.trim().is_empty()).map(|(n, value)| {
            header.get(n).map_or_else(|| value.trim().to_owned(), |name| format!("{}: {}", name.trim(), value.trim()))
        });
        out.push_str(&named.collect::<Vec<_>>().join("; "));
        out.push_str("\n\n");
    }
    if any { out } else { header.join("; ") }
}

fn records(text: &str) -> Vec<Vec<String>> {
    let (mut rows, mut row, mut field, mut quoted) = (Vec::new(), Vec::new(), String::new(), false);
    let mut letters = text.chars().peekable();
    while let Some(c) = letters.next() {
        match c {
            '"' if quoted && letters.peek() == Some(&'"') => {
                letters.next();
                field.push('"');
            }
            '"' => quoted = !quoted,
            ',' if !quoted => row.push(std::mem::take(&mut field)),
            '\n' if !quoted => {
                row.push(std::mem::take(&mut field));
                rows.push(std::mem::take(&mut row));
            }
            c => field.push(c),
        }
    }
    if !field.is_empty() || !row.is_empty() {
        row.push(field);
        rows.push(row);
    }
    rows
}

/// Each value with its path; entries of the outermost list or object are paragraphs.
fn json(text: &str) -> Result<String, String> {
    let value: Value = serde_json::from_str(text).map_err(|error| format!("not JSON: {error}"))?;
    let mut out = String::new();
    let mut paragraph = |name: &str, value: &Value| {
        let mut lines = Vec::new();
        flatten(name, value, &mut lines);
        out.push_str(&lines.join("\n"));
        out.push_str("\n\n");
    };
    match &value {
        Value::Array(list) => list.iter().for_each(|entry| paragraph("", entry)),
        Value::Object(map) => map.iter().for_each(|(name, entry)| paragraph(name, entry)),
        other => paragraph("", other),
    }
    Ok(out)
}

fn flatten(path: &str, value: &Value, lines: &mut Vec<String>) {
    let under = |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path} {name}") };
    let mut line = |text: String| lines.push(if path.is_empty() { text } else { format!("{path}: {text}") });
    match value {
        Value::Null => {}
        Value::String(text) => line(text.clone()),
        Value::Bool(_) | Value::Number(_) => line(value.to_string()),
        Value::Array(list) => list.iter().for_each(|entry| flatten(path, entry, lines)),
        Value::Object(map) => map.iter().for_each(|(name, entry)| flatten(&under(name), entry, lines)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(kind: Kind, text: &str) -> String {
        read(kind, text.as_bytes()).unwrap().split_whitespace().collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn html_loses_its_marks_scripts_and_comments() {
        let page = "<html><head><title>Hours</title><style>p{color:red}</style></head><body><!-- secret --><p>Mon &amp; Tue\n 9&ndash;5 &#8364;10</p><SCRIPT>alert('<p>')</SCRIPT><td>a</td><td>b</td> 3 &lt; 4 &unknown; x</body>";
        assert_eq!(words(Kind::Html, page), "Hours Mon & Tue 9–5 €10 a b 3 < 4 &unknown; x");
        assert!(read(Kind::Html, page.as_bytes()).unwrap().contains("Hours\n\n"));
        for broken in ["<", "<p", "a<!--", "<script>", "&", "&#xffffffff;", "<<<>>>"] {
            let _ = read(Kind::Html, broken.as_bytes());
        }
    }

    #[test]
    fn a_row_says_what_its_values_are() {
        let table = "service,price\n\"Cut, wash\",30\nColour,\"80 \"\"from\"\"\"\n";
        assert_eq!(words(Kind::Csv, table), "service: Cut, wash; price: 30 service: Colour; price: 80 \"from\"");
    }

    #[test]
    fn json_is_flattened_with_its_names() {
        let text = r#"{"hours":{"monday":"9 to 5"},"open":true,"tags":["a","b"]}"#;
        assert_eq!(words(Kind::Json, text), "hours monday: 9 to 5 open: true tags: a tags: b");
        assert!(read(Kind::Json, b"{").unwrap_err().starts_with("not JSON"));
    }

    #[test]
    fn markdown_loses_its_marks_and_what_is_no_text_is_refused() {
        assert_eq!(words(Kind::Markdown, "# Prices\n> A **cut** is `30`\n"), "Prices A cut is 30");
        assert!(read(Kind::Text, &[0xff, 0xfe]).unwrap_err().starts_with("not UTF-8"));
        assert!(read(Kind::Text, b" \n").is_err());
        assert_eq!(Kind::of("x.MD", "application/octet-stream"), Some(Kind::Markdown));
        assert_eq!(Kind::of("x", "text/html; charset=utf-8"), Some(Kind::Html));
        assert_eq!(Kind::of("x.pdf", "application/pdf"), None);
    }
}
