//! Bringing numbers over from other carriers, as one job that comes again until nothing of a request is open.
//!
//! Each round asks the carrier, which finds what an earlier round did before it does anything, and stores what is new: the numbers'
//! states, an event for each, the next round, all in one transaction. So a round may be done twice. A number that has arrived is pointed
//! at us before it is `active`; its rent begins with that moment. One that does not come is nobody's again, and its fee is given back.

mod outcome;
mod rounds;

use std::path::PathBuf;

use domain::{NumberId, OrderId};
use serde_json::json;

use rounds::{KIND, Round};
pub(crate) use rounds::{begin, hurry, pay};

use super::{
    Carrier, CarrierError, Carriers,
    porting::{Bill, Form, PortState, Request, Seen, Wanted},
};
use crate::{
    BoxFuture, Context, Fault, Handler, Job, NodeKey, Store,
    routing::rows::ports::{PortRow, Requested},
    seal,
    store::json_text,
};

/// Brings numbers over.
#[derive(Debug)]
pub(crate) struct NumberPorts {
    pub(crate) carriers: Carriers,
    pub(crate) seal: NodeKey,
    pub(crate) folder: PathBuf,
}

impl Handler for NumberPorts {
    fn kind(&self) -> &'static str {
        KIND
    }

    fn run<'a>(&'a self, context: &'a Context, job: &'a Job) -> BoxFuture<'a, Result<(), Fault>> {
        Box::pin(async move {
            let order = job.payload["order_id"].as_str().and_then(|id| id.parse::<OrderId>().ok());
            let order = order.ok_or_else(|| Fault::Never("no order is named".into()))?;
            let number = |name: &str| job.payload[name].as_i64().unwrap_or(0);
            let round = Round { order, n: number("round"), misses: number("misses") };
            self.round(context, round).await
        })
    }
}

/// What a round found out.
#[derive(Default)]
struct Found {
    seen: Vec<Seen>,
    /// Numbers whose calling off was refused, and why.
    too_late: Vec<(NumberId, String)>,
    /// Names of numbers that have arrived.
    arrived: Vec<(String, String)>,
    /// Why the carrier has to be asked again soon.
    missed: Option<String>,
}

impl NumberPorts {
    async fn round(&self, context: &Context, round: Round) -> Result<(), Fault> {
        let store = &context.store;
        let Some(request) = store.port_request(round.order).await? else {
            return Err(Fault::Never("no such order".into()));
        };
        let rows = store.ports_of(&[round.order]).await?.remove(&round.order.to_string()).unwrap_or_default();
        let open: Vec<&PortRow> = rows.iter().filter(|row| row.state.open()).collect();
        if open.is_empty() {
            return Ok(());
        }
        let form = self.form(round.order, &request)?;
        let mut found = Found::default();
        let again = request.data["handed_in"] == true;
        if !again && open.iter().all(|row| row.cancel_asked) {
            // Nobody has heard of it yet.
            found.seen = open.iter().map(|row| Seen::new(&row.e164, PortState::Canceled)).collect();
        } else if let Some(carrier) = self.carriers.get(&request.carrier) {
            if !again {
                // First the word that it may be there, then the deed.
                let mut data = request.data.clone();
                data["handed_in"] = json!(true);
                sqlx::query("UPDATE number_orders SET data = $1 WHERE id = $2")
                    .bind(json_text(&data))
                    .bind(round.order.to_string())
                    .execute(store.writers())
                    .await
                    .map_err(Fault::from)?;
            }
            self.ask(store, carrier.as_ref(), (round.order, &request, &form, again), &open, &mut found).await?;
        } else {
            found.missed = Some(format!("no account with {} is configured", request.carrier));
        }
        outcome::keep(context, round, &request, &form, &rows, found).await
    }

    fn form(&self, order: OrderId, request: &Requested) -> Result<Form, Fault> {
        let sealed = request.sealed.as_deref().unwrap_or_default();
        let opened = seal::open(&self.seal, ("number_orders", &order.to_string(), "sealed"), sealed);
        let opened = opened.map_err(|error| Fault::Again(error.to_string()))?;
        serde_json::from_slice(&opened).map_err(|_| Fault::Never("the form of a port request cannot be read".into()))
    }

