//! The printer: a message as bytes, with no way to break a line from inside a value (RFC 3261 §7).

use super::Name;

/// A message being written: first line, headers, then a body or nothing.
#[derive(Debug, Clone)]
pub struct Printer {
    bytes: Vec<u8>,
    compact: bool,
}

impl Printer {
    /// Begins a request.
    pub fn request(method: &[u8], uri: &[u8]) -> Self {
        let mut printer = Printer { bytes: Vec::with_capacity(1024), compact: false };
        printer.clean(method);
        printer.bytes.push(b' ');
        printer.clean(uri);
        printer.bytes.extend_from_slice(b" SIP/2.0\r\n");
        printer
    }

    /// Begins a response.
    pub fn response(status: u16, reason: &str) -> Self {
        let mut printer = Printer { bytes: Vec::with_capacity(1024), compact: false };
        printer.bytes.extend_from_slice(format!("SIP/2.0 {:03} ", status.clamp(100, 699)).as_bytes());
        printer.clean(reason.as_bytes());
        printer.bytes.extend_from_slice(b"\r\n");
        printer
    }

    /// Uses compact header names from here on.
    pub fn compact(mut self, compact: bool) -> Self {
        self.compact = compact;
        self
    }

    /// Writes one header.
    pub fn header(&mut self, name: Name, value: impl AsRef<[u8]>) -> &mut Self {
        let label = if self.compact { name.compact() } else { name.as_str() };
        self.line(label.as_bytes(), value.as_ref())
    }

    /// Writes a header the stack has no name for. A label that is no token is left out.
    pub fn extension(&mut self, label: &[u8], value: impl AsRef<[u8]>) -> &mut Self {
        if label.is_empty() || !label.iter().all(|byte| super::lex::is_token(*byte)) {
            return self;
        }
        self.line(label, value.as_ref())
    }

    fn line(&mut self, label: &[u8], value: &[u8]) -> &mut Self {
        self.bytes.extend_from_slice(label);
        self.bytes.extend_from_slice(b": ");
        self.clean(value);
        self.bytes.extend_from_slice(b"\r\n");
        self
    }

    /// A line break inside a value would let its author write headers of their own.
    fn clean(&mut self, value: &[u8]) {
        self.bytes.extend(value.iter().map(|byte| if matches!(byte, b'\r' | b'\n' | 0) { b' ' } else { *byte }));
    }

    /// How many bytes are written so far.
    pub fn size(&self) -> usize {
        self.bytes.len()
    }

    /// Ends the message without a body.
    pub fn finish(mut self) -> Vec<u8> {
        self.header(Name::ContentLength, "0");
        self.bytes.extend_from_slice(b"\r\n");
        self.bytes
    }

    /// Ends the message with a body.
    pub fn finish_with(mut self, content_type: &str, body: &[u8]) -> Vec<u8> {
        self.header(Name::ContentType, content_type);
        self.header(Name::ContentLength, body.len().to_string());
        self.bytes.extend_from_slice(b"\r\n");
        self.bytes.extend_from_slice(body);
        self.bytes
    }
}
