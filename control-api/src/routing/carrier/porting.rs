//! Numbers that come over from another carrier: what the new carrier is told, and how it says that they stand.

use std::fmt;

use domain::phone::E164;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::CarrierError;
use crate::BoxFuture;

/// An account that numbers can be brought to.
pub(crate) trait Porting: Send + Sync {
    /// Hands in what is not handed in yet and tells how each number stands. Asked again and again until nothing is open, so it finds
    /// what an earlier call did before it does anything.
    fn port<'a>(&'a self, request: &'a Request<'a>) -> BoxFuture<'a, Result<Vec<Seen>, CarrierError>>;

    /// Asks that a number stays where it is; `whole`: and all others of the carrier's request. [`CarrierError::Refused`]: too late.
    fn call_off<'a>(&'a self, port_ref: &'a str, whole: bool) -> BoxFuture<'a, Result<(), CarrierError>>;

    /// Whether the carrier calls off a request only as a whole.
    fn indivisible(&self) -> bool;

    /// The carrier's name of a number that has arrived.
    fn owned<'a>(&'a self, number: &'a E164) -> BoxFuture<'a, Result<Option<String>, CarrierError>>;
}

/// A request as the carrier gets it.
pub(crate) struct Request<'a> {
    /// Ours; the same for the same request.
    pub(crate) reference: &'a str,
    /// When the tenant asked, Unix ms.
    pub(crate) asked_at_ms: i64,
    /// It may have been handed in before.
    pub(crate) again: bool,
    pub(crate) form: &'a Form,
    pub(crate) bill: Option<&'a Bill>,
    /// Those that are still open.
    pub(crate) numbers: &'a [Wanted],
}

/// A number that is to come.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    pub(crate) e164: E164,
    /// The carrier's name of its port, once it is known.
    pub(crate) port_ref: Option<String>,
    /// Not wanted any more: what is not handed in stays so.
    pub(crate) called_off: bool,
}

/// How a number stands at the carrier.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) e164: String,
    pub(crate) port_ref: Option<String>,
    pub(crate) state: PortState,
    pub(crate) reason: Option<String>,
    /// The day that is agreed upon, `YYYY-MM-DD`.
    pub(crate) foc_date: Option<String>,
    /// The carrier is about to call it off.
    pub(crate) leaving: bool,
}

impl Seen {
    pub(super) fn new(e164: &str, state: PortState) -> Self {
        Self { e164: e164.to_owned(), port_ref: None, state, reason: None, foc_date: None, leaving: false }
    }

    pub(super) fn because(self, reason: impl Into<Option<String>>) -> Self {
        Self { reason: reason.into().filter(|reason| !reason.is_empty()), ..self }
    }
}

/// How far a number's way over is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum PortState {
    /// Somebody must do something that cannot be done here.
    Exception,
    /// Taken, and looked through by the new carrier.
    Submitted,
    /// The old carrier has it.
    Pending,
    /// The old carrier has named a day.
    FocConfirmed,
    /// The number is here.
    Completed,
    /// It stays where it was.
    Rejected,
    /// It was not wanted any more.
    Canceled,
}

impl PortState {
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Exception => "exception",
            Self::Submitted => "submitted",
            Self::Pending => "pending",
            Self::FocConfirmed => "foc_confirmed",
            Self::Completed => "completed",
            Self::Rejected => "rejected",
            Self::Canceled => "canceled",
        }
    }

    pub(crate) fn read(word: &str) -> Option<Self> {
        let all = [
            Self::Exception,
            Self::Submitted,
            Self::Pending,
            Self::FocConfirmed,
            Self::Completed,
            Self::Rejected,
            Self::Canceled,
        ];
        all.into_iter().find(|state| state.word() == word)
    }

    /// Whether anything can still happen.
    pub(crate) const fn open(self) -> bool {
        !matches!(self, Self::Completed | Self::Rejected | Self::Canceled)
    }

    /// How a request stands whose numbers stand so: as the one that is furthest from its end, and as its best number when all have ended.
    pub(crate) fn of_all(states: impl IntoIterator<Item = Self>) -> Self {
        states.into_iter().min().unwrap_or(Self::Canceled)
    }
}

/// What the losing carrier compares with its books. Kept sealed, and not longer than the request is open.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Form {
    pub(crate) authorized_name: String,
    /// Who signs the letter of authorization where the carrier has it signed by mail.
    pub(crate) authorized_email: Option<String>,
    pub(crate) account_number: String,
    pub(crate) pin: Option<String>,
    pub(crate) service_address: Address,
    pub(crate) foc_date: Option<String>,
}

impl fmt::Debug for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Form(…)")
    }
}

impl Form {
    /// A carrier's words without the secrets that it may quote.
    pub(crate) fn without_secrets(&self, said: &str) -> String {
        let secrets = [Some(&self.account_number), self.pin.as_ref()];
        secrets.into_iter().flatten().fold(said.to_owned(), |said, secret| said.replace(secret.as_str(), "…"))
    }
}

/// Where the line is, as the losing carrier knows it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Address {
    /// Number and street.
    pub(crate) street: String,
    /// Floor, suite.
    #[serde(default)]
    pub(crate) street2: Option<String>,
    pub(crate) city: String,
    /// State or province, as it stands on the bill.
    pub(crate) region: String,
    pub(crate) postal_code: String,
    /// ISO 3166 alpha-2, as `US`.
    pub(crate) country: String,
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Address(…)")
    }
}

/// A bill of the losing carrier.
pub(crate) struct Bill {
    pub(crate) name: String,
    pub(crate) content_type: String,
    pub(crate) bytes: Vec<u8>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_stands_as_its_slowest_number_and_ends_as_its_best() {
        use PortState::*;
        for (states, whole) in [
            (vec![Completed, Pending, Rejected], Pending),
            (vec![FocConfirmed, Exception], Exception),
            (vec![Rejected, Completed, Canceled], Completed),
            (vec![Rejected, Canceled], Rejected),
            (vec![Canceled], Canceled),
        ] {
            assert_eq!(PortState::of_all(states.clone()), whole, "{states:?}");
        }
        for state in [Exception, Submitted, Pending, FocConfirmed, Completed, Rejected, Canceled] {
            assert_eq!(PortState::read(state.word()), Some(state));
        }
    }

    #[test]
    fn what_a_carrier_quotes_of_the_account_is_blanked() {
        let address = Address {
            street: "1 Main St".into(),
            street2: None,
            city: "Austin".into(),
            region: "TX".into(),
            postal_code: "78701".into(),
            country: "US".into(),
        };
        let form = Form {
            authorized_name: "Ann".into(),
            authorized_email: None,
            account_number: "ACC-77".into(),
            pin: Some("4711".into()),
            service_address: address,
            foc_date: None,
        };
        assert_eq!(form.without_secrets("pin 4711 does not fit ACC-77"), "pin … does not fit …");
        assert!(!format!("{form:?}").contains("4711"));
    }
}
