//! What may be odd about a message, and which part of it.

macro_rules! twists {
    ($($(#[$doc:meta])* $name:ident $part:ident),* $(,)?) => {
        /// A way in which messages on the wire differ from the textbook.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Twist { $($(#[$doc])* $name,)* }

        /// All of them.
        pub const TWISTS: &[Twist] = &[$(Twist::$name,)*];

        impl Twist {
            /// What of the message it changes: two twists of one part would undo each other.
            pub fn part(self) -> Part {
                match self { $(Twist::$name => Part::$part,)* }
            }
        }
    };
}

twists! {
    /// As in the textbook.
    Plain All,
    /// Header names in lower case.
    LowerCase Names,
    /// Compact header names (§7.3.3).
    Compact Names,
    /// A header line goes on in the next (§7.3.1).
    Folded Subject,
    /// A Via goes on in the next line, with a tab.
    FoldedVia Via,
    /// `Name : value`
    BlankBeforeColon Colon,
    /// `Name:value`
    NoBlankAfterColon Colon,
    /// Blanks and tabs around the value.
    TabsAround Colon,
    /// Lines that end with a line feed alone.
    LineFeeds Ends,
    /// Two hops in one Via line.
    ViaList Via,
    /// `SIP / 2.0 / UDP` (RFC 4475 §3.1.1.1).
    SpacedVia Via,
    /// Via over a transport that nobody knows (RFC 4475 §3.1.1.9).
    StrangeTransport Via,
    /// A sent-by with an IPv6 reference.
    Ipv6Via Via,
    /// A Request-URI with an IPv6 reference.
    Ipv6Uri Start,
    /// A parameter without a value, `;rport`.
    ValuelessParam Via,
    /// A parameter whose value is quoted and holds separators.
    QuotedParam From,
    /// `From: <tel:…>`
    TelFrom From,
    /// `From: sip:anna@example.org;tag=…`, without brackets.
    BareFrom From,
    /// A display name with a comma, brackets and escaped quotes.
    QuotedDisplay From,
    /// A display name that is not quoted.
    TokenDisplay From,
    /// The tag is `TAG=`.
    UpperTag From,
    /// No tag in From (RFC 2543).
    NoTag From,
    /// `%20` and `%40` in the user part.
    EscapedUser Start,
    /// Semicolons and a question mark in the user part (RFC 4475 §3.1.1.6, §3.1.1.13).
    SeparatorsInUser Start,
    /// A password in the URI.
    Password Start,
    /// A scheme that nobody serves (RFC 4475 §3.3.2).
    UnknownScheme Start,
    /// A method that nobody knows.
    UnknownMethod Start,
    /// A method in lower case, which is another method (§7.1).
    LowerMethod Start,
    /// `sip/2.0` (§7.1: the version is case-insensitive).
    LowerVersion Start,
    /// `SIP/7.0` (RFC 4475 §3.1.2.16).
    OtherVersion Start,
    /// Two blanks in the request line (RFC 4475 §3.1.2.9).
    BlanksInStart Start,
    /// A status line without words.
    EmptyReason Start,
    /// Words that are UTF-8 (RFC 4475 §3.1.1.12).
    Utf8Reason Start,
    /// A status that no RFC names.
    UnknownStatus Start,
    /// A status beyond 699 (RFC 4475 §3.1.2.19).
    LargeStatus Start,
    /// Content-Length is not there.
    NoLength Length,
    /// Bytes after the body (§18.3).
    BytesAfter Body,
    /// Content-Length is longer than the datagram (RFC 4475 §3.1.2.2).
    LengthTooLong Length,
    /// Content-Length is negative (RFC 4475 §3.1.2.3).
    LengthNegative Length,
    /// Content-Length is no number.
    LengthNoNumber Length,
    /// Content-Length twice, differing.
    LengthTwice Length,
    /// The largest sequence number.
    LargeCSeq CSeq,
    /// One beyond it (§8.1.1.5).
    TooLargeCSeq CSeq,
    /// Many blanks between number and method.
    SpacedCSeq CSeq,
    /// Max-Forwards beyond 32 bits.
    LargeMaxForwards Hops,
    /// A byte that is not UTF-8 in a header that says nothing.
    NotUtf8 Subject,
    /// UTF-8 in a display name.
    Utf8Display From,
    /// An empty header.
    EmptyHeader Extra,
    /// A header that nobody knows, with every separator in it.
    UnknownHeader Extra,
    /// Commas and quotes in a header that is no list.
    CommaInSubject Subject,
    /// Empty lines before the message (§7.5).
    LeadingLines Before,
    /// A line without a colon.
    NoColon Extra,
    /// A header's name with a blank in it.
    BlankInName Extra,
    /// No Call-ID.
    NoCallId CallId,
    /// Call-ID twice, differing.
    CallIdTwice CallId,
    /// From twice, differing (RFC 4475 §3.3.8).
    FromTwice From,
    /// A header of 5 KiB.
    LongHeader Extra,
    /// A hundred headers.
    ManyHeaders Extra,
    /// Two Contacts in a line, the first with a comma in its name.
    ContactList Contact,
    /// `Contact: *`
    ContactStar Contact,
    /// The head stops before its empty line.
    CutHead All,
    /// The body stops before its length.
    CutBody All,
    /// A byte of a header line that names nobody is another one.
    DamagedSubject All,
    /// A separator of From is gone, doubled or another one.
    DamagedFrom All,
    /// The same of Via.
    DamagedVia All,
    /// The same of CSeq.
    DamagedCSeq All,
    /// The same of the first line.
    DamagedStart All,
}

/// The parts of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs, reason = "each is the header or the piece of that name")]
pub enum Part {
    /// The whole of it: such a twist comes alone.
    All,
    Before,
    Start,
    Names,
    Colon,
    Ends,
    Via,
    From,
    CallId,
    CSeq,
    Hops,
    Contact,
    Subject,
    Extra,
    Length,
    Body,
}
