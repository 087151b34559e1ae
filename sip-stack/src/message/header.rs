//! Header names with their compact forms (RFC 3261 §7.3.3, §20).

macro_rules! names {
    ($($variant:ident $full:literal $compact:literal),* $(,)?) => {
        /// The header names the stack reads or writes.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[allow(missing_docs, reason = "each is the header of that name")]
        pub enum Name { $($variant,)* Other }

        impl Name {
            /// Finds a name in either form, whatever its case.
            pub fn of(label: &[u8]) -> Self {
                $(if label.eq_ignore_ascii_case($full.as_bytes())
                    || (!$compact.is_empty() && label.eq_ignore_ascii_case($compact.as_bytes())) {
                    return Name::$variant;
                })*
                Name::Other
            }

            /// The full form; empty for `Other`.
            pub fn as_str(self) -> &'static str {
                match self { $(Name::$variant => $full,)* Name::Other => "" }
            }

            /// The compact form where there is one, otherwise the full one.
            pub fn compact(self) -> &'static str {
                match self {
                    $(Name::$variant => if $compact.is_empty() { $full } else { $compact },)*
                    Name::Other => "",
                }
            }
        }
    };
}

names! {
    Via "Via" "v",
    From "From" "f",
    To "To" "t",
    CallId "Call-ID" "i",
    CSeq "CSeq" "",
    Contact "Contact" "m",
    MaxForwards "Max-Forwards" "",
    ContentLength "Content-Length" "l",
    ContentType "Content-Type" "c",
    RecordRoute "Record-Route" "",
    Route "Route" "",
    Allow "Allow" "",
    Supported "Supported" "k",
    Require "Require" "",
    ProxyRequire "Proxy-Require" "",
    Unsupported "Unsupported" "",
    UserAgent "User-Agent" "",
    Server "Server" "",
    Accept "Accept" "",
    AcceptEncoding "Accept-Encoding" "",
    AcceptLanguage "Accept-Language" "",
    ContentDisposition "Content-Disposition" "",
    ContentEncoding "Content-Encoding" "e",
    Expires "Expires" "",
    RetryAfter "Retry-After" "",
    Warning "Warning" "",
    Reason "Reason" "",
    Date "Date" "",
    Subject "Subject" "s",
    Authorization "Authorization" "",
    ProxyAuthorization "Proxy-Authorization" "",
    WwwAuthenticate "WWW-Authenticate" "",
    ProxyAuthenticate "Proxy-Authenticate" "",
    AssertedIdentity "P-Asserted-Identity" "",
    SessionExpires "Session-Expires" "x",
    Event "Event" "o",
    AllowEvents "Allow-Events" "u",
    ReferTo "Refer-To" "r",
    ReferredBy "Referred-By" "b",
    ReferSub "Refer-Sub" "",
    Replaces "Replaces" "",
    SubscriptionState "Subscription-State" "",
    MinSe "Min-SE" "",
    MinExpires "Min-Expires" "",
    RSeq "RSeq" "",
    RAck "RAck" "",
    ServiceRoute "Service-Route" "",
    Path "Path" "",
    Identity "Identity" "y",
}
