//! Invitations: a role in a tenant, offered to an e-mail address for seven days.

use serde::Serialize;
use sqlx::{AnyConnection, Row as _, any::AnyRow};
use utoipa::ToSchema;

use crate::{
    auth::users::email_key,
    scope::Role,
    seal,
    store::storable,
    time::{now_ms, rfc3339},
};

/// How long an invitation is good, ms.
pub(crate) const LIVES_MS: i64 = 7 * 24 * 3_600_000;
/// Open ones of a tenant at most.
pub(crate) const OPEN: i64 = 100;

/// An invitation as clients see it.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct Invitation {
    pub(crate) id: String,
    pub(crate) email: String,
    pub(crate) role: Role,
    pub(crate) expires_at: String,
    pub(crate) created_at: String,
    /// The link, in the answer that makes it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) accept_url: Option<String>,
}

/// Open invitations, as a list wants them.
pub(crate) const SELECT: &str = "SELECT i.id, i.email_key, i.role, i.expires_at, i.created_at FROM invitations i
    WHERE i.accepted_at IS NULL AND i.revoked_at IS NULL";

pub(crate) fn read(row: &AnyRow) -> Result<Invitation, sqlx::Error> {
    Ok(Invitation {
        id: row.try_get("id")?,
        email: row.try_get("email_key")?,
        role: role(row)?,
        expires_at: rfc3339(row.try_get("expires_at")?),
        created_at: rfc3339(row.try_get("created_at")?),
        accept_url: None,
    })
}

fn role(row: &AnyRow) -> Result<Role, sqlx::Error> {
    row.try_get::<String, _>("role")?.parse().map_err(|()| sqlx::Error::Decode("unknown role".into()))
}

/// An invitation that somebody holds the token of.
#[derive(Debug)]
pub(crate) struct Offer {
    pub(crate) id: String,
    pub(crate) tenant: String,
    pub(crate) email_key: String,
    pub(crate) role: Role,
    pub(crate) is_open: bool,
}

/// The invitation of a token.
pub(crate) async fn by_token(db: &mut AnyConnection, token: &str) -> Result<Option<Offer>, sqlx::Error> {
    let row = sqlx::query(
        "SELECT i.id, i.tenant_id, i.email_key, i.role, i.expires_at, i.accepted_at, i.revoked_at
         FROM invitations i JOIN tenants t ON t.id = i.tenant_id WHERE i.token_hash = $1 AND t.status = 'active'",
    )
    .bind(seal::sha256_hex(token.as_bytes()))
    .fetch_optional(db)
    .await?;
    row.map(|row| {
        let closed = row.try_get::<Option<i64>, _>("accepted_at")?.or(row.try_get::<Option<i64>, _>("revoked_at")?);
        Ok(Offer {
            id: row.try_get("id")?,
            tenant: row.try_get("tenant_id")?,
            email_key: row.try_get("email_key")?,
            role: role(&row)?,
            is_open: closed.is_none() && row.try_get::<i64, _>("expires_at")? > now_ms(),
        })
    })
    .transpose()
}

/// Closes an offer by taking it; false if somebody was faster.
pub(crate) async fn take(db: &mut AnyConnection, offer: &Offer) -> Result<bool, sqlx::Error> {
    let taken = sqlx::query(
        "UPDATE invitations SET accepted_at = $1 WHERE id = $2 AND accepted_at IS NULL AND revoked_at IS NULL",
    )
    .bind(now_ms())
    .bind(offer.id.clone())
    .execute(db)
    .await?;
    Ok(taken.rows_affected() == 1)
}

/// Closes what has expired, so that the address can be invited again.
pub(crate) async fn close_expired(db: &mut AnyConnection, tenant: &str) -> Result<(), sqlx::Error> {
    sqlx::query(
        "UPDATE invitations SET revoked_at = $1 WHERE tenant_id = $2 AND accepted_at IS NULL AND revoked_at IS NULL AND expires_at <= $1",
    )
    .bind(now_ms())
    .bind(tenant.to_owned())
    .execute(db)
    .await
    .map(drop)
}

/// How many are open.
pub(crate) async fn open(db: &mut AnyConnection, tenant: &str) -> Result<i64, sqlx::Error> {
    sqlx::query("SELECT COUNT(*) FROM invitations WHERE tenant_id = $1 AND accepted_at IS NULL AND revoked_at IS NULL")
        .bind(tenant.to_owned())
        .fetch_one(db)
        .await?
        .try_get(0)
}

/// Makes an invitation; false if the address has an open one.
pub(crate) async fn create(
    db: &mut AnyConnection,
    id: &str,
    tenant: &str,
    email: &str,
    role: Role,
    token: &str,
    by: &str,
) -> Result<bool, sqlx::Error> {
    let now = now_ms();
    let made = sqlx::query(
        "INSERT INTO invitations (id, tenant_id, email_key, role, token_hash, invited_by, expires_at, created_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT DO NOTHING",
    )
    .bind(id.to_owned())
    .bind(tenant.to_owned())
    .bind(storable(&email_key(email)))
    .bind(role.as_str())
    .bind(seal::sha256_hex(token.as_bytes()))
    .bind(by.to_owned())
    .bind(now + LIVES_MS)
    .bind(now)
    .execute(db)
    .await?;
    Ok(made.rows_affected() == 1)
}

/// Takes an open one back; false if there is none.
pub(crate) async fn revoke(db: &mut AnyConnection, tenant: &str, id: &str) -> Result<bool, sqlx::Error> {
    let done = sqlx::query(
        "UPDATE invitations SET revoked_at = $1 WHERE tenant_id = $2 AND id = $3 AND accepted_at IS NULL AND revoked_at IS NULL",
    )
    .bind(now_ms())
    .bind(tenant.to_owned())
    .bind(id.to_owned())
    .execute(db)
    .await?;
    Ok(done.rows_affected() == 1)
}
