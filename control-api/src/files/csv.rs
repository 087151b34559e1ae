//! Comma-separated values (RFC 4180) that no spreadsheet takes for a formula.

/// A cell. What begins like a formula gets a leading apostrophe, which spreadsheets read as "this is text".
pub(crate) fn cell(text: &str) -> String {
    let risky = text.starts_with(['=', '+', '-', '@', '\t', '\r']);
    let quoted = text.contains([',', '"', '\n', '\r', '\t']) || risky || text.starts_with(' ') || text.ends_with(' ');
    let mut cell = String::with_capacity(text.len() + 3);
    if quoted {
        cell.push('"');
    }
    if risky {
        cell.push('\'');
    }
    for letter in text.chars() {
        if letter == '"' {
            cell.push('"');
        }
        cell.push(letter);
    }
    if quoted {
        cell.push('"');
    }
    cell
}

/// A line with its end.
pub(crate) fn line<T: AsRef<str>>(cells: impl IntoIterator<Item = T>) -> String {
    let mut line = cells.into_iter().map(|text| cell(text.as_ref())).collect::<Vec<_>>().join(",");
    line.push_str("\r\n");
    line
}

/// A JSON value as the text of a cell; a nested one stays JSON. A negative number is a number and no formula.
pub(crate) fn text(value: &serde_json::Value) -> String {
    match value {
        serde_json::Value::Null => String::new(),
        serde_json::Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formulas_are_disarmed_and_everything_else_reads_back() {
        for (text, written) in [
            ("plain", "plain"),
            ("a,b", "\"a,b\""),
            ("say \"hi\"", "\"say \"\"hi\"\"\""),
            ("=cmd()", "\"'=cmd()\""),
            ("+12125550123", "\"'+12125550123\""),
            ("-1", "\"'-1\""),
            ("@SUM(A1)", "\"'@SUM(A1)\""),
            ("\tx", "\"'\tx\""),
            ("two\nlines", "\"two\nlines\""),
            ("", ""),
        ] {
            assert_eq!(cell(text), written, "{text:?}");
        }
        assert_eq!(line(["a", "=b"]), "a,\"'=b\"\r\n");
    }
}
