//! What is bought outside of calls: its price goes from the tenant to the house, and the statement has a line for it.

use domain::TenantId;
use serde_json::Value;
use sqlx::AnyConnection;

use super::{
    ledger::{Account, Kind, LedgerError, Purse, Txn},
    usage,
};

/// A thing and its price; both negative for what is given back.
#[derive(Debug)]
pub(crate) struct Charge {
    pub(crate) item: &'static str,
    pub(crate) quantity: i64,
    pub(crate) amount_micros: i64,
    /// The same key is charged once, ever.
    pub(crate) key: String,
    /// What a person reads in the list of transactions.
    pub(crate) memo: Value,
    pub(crate) at_ms: i64,
}

/// Takes the price, or gives it back, in live money; false when that was done before.
pub(crate) async fn charge(
    db: &mut AnyConnection,
    purse: &mut Purse,
    tenant: TenantId,
    charge: Charge,
) -> Result<bool, LedgerError> {
    let Charge { item, quantity, amount_micros, key, memo, at_ms } = charge;
    let txn = Txn {
        kind: Kind::Charge,
        idem_key: key.clone(),
        call: None,
        lease: None,
        payment: None,
        memo,
        actor: "system",
        at_ms,
        entries: &[(Account::Available, -amount_micros), (Account::Revenue, amount_micros)],
    };
    let new = purse.post(db, txn).await?;
    if new {
        let record = usage::Record {
            tenant,
            livemode: true,
            call: None,
            item,
            provider: "",
            quantity,
            amount_micros,
            vendor_micros: 0,
            dedupe_key: key,
            at_ms,
        };
        usage::record(db, &record).await?;
    }
    Ok(new)
}
