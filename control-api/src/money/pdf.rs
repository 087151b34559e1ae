//! A statement as PDF: one font that every reader has, a table, and as many pages as it takes.

use pdf_writer::{Content, Finish as _, Name, Pdf, Rect, Ref, Str};

use super::{
    cost,
    invoices::{Invoice, InvoiceLine},
    price,
};
use crate::time::rfc3339;

/// A4, in points.
const PAGE: Rect = Rect { x1: 0.0, y1: 0.0, x2: 595.0, y2: 842.0 };
const LEFT: f32 = 56.0;
const QUANTITY: f32 = 330.0;
const AMOUNT: f32 = 450.0;
const TOP: f32 = 780.0;
const STEP: f32 = 18.0;
const LINES: usize = 32;

/// The bytes of a statement.
pub(crate) fn statement(tenant: &str, invoice: &Invoice, lines: &[InvoiceLine]) -> Vec<u8> {
    let mut pdf = Pdf::new();
    let (catalog, tree, font) = (Ref::new(1), Ref::new(2), Ref::new(3));
    let sheets: Vec<&[InvoiceLine]> = if lines.is_empty() { vec![&[]] } else { lines.chunks(LINES).collect() };
    let page = |n: usize| Ref::new(10 + 2 * i32::try_from(n).unwrap_or(0));
    let body = |n: usize| Ref::new(11 + 2 * i32::try_from(n).unwrap_or(0));
    pdf.catalog(catalog).pages(tree);
    pdf.pages(tree).kids((0..sheets.len()).map(page)).count(i32::try_from(sheets.len()).unwrap_or(1));
    pdf.type1_font(font).base_font(Name(b"Helvetica")).encoding_predefined(Name(b"WinAnsiEncoding"));
    for (n, sheet) in sheets.iter().enumerate() {
        let mut leaf = pdf.page(page(n));
        leaf.media_box(PAGE).parent(tree).contents(body(n));
        leaf.resources().fonts().pair(Name(b"F"), font);
        leaf.finish();
        let mut content = Content::new();
        let mut put = |x: f32, y: f32, size: f32, text: &str| {
            content.begin_text();
            content.set_font(Name(b"F"), size);
            content.next_line(x, y);
            content.show(Str(&latin(text)));
            content.end_text();
        };
        put(LEFT, TOP, 18.0, &format!("Statement {}", invoice.number));
        put(LEFT, TOP - 24.0, 11.0, tenant);
        let dates = format!("Period {}   Written {}", invoice.period, &rfc3339(invoice.created_at)[..10]);
        put(LEFT, TOP - 40.0, 10.0, &dates);
        let mut y = TOP - 80.0;
        for (x, title) in [(LEFT, "Item"), (QUANTITY, "Quantity"), (AMOUNT, "Amount (USD)")] {
            put(x, y, 10.0, title);
        }
        y -= STEP;
        for line in *sheet {
            put(LEFT, y, 10.0, &line.label);
            put(QUANTITY, y, 10.0, &format!("{} {}", line.quantity, cost::unit(&line.item)));
            put(AMOUNT, y, 10.0, &exact(line.amount_micros));
            y -= STEP;
        }
        if n + 1 == sheets.len() {
            put(LEFT, y - STEP, 12.0, "Total, paid from credit");
            put(AMOUNT, y - STEP, 12.0, &price::display(invoice.total_micros));
        }
        put(LEFT, 40.0, 8.0, &format!("{} - page {} of {}", invoice.number, n + 1, sheets.len()));
        pdf.stream(body(n), &content.finish());
    }
    pdf.finish()
}

/// All six digits: a line is not rounded, the total is.
fn exact(micros: i64) -> String {
    let sign = if micros < 0 { "-" } else { "" };
    format!("{sign}{}.{:06}", micros.abs() / 1_000_000, micros.abs() % 1_000_000)
}

/// What the font's encoding has; for the rest a question mark.
fn latin(text: &str) -> Vec<u8> {
    text.chars()
        .map(|letter| match u32::from(letter) {
            code @ (0x20..=0x7e | 0xa0..=0xff) => code as u8,
            _ => b'?',
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn invoice() -> Invoice {
        Invoice {
            id: "i".into(),
            number: "2026-10-00001".into(),
            period: "2026-10".into(),
            state: "paid".into(),
            total_micros: 375_000,
            total_cents: 38,
            currency: "USD".into(),
            created_at: 0,
            finalized_at: None,
        }
    }

    #[test]
    fn a_statement_has_a_page_for_each_thirty_two_lines() {
        let line = InvoiceLine {
            item: "voice_in".into(),
            label: "Grüße (€) \\ )".into(),
            quantity: 150,
            amount_micros: 375_000,
        };
        for (lines, pages) in [(0, 1), (1, 1), (32, 1), (33, 2), (100, 4)] {
            let bytes = statement("Acme", &invoice(), &vec![line.clone(); lines]);
            let text = String::from_utf8_lossy(&bytes);
            assert!(text.starts_with("%PDF-1.") && text.trim_end().ends_with("%%EOF"));
            assert_eq!(text.matches("/Type /Page\n").count(), pages, "{lines} lines");
            assert!(text.contains("$0.38") && text.contains("2026-10-00001"));
        }
    }

    #[test]
    fn lines_show_every_micro() {
        assert_eq!(
            (exact(375_001), exact(-1), exact(12_000_000)),
            ("0.375001".into(), "-0.000001".into(), "12.000000".into())
        );
    }
}
