//! A request together with the path it came by, and the answers made from it (RFC 3261 §8.2.6).

use crate::flow::{Flow, Transport};
use crate::message::{Message, Name, Printer, Via, split_commas};

#[derive(Debug)]
pub(super) struct Arrival {
    pub(super) message: Message,
    pub(super) from: Flow,
}

impl Arrival {
    /// Where answers go.
    pub(super) fn answer_flow(&self) -> Flow {
        match (self.from.transport, self.message.top_via()) {
            (Transport::Udp, Some(via)) => Flow { remote: via.answer_to(self.from.remote), ..self.from },
            _ => self.from,
        }
    }

    /// An answer with the headers every answer repeats; `tag` is ours, if To has none yet.
    pub(super) fn answer(&self, status: u16, reason: &str, tag: Option<&str>, compact: bool) -> Printer {
        let request = &self.message;
        let mut printer = Printer::response(status, reason).compact(compact);
        let mut top = true;
        for line in request.headers(Name::Via) {
            for element in split_commas(line) {
                if std::mem::take(&mut top) {
                    printer.header(Name::Via, Via::answered(element, self.from.remote));
                } else {
                    printer.header(Name::Via, element);
                }
            }
        }
        if let Some(from) = request.header(Name::From) {
            printer.header(Name::From, from);
        }
        if let Some(to) = request.header(Name::To) {
            match tag.filter(|_| request.to_tag().is_none()) {
                Some(tag) => printer.header(Name::To, [to, b";tag=", tag.as_bytes()].concat()),
                None => printer.header(Name::To, to),
            };
        }
        for name in [Name::CallId, Name::CSeq] {
            if let Some(value) = request.header(name) {
                printer.header(name, value);
            }
        }
        printer
    }

    /// The same for an answer that makes a dialog: it echoes Record-Route (RFC 3261 §12.1.1).
    pub(super) fn dialog_answer(&self, status: u16, reason: &str, tag: &str) -> Printer {
        let mut printer = self.answer(status, reason, Some(tag), false);
        for line in self.message.headers(Name::RecordRoute) {
            printer.header(Name::RecordRoute, line);
        }
        printer
    }
}
