//! Where the parsers differ, and why ours reads as it does.

use parsers::{Peer, Twist};

/// What a parser makes of a part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    Reads,
    /// Reads something else than we do.
    Otherwise,
    /// Says that it is not there.
    Lacks,
    /// Refuses the whole message.
    Refuses,
}

/// On which messages, whose parser, which parts, our verdict, theirs, and why.
pub type Row = (Twist, Peer, &'static [&'static str], Verdict, Verdict, &'static str);

use Peer::*;
use Twist::*;
use Verdict::*;

/// What names the call and its sides.
const HEAD: &[&str] = &["call-id", "contact", "cseq", "from", "from-tag", "hop", "max-forwards", "to-tag"];

#[rustfmt::skip]
pub const EXPLAINED: &[Row] = &[
    (Compact, Rsip, &["call-id", "contact", "from", "from-tag", "hop", "to-tag"], Reads, Lacks,
        "RFC 3261 §7.3.3: the compact name is the header's other name"),
    (Folded, Rsip, &["message"], Reads, Refuses, "RFC 3261 §7.3.1: a line that begins with white space goes on with the one before"),
    (FoldedVia, Rsip, &["message"], Reads, Refuses, "RFC 3261 §7.3.1, as above"),
    (BlankBeforeColon, Rsip, &["message"], Reads, Refuses, "RFC 3261 §25.1: HCOLON has white space before its colon"),
    (TabsAround, Rsip, &["call-id"], Reads, Otherwise, "RFC 3261 §25.1: SWS includes tabs, and is no part of the value"),
    (TabsAround, Rsip, &["contact", "from", "from-tag", "max-forwards", "to-tag"], Reads, Lacks, "RFC 3261 §25.1, as above"),
    (LineFeeds, Rsip, &["message"], Reads, Refuses,
        "RFC 3261 §7 wants CRLF; we serve senders that forget the CR, for a line feed can mean nothing else there"),
    (LineFeeds, Rsipstack, &["message"], Reads, Refuses, "as above"),
    (SpacedVia, Rsip, &["hop"], Reads, Lacks, "RFC 3261 §25.1: SLASH, SEMI and EQUAL have white space around (RFC 4475 §3.1.1.1)"),
    (SpacedVia, Rsipstack, &["hop"], Reads, Lacks, "RFC 3261 §25.1, as above"),
    (StrangeTransport, Rsip, &["hop"], Reads, Lacks, "RFC 3261 §25.1: a transport is any token; the answer goes back where it came from (RFC 4475 §3.1.1.9)"),
    (StrangeTransport, Rsipstack, &["hop"], Reads, Lacks, "RFC 3261 §25.1, as above"),
    (Ipv6Via, Rsip, &["hop"], Reads, Lacks, "RFC 3261 §25.1: IPv6reference is a host (RFC 5118 §4.1)"),
    (Ipv6Uri, Rsip, &["message"], Reads, Refuses, "RFC 3261 §25.1, as above"),
    (QuotedParam, Rsip, &["from", "from-tag"], Reads, Lacks, "RFC 3261 §25.1: gen-value may be a quoted string"),
    (QuotedParam, Rsipstack, &["from-tag"], Reads, Otherwise, "RFC 3261 §25.1: what stands in quotes is no parameter"),
    (TelFrom, Rsip, &["from", "from-tag"], Reads, Lacks, "RFC 3261 §20.20: From may hold any URI; a tel URI has no host (RFC 3966 §3)"),
    (TelFrom, Rsipstack, &["from"], Reads, Otherwise, "RFC 3966 §3: the number is no host"),
    (QuotedDisplay, Rsip, &["from", "from-tag"], Reads, Lacks, "RFC 3261 §25.1: a quoted string holds escaped quotes, commas and brackets (RFC 4475 §3.1.1.6)"),
    (QuotedDisplay, Rsipstack, &["from", "from-tag"], Reads, Otherwise, "RFC 3261 §25.1, as above: the address begins after the closing quote"),
    (SeparatorsInUser, Rsip, &["message"], Reads, Refuses, "RFC 3261 §25.1: user-unreserved has `;` and `?` (RFC 4475 §3.1.1.13)"),
    (SeparatorsInUser, Rsipstack, &["target"], Reads, Otherwise, "RFC 3261 §25.1, as above: parameters begin after the host"),
    (UnknownScheme, Rsip, &["target"], Lacks, Reads, "RFC 3261 §8.2.2.1: what is not understood is answered with 416; its host means nothing to us"),
    (UnknownScheme, Rsipstack, &["target"], Lacks, Reads, "RFC 3261 §8.2.2.1, as above"),
    (UnknownMethod, Rsip, &["message"], Reads, Refuses, "RFC 3261 §8.2.1: it is answered with 405, so it must be read"),
    (UnknownMethod, Rsipstack, &["message"], Reads, Refuses, "RFC 3261 §8.2.1, as above"),
    (LowerMethod, Rsip, &["start", "cseq"], Reads, Otherwise, "RFC 3261 §7.1: methods are case-sensitive, so `invite` is not INVITE"),
    (LowerMethod, Rsipstack, &["start", "cseq"], Reads, Otherwise, "RFC 3261 §7.1, as above"),
    (LowerVersion, Rsip, &["message"], Reads, Refuses, "RFC 3261 §7.1: the version is case-insensitive"),
    (LowerVersion, Rsipstack, &["message"], Reads, Refuses, "RFC 3261 §7.1, as above"),
    (OtherVersion, Rsipstack, &["message"], Refuses, Reads, "RFC 3261 §21.5.6: another version is answered with 505"),
    (BlanksInStart, Rsip, &["message"], Refuses, Reads, "RFC 3261 §7.1: one SP between the parts (RFC 4475 §3.1.2.9 allows 400)"),
    (LargeStatus, Rsip, &["message"], Refuses, Reads, "RFC 3261 §7.2: three digits, of which the first is 1 to 6 (RFC 4475 §3.1.2.19)"),
    (LargeStatus, Rsipstack, &["message"], Refuses, Reads, "RFC 3261 §7.2, as above"),
    (NoLength, Rsipstack, &["body"], Reads, Lacks, "RFC 3261 §18.3: without a length the body of a datagram is the rest of it"),
    (BytesAfter, Rsip, &["body"], Reads, Otherwise, "RFC 3261 §18.3: bytes beyond the length are thrown away"),
    (BytesAfter, Rsip, &["body"], Lacks, Reads, "RFC 3261 §18.3, as above"),
    (LengthTooLong, Rsip, &["message"], Refuses, Reads, "RFC 3261 §18.3: a request that is cut short is answered with 400"),
    (LengthTooLong, Rsipstack, &["message"], Refuses, Reads, "RFC 3261 §18.3, as above"),
    (LengthNegative, Rsip, &["message"], Refuses, Reads, "RFC 3261 §20.14: zero or more (RFC 4475 §3.1.2.3)"),
    (LengthNegative, Rsipstack, &["message"], Refuses, Reads, "RFC 3261 §20.14, as above"),
    (LengthNoNumber, Rsip, &["message"], Refuses, Reads, "RFC 3261 §25.1: digits"),
    (LengthNoNumber, Rsipstack, &["message"], Refuses, Reads, "RFC 3261 §25.1, as above"),
    (LengthTwice, Rsip, &["message"], Refuses, Reads, "RFC 3261 §7.3.1: only lists may stand twice; two lengths are two messages on a stream"),
    (LengthTwice, Rsipstack, &["message"], Refuses, Reads, "RFC 3261 §7.3.1, as above"),
    (TooLargeCSeq, Rsip, &["cseq"], Lacks, Reads, "RFC 3261 §8.1.1.5: below 2^31"),
    (TooLargeCSeq, Rsipstack, &["cseq"], Lacks, Reads, "RFC 3261 §8.1.1.5, as above"),
    (NotUtf8, Rsip, &["message"], Reads, Refuses, "RFC 3261 §7 wants UTF-8; one letter of another alphabet in a header that nobody reads is no reason to lose a call"),
    (NotUtf8, Rsipstack, HEAD, Reads, Lacks, "as above; here every header after that one is lost without a word"),
    (NotUtf8, Rsipstack, &["body"], Reads, Lacks, "as above, for Content-Length is lost"),
    (LeadingLines, Rsip, &["message"], Reads, Refuses, "RFC 3261 §7.5: empty lines before the message are ignored"),
    (LeadingLines, Rsipstack, &["message"], Reads, Refuses, "RFC 3261 §7.5, as above"),
    (NoColon, Rsipstack, &["message"], Refuses, Reads, "RFC 3261 §7.3: a header has a colon; what hides there is not guessed, the answer is 400"),
    (BlankInName, Rsipstack, &["message"], Refuses, Reads, "RFC 3261 §25.1: a header's name is a token"),
    (ContactList, Rsip, &["contact"], Reads, Lacks, "RFC 3261 §7.3.1: Contact is a list, and a comma in quotes does not part it"),
    (ContactStar, Rsip, &["contact"], Lacks, Reads, "RFC 3261 §10.2.2: `*` is no address"),
    (ContactStar, Rsipstack, &["contact"], Lacks, Reads, "RFC 3261 §10.2.2, as above"),
    (CutHead, Rsip, &["message"], Refuses, Reads, "RFC 3261 §7: an empty line ends the head, even without a body"),
    (CutBody, Rsip, &["message"], Refuses, Reads, "RFC 3261 §18.3: a body shorter than its length is an error"),
    (CutBody, Rsipstack, &["message"], Refuses, Reads, "RFC 3261 §18.3, as above"),
    (DamagedSubject, Rsip, &["message"], Reads, Refuses, "as NotUtf8: a byte of a header that nobody reads"),
    (DamagedSubject, Rsipstack, HEAD, Reads, Lacks, "as NotUtf8"),
    (DamagedSubject, Rsipstack, &["body"], Reads, Lacks, "as NotUtf8"),
    (DamagedFrom, Rsip, &["from"], Reads, Otherwise, "RFC 3261 §25.1: a question mark after the host begins the URI's headers"),
    (DamagedFrom, Rsip, &["from", "from-tag"], Reads, Lacks,
        "RFC 3261 §25.1: one parameter or host that is odd leaves the rest of the header what it is"),
    (DamagedFrom, Rsip, &["from", "from-tag"], Lacks, Reads, "RFC 3261 §25.1: no host has such letters, no address such brackets; nothing is guessed"),
    (DamagedFrom, Rsipstack, &["from", "from-tag"], Lacks, Reads, "RFC 3261 §25.1, as above"),
    (DamagedVia, Rsip, &["hop"], Reads, Otherwise, "RFC 3261 §8.1.1.7: a branch is a key and compared as written, `=` included"),
    (DamagedVia, Rsip, &["hop"], Reads, Lacks, "RFC 3261 §18.2.2: an answer finds its way by what can be read; another version is answered, too (RFC 4475 §3.1.2.16)"),
    (DamagedVia, Rsip, &["hop"], Lacks, Reads, "RFC 3261 §25.1: no host has a comma; a comma parts two hops"),
    (DamagedVia, Rsipstack, &["hop"], Lacks, Reads, "RFC 3261 §25.1: no host has such letters, no version a question mark"),
    (DamagedStart, Rsip, &["message"], Reads, Refuses, "RFC 3261 §8.2.2.1: a URI that cannot be read is answered with 400, so the rest must be"),
    (DamagedStart, Rsip, &["message"], Refuses, Reads, "RFC 3261 §7.1, §7.2: one SP between the parts"),
    (DamagedStart, Rsip, &["target"], Reads, Otherwise, "RFC 3261 §25.1: a question mark after the host begins the URI's headers"),
    (DamagedStart, Rsip, &["target"], Lacks, Reads, "RFC 3261 §25.1: no host has such letters, and a URI has a scheme"),
    (DamagedStart, Rsipstack, &["message"], Refuses, Reads, "RFC 3261 §7.1, §7.2: one SP between the parts, and version 2.0"),
    (DamagedStart, Rsipstack, &["target"], Lacks, Reads, "RFC 3261 §25.1: no host has such letters, and a URI has a scheme"),
];
