//! The corpus: a valid request or response, and what may be odd about it.

use crate::{Lot, Twist};

/// A message in its parts.
struct Draft {
    start: String,
    lines: Vec<(String, Vec<u8>)>,
    colon: &'static str,
    end: &'static str,
    before: &'static str,
    body: String,
    after: &'static str,
}

impl Draft {
    fn set(&mut self, name: &str, value: impl Into<Vec<u8>>) {
        if let Some(line) = self.lines.iter_mut().find(|line| line.0 == name) {
            line.1 = value.into();
        }
    }

    fn add(&mut self, lot: &mut Lot, name: &str, value: impl Into<Vec<u8>>) {
        let at = lot.below(self.lines.len() + 1);
        self.lines.insert(at, (name.to_owned(), value.into()));
    }

    fn value(&mut self, name: &str) -> Option<&mut Vec<u8>> {
        self.lines.iter_mut().find(|line| line.0 == name).map(|line| &mut line.1)
    }

    fn bytes(&self) -> Vec<u8> {
        let mut bytes = [self.before, &self.start, self.end].concat().into_bytes();
        for (name, value) in &self.lines {
            bytes.extend(name.as_bytes());
            bytes.extend(self.colon.as_bytes());
            bytes.extend(value);
            bytes.extend(self.end.as_bytes());
        }
        bytes.extend(self.end.as_bytes());
        bytes.extend(self.body.as_bytes());
        bytes.extend(self.after.as_bytes());
        bytes
    }
}

fn draft(lot: &mut Lot, twists: &[Twist]) -> Draft {
    use Twist::*;
    let of_request = [
        Ipv6Uri,
        EscapedUser,
        SeparatorsInUser,
        Password,
        UnknownScheme,
        UnknownMethod,
        LowerMethod,
        LowerVersion,
        OtherVersion,
        BlanksInStart,
    ];
    let of_response = [EmptyReason, Utf8Reason, UnknownStatus, LargeStatus];
    let has = |twist| twists.contains(&twist);
    let response = match twists {
        _ if twists.iter().any(|twist| of_response.contains(twist)) => true,
        _ if twists.iter().any(|twist| of_request.contains(twist)) => false,
        _ => lot.below(3) == 0,
    };
    let method = match twists {
        _ if has(UnknownMethod) => "FROBNICATE",
        _ if has(LowerMethod) => "invite",
        _ => lot.of(&["INVITE", "BYE", "OPTIONS", "REGISTER", "ACK", "CANCEL", "UPDATE", "PRACK", "REFER"]),
    };
    let host = match twists {
        _ if has(Ipv6Uri) => "[2001:db8::9]:5070",
        _ => lot.of(&["example.org", "192.0.2.7", "192.0.2.7:5080", "sip.carrier.example"]),
    };
    let user = match twists {
        _ if has(EscapedUser) => "a%20b%40c",
        _ if has(SeparatorsInUser) => "user;par=u%40example.net?x",
        _ if has(Password) => "anna:secret",
        _ => lot.of(&["+4930123456", "anna", "1000", "desk-2"]),
    };
    let scheme = if has(UnknownScheme) { "nobodyknows" } else { "sip" };
    let version = match twists {
        _ if has(LowerVersion) => "sip/2.0",
        _ if has(OtherVersion) => "SIP/7.0",
        _ => "SIP/2.0",
    };
    let blank = if has(BlanksInStart) { "  " } else { " " };
    let status = match twists {
        _ if has(EmptyReason) => "200 ",
        _ if has(Utf8Reason) => "200 = 2**3 * 5**2 но сто девяносто",
        _ if has(UnknownStatus) => lot.of(&["299 Something New", "499 Odd", "699 Last"]),
        _ if has(LargeStatus) => lot.of(&["4294967301 better not", "700 Too much", "1000 Still more"]),
        _ => lot.of(&["100 Trying", "180 Ringing", "200 OK", "486 Busy Here", "503 Service Unavailable"]),
    };
    let start = match response {
        true => format!("SIP/2.0 {status}"),
        false => format!("{method}{blank}{scheme}:{user}@{host} {version}"),
    };
    let n = lot.below(1_000_000);
    let to = if response { format!("<sip:{user}@{host}>;tag=t{n}") } else { format!("<sip:{user}@{host}>") };
    let number = lot.below(70_000);
    let body = if lot.below(2) == 0 { "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nt=0 0\r\n" } else { "" };
    let mut lines = vec![
        ("Via", format!("SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bK{n:x}")),
        ("From", format!("<sip:caller{n}@example.org>;tag=f{n}")),
        ("To", to),
        ("Call-ID", format!("call-{n}@192.0.2.1")),
        ("CSeq", format!("{number} {method}")),
        ("Max-Forwards", "70".to_owned()),
        ("Contact", format!("<sip:caller{n}@192.0.2.1:5060>")),
        ("Subject", "about lunch".to_owned()),
    ];
    if !body.is_empty() {
        lines.push(("Content-Type", "application/sdp".to_owned()));
    }
    lines.push(("Content-Length", body.len().to_string()));
    let mut lines: Vec<_> = lines.into_iter().map(|(name, value)| (name.to_owned(), value.into_bytes())).collect();
    // The order of header lines says nothing (§7.3.1).
    if lot.below(2) == 0 {
        for at in (1..lines.len()).rev() {
            lines.swap(at, lot.below(at + 1));
        }
    }
    Draft { start, lines, colon: ": ", end: "\r\n", before: "", body: body.to_owned(), after: "" }
}

