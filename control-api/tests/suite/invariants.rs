//! What must hold after everything; the statements are the product's own (`sidetone check --ledger`).

use crate::db::Db;

/// Fails with what is broken.
pub(crate) async fn hold(db: &Db) {
    hold_at(db, control_api::now_ms()).await;
}

/// The same at another time, for tests that live in a time of their own.
pub(crate) async fn hold_at(db: &Db, now_ms: i64) {
    let broken = db.store.check_invariants(now_ms).await.unwrap();
    assert!(broken.is_empty(), "{broken:#?}");
}