    /// Asks the carrier for everything that is open.
    async fn ask(
        &self,
        store: &Store,
        carrier: &dyn Carrier,
        (order, request, form, again): (OrderId, &Requested, &Form, bool),
        open: &[&PortRow],
        found: &mut Found,
    ) -> Result<(), Fault> {
        let wanted: Vec<Wanted> = open
            .iter()
            .filter_map(|row| {
                let e164 = row.e164.parse().ok()?;
                Some(Wanted { e164, port_ref: row.port_ref.clone(), called_off: row.cancel_asked })
            })
            .collect();
        let bill = match request.data["bill_file_id"].as_str() {
            Some(file) if wanted.iter().any(|number| number.port_ref.is_none()) => {
                match self.bill(store, file).await? {
                    Ok(bill) => bill,
                    Err(why) => {
                        found.missed = Some(why);
                        return Ok(());
                    }
                }
            }
            _ => None,
        };
        let reference = order.to_string();
        let asked = Request {
            reference: &reference,
            asked_at_ms: request.created_at,
            again,
            form,
            bill: bill.as_ref(),
            numbers: &wanted,
        };
        found.seen = match carrier.port(&asked).await {
            Ok(seen) => seen,
            Err(error) => {
                found.missed = Some(error.to_string());
                return Ok(());
            }
        };
        for row in open {
            let Some(at) = found.seen.iter().position(|seen| seen.e164 == row.e164) else { continue };
            let seen = found.seen[at].clone();
            if seen.state == PortState::Completed {
                match arrive(carrier, row).await {
                    Ok(name) => found.arrived.push((row.e164.clone(), name)),
                    Err(CarrierError::Refused(why)) => {
                        let why = format!("the number is there, but cannot be pointed at us: {why}");
                        found.seen[at] = Seen { state: PortState::Exception, ..seen }.because(why);
                    }
                    Err(error) => {
                        found.seen.swap_remove(at);
                        found.missed = Some(error.to_string());
                    }
                }
            } else if let (true, true, false, Some(name)) =
                (row.cancel_asked, seen.state.open(), seen.leaving, &seen.port_ref)
            {
                let others = |other: &&&PortRow| {
                    let known = found.seen.iter().find(|seen| seen.e164 == other.e164);
                    !other.cancel_asked
                        && known.is_some_and(|seen| seen.state.open() && seen.port_ref.as_ref() == Some(name))
                };
                if carrier.indivisible() && open.iter().any(|other| others(&other)) {
                    // The answer to handing it in was lost, and it was called off alone before anybody knew.
                    found.too_late.push((row.number, "the carrier calls off a request only whole".into()));
                    continue;
                }
                match carrier.call_off(name, false).await {
                    // The next round sees it gone.
                    Ok(()) => found.missed = found.missed.take().or_else(|| Some(String::new())),
                    Err(CarrierError::Busy(why)) => found.missed = Some(why),
                    Err(error) => found.too_late.push((row.number, error.to_string())),
                }
            }
        }
        Ok(())
    }

    /// A bill, or why it cannot be read now. None: it is past its days.
    async fn bill(&self, store: &Store, file: &str) -> Result<Result<Option<Bill>, String>, Fault> {
        let row = store.file(file).await?.filter(|row| row.state == "ready");
        let Some((row, locator)) = row.and_then(|row| row.locator.clone().map(|locator| (row, locator))) else {
            return Ok(Ok(None));
        };
        let name = locator.rsplit('/').next().unwrap_or("bill").to_owned();
        Ok(match tokio::fs::read(self.folder.join(&locator)).await {
            Ok(bytes) => Ok(Some(Bill { name, content_type: row.content_type, bytes })),
            // Files lie on the disk of one node; that one gets the round sooner or later.
            Err(error) => Err(format!("the bill cannot be read on this node: {}", error.kind())),
        })
    }
}

/// Sends a number's calls to us; its name at the carrier.
async fn arrive(carrier: &dyn Carrier, row: &PortRow) -> Result<String, CarrierError> {
    let number = row.e164.parse().map_err(|_| CarrierError::Refused("not a number".into()))?;
    let name = carrier.owned(&number).await?;
    let name = name.ok_or_else(|| CarrierError::Busy("the number is ported, but not in the account yet".into()))?;
    carrier.point(&name).await?;
    Ok(name)
}