/// A separator of the value is gone, doubled, or another one.
fn damage(lot: &mut Lot, value: &mut Vec<u8>) {
    let odd: Vec<usize> = (0..value.len()).filter(|at| !value[*at].is_ascii_alphanumeric()).collect();
    let Some(at) = odd.get(lot.below(odd.len())).copied() else {
        return;
    };
    match lot.below(3) {
        0 => _ = value.remove(at),
        1 => value.insert(at, value[at]),
        _ => value[at] = b"<>;,:@\"/= ?"[lot.below(11)],
    }
}

fn twist(lot: &mut Lot, draft: &mut Draft, twist: Twist) {
    use Twist::*;
    let n = lot.below(1_000_000);
    match twist {
        LowerCase => draft.lines.iter_mut().for_each(|line| line.0.make_ascii_lowercase()),
        Compact => {
            for (full, compact) in [
                ("Via", "v"),
                ("From", "f"),
                ("To", "t"),
                ("Call-ID", "i"),
                ("Contact", "m"),
                ("Content-Length", "l"),
                ("Content-Type", "c"),
                ("Subject", "s"),
            ] {
                draft.lines.iter_mut().filter(|line| line.0 == full).for_each(|line| line.0 = compact.to_owned());
            }
        }
        Folded => draft.set("Subject", "about\r\n lunch"),
        FoldedVia => draft.set("Via", format!("SIP/2.0/UDP\r\n\t192.0.2.1:5060;branch=z9hG4bK{n:x}")),
        BlankBeforeColon => draft.colon = " : ",
        NoBlankAfterColon => draft.colon = ":",
        TabsAround => {
            draft.colon = ":\t ";
            draft.lines.iter_mut().for_each(|line| line.1.extend(b" \t"));
        }
        LineFeeds => draft.end = "\n",
        ViaList => draft.set(
            "Via",
            format!("SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bK{n:x}, SIP/2.0/TCP 192.0.2.2;branch=z9hG4bK-2"),
        ),
        SpacedVia => draft.set("Via", format!("SIP  / 2.0\t/ UDP  192.0.2.1:5060 ; branch = z9hG4bK{n:x}")),
        StrangeTransport => draft.set("Via", format!("SIP/2.0/CARRIERPIGEON 192.0.2.1;branch=z9hG4bK{n:x}")),
        Ipv6Via => draft.set("Via", format!("SIP/2.0/UDP [2001:db8::9:1]:5070;branch=z9hG4bK{n:x}")),
        ValuelessParam => draft.set("Via", format!("SIP/2.0/UDP 192.0.2.1:5060;rport;branch=z9hG4bK{n:x}")),
        QuotedParam => draft.set("From", format!("<sip:caller{n}@example.org>;x=\"a;tag=no, <b>\";tag=f{n}")),
        TelFrom => draft.set("From", format!("<tel:+4917{n}>;tag=f{n}")),
        BareFrom => draft.set("From", format!("sip:caller{n}@example.org;tag=f{n}")),
        QuotedDisplay => {
            draft.set("From", format!("\"Anna, <the> \\\"first\\\"; tag=no\" <sip:caller{n}@example.org>;tag=f{n}"))
        }
        TokenDisplay => draft.set("From", format!("Anna the first <sip:caller{n}@example.org>;tag=f{n}")),
        UpperTag => draft.set("From", format!("<sip:caller{n}@example.org>;TAG=f{n}")),
        NoTag => draft.set("From", format!("<sip:caller{n}@example.org>")),
        Utf8Display => draft.set("From", format!("\"Jürgen Çelik\" <sip:caller{n}@example.org>;tag=f{n}")),
        NoLength => draft.lines.retain(|line| line.0 != "Content-Length"),
        BytesAfter => draft.after = "what a datagram has behind its message",
        LengthTooLong => draft.set("Content-Length", "9999"),
        LengthNegative => draft.set("Content-Length", "-999"),
        LengthNoNumber => draft.set("Content-Length", "many"),
        LengthTwice => draft.add(lot, "Content-Length", (draft.body.len() / 2 + 1).to_string()),
        LargeCSeq | TooLargeCSeq | SpacedCSeq => {
            let method = draft.start.split(' ').next().filter(|word| !word.starts_with("SIP/")).unwrap_or("INVITE");
            let value = match twist {
                LargeCSeq => format!("2147483647 {method}"),
                TooLargeCSeq => format!("{} {method}", lot.of(&["2147483648", "4294967295", "36893488147419103232"])),
                _ => format!("0009 \t {method}"),
            };
            draft.set("CSeq", value);
        }
        LargeMaxForwards => draft.set("Max-Forwards", "99999999999"),
        NotUtf8 => draft.set("Subject", b"about l\xfcnch".to_vec()),
        EmptyHeader => draft.add(lot, "Supported", ""),
        UnknownHeader => draft.add(lot, "X-Odd", ";;,,;;,;<>\"::@=?  : \\"),
        CommaInSubject => draft.set("Subject", "lunch, \"at noon, or\" <later>; tag=no"),
        LeadingLines => draft.before = "\r\n\r\n",
        NoColon => draft.add(lot, "Nothing", ""),
        BlankInName => draft.add(lot, "Two words", "value"),
        NoCallId => draft.lines.retain(|line| line.0 != "Call-ID"),
        CallIdTwice => draft.lines.push(("Call-ID".to_owned(), format!("another-{n}").into_bytes())),
        FromTwice => draft.lines.push(("From".to_owned(), format!("<sip:other@example.org>;tag=o{n}").into_bytes())),
        LongHeader => draft.add(lot, "X-Long", vec![b'a' + (n % 26) as u8; 5_000]),
        ManyHeaders => (0..100).for_each(|at| draft.add(lot, &format!("X-{at}"), "value")),
        ContactList => draft.set("Contact", format!("\"One, two\" <sip:one{n}@192.0.2.1>;q=0.5, <sip:two@192.0.2.2>")),
        ContactStar => draft.set("Contact", "*"),
        DamagedSubject => {
            let byte = lot.below(256) as u8;
            if let Some(value) = draft.value("Subject").filter(|_| !matches!(byte, b'\r' | b'\n')) {
                let at = lot.below(value.len());
                value[at] = byte;
            }
        }
        DamagedFrom | DamagedVia | DamagedCSeq => {
            let name = match twist {
                DamagedFrom => "From",
                DamagedVia => "Via",
                _ => "CSeq",
            };
            if let Some(value) = draft.value(name) {
                damage(lot, value);
            }
        }
        DamagedStart => {
            let mut start = std::mem::take(&mut draft.start).into_bytes();
            damage(lot, &mut start);
            draft.start = String::from_utf8_lossy(&start).into_owned();
        }
        _ => {}
    }
}

/// A message with these twists.
pub fn message(lot: &mut Lot, twists: &[Twist]) -> Vec<u8> {
    let mut draft = draft(lot, twists);
    // Names change last, for the others look for them.
    let late = |twist: &Twist| matches!(twist, Twist::LowerCase | Twist::Compact | Twist::TabsAround);
    for one in twists.iter().filter(|twist| !late(twist)).chain(twists.iter().filter(|twist| late(twist))) {
        twist(lot, &mut draft, *one);
    }
    let mut bytes = draft.bytes();
    if twists.contains(&Twist::NoColon) {
        // The line was made with one.
        let line = ["Nothing", draft.colon].concat();
        if let Some(at) = bytes.windows(line.len()).position(|window| window.eq_ignore_ascii_case(line.as_bytes())) {
            bytes.splice(at + 7..at + line.len(), b" here".iter().copied());
        }
    }
    let head = bytes.len() - draft.body.len();
    if twists.contains(&Twist::CutHead) {
        bytes.truncate(lot.below(head - 1));
    }
    if twists.contains(&Twist::CutBody) && !draft.body.is_empty() {
        bytes.truncate(head + lot.below(draft.body.len()));
    }
    bytes
}
