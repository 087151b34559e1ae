//! Memberships: who belongs to a tenant, in which role. A tenant always has an owner who can act (invariant T2).

use serde::Serialize;
use sqlx::{AnyConnection, Row as _, any::AnyRow};
use utoipa::ToSchema;

use crate::{
    http::ApiError,
    scope::Role,
    time::{now_ms, rfc3339},
};

/// A member as clients see it.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct Member {
    pub(crate) user_id: String,
    pub(crate) email: String,
    pub(crate) name: String,
    pub(crate) role: Role,
    pub(crate) blocked: bool,
    pub(crate) joined_at: String,
}

/// The selection of members, as a list wants it: an `m` with `id` and `created_at` among its columns.
pub(crate) const SELECT: &str = "SELECT * FROM (
    SELECT p.tenant_id, p.user_id AS id, u.email, u.name, p.role, p.blocked_at, p.created_at
    FROM memberships p JOIN users u ON u.id = p.user_id WHERE u.deleted_at IS NULL) m WHERE 1 = 1";

pub(crate) fn read(row: &AnyRow) -> Result<Member, sqlx::Error> {
    Ok(Member {
        user_id: row.try_get("id")?,
        email: row.try_get("email")?,
        name: row.try_get("name")?,
        role: role(&row.try_get::<String, _>("role")?)?,
        blocked: row.try_get::<Option<i64>, _>("blocked_at")?.is_some(),
        joined_at: rfc3339(row.try_get("created_at")?),
    })
}

fn role(word: &str) -> Result<Role, sqlx::Error> {
    word.parse().map_err(|()| sqlx::Error::Decode("unknown role".into()))
}

/// One member.
pub(crate) async fn get(db: &mut AnyConnection, tenant: &str, user: &str) -> Result<Option<Member>, sqlx::Error> {
    let row = sqlx::query(
        "SELECT m.user_id AS id, u.email, u.name, m.role, m.blocked_at, m.created_at
         FROM memberships m JOIN users u ON u.id = m.user_id
         WHERE u.deleted_at IS NULL AND m.tenant_id = $1 AND m.user_id = $2",
    )
    .bind(tenant.to_owned())
    .bind(user.to_owned())
    .fetch_optional(db)
    .await?;
    row.as_ref().map(read).transpose()
}

/// Makes a user a member; false if it is one.
pub(crate) async fn add(db: &mut AnyConnection, tenant: &str, user: &str, role: Role) -> Result<bool, sqlx::Error> {
    let made = sqlx::query(
        "INSERT INTO memberships (tenant_id, user_id, role, created_at) VALUES ($1, $2, $3, $4)
         ON CONFLICT (tenant_id, user_id) DO NOTHING",
    )
    .bind(tenant.to_owned())
    .bind(user.to_owned())
    .bind(role.as_str())
    .bind(now_ms())
    .execute(db)
    .await?;
    Ok(made.rows_affected() == 1)
}

/// A tenant that a user can work in.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct Place {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) role: Role,
}

/// Where a user can work, oldest membership first.
pub(crate) async fn places(db: &mut AnyConnection, user: &str) -> Result<Vec<Place>, sqlx::Error> {
    let rows = sqlx::query(
        "SELECT t.id, t.name, m.role FROM memberships m JOIN tenants t ON t.id = m.tenant_id
         WHERE m.user_id = $1 AND m.blocked_at IS NULL AND t.status = 'active' ORDER BY m.created_at, t.id",
    )
    .bind(user.to_owned())
    .fetch_all(db)
    .await?;
    rows.iter()
        .map(|row| Ok(Place { id: row.try_get(0)?, name: row.try_get(1)?, role: role(&row.try_get::<String, _>(2)?)? }))
        .collect()
}

/// The tenants that a user belongs to, in the order in which they are locked.
pub(crate) async fn tenants_of(db: &mut AnyConnection, user: &str) -> Result<Vec<String>, sqlx::Error> {
    let rows = sqlx::query("SELECT tenant_id FROM memberships WHERE user_id = $1 ORDER BY tenant_id")
        .bind(user.to_owned())
        .fetch_all(db)
        .await?;
    rows.iter().map(|row| row.try_get(0)).collect()
}

/// Writes a member's role and whether they may work here. A block that stands keeps its date.
pub(crate) async fn set(
    db: &mut AnyConnection,
    tenant: &str,
    user: &str,
    role: Role,
    blocked: bool,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "UPDATE memberships SET role = $1, blocked_at = CASE WHEN $2 = 0 THEN NULL ELSE COALESCE(blocked_at, $3) END
         WHERE tenant_id = $4 AND user_id = $5",
    )
    .bind(role.as_str())
    .bind(i64::from(blocked))
    .bind(now_ms())
    .bind(tenant.to_owned())
    .bind(user.to_owned())
    .execute(db)
    .await
    .map(drop)
}

/// Ends a membership; false if there is none.
pub(crate) async fn remove(db: &mut AnyConnection, tenant: &str, user: &str) -> Result<bool, sqlx::Error> {
    let gone = sqlx::query("DELETE FROM memberships WHERE tenant_id = $1 AND user_id = $2")
        .bind(tenant.to_owned())
        .bind(user.to_owned())
        .execute(db)
        .await?;
    Ok(gone.rows_affected() == 1)
}

/// Tenants, of those that are alive, in which the user is the only owner who can act.
pub(crate) async fn owned_alone(db: &mut AnyConnection, user: &str) -> Result<Vec<Place>, sqlx::Error> {
    let rows = sqlx::query(
        "SELECT t.id, t.name, m.role FROM memberships m JOIN tenants t ON t.id = m.tenant_id
         WHERE m.user_id = $1 AND m.role = 'owner' AND t.status = 'active' AND NOT EXISTS (
           SELECT 1 FROM memberships o JOIN users u ON u.id = o.user_id
           WHERE o.tenant_id = m.tenant_id AND o.user_id <> m.user_id AND o.role = 'owner' AND o.blocked_at IS NULL
             AND u.deleted_at IS NULL)
         ORDER BY t.id",
    )
    .bind(user.to_owned())
    .fetch_all(db)
    .await?;
    rows.iter()
        .map(|row| Ok(Place { id: row.try_get(0)?, name: row.try_get(1)?, role: role(&row.try_get::<String, _>(2)?)? }))
        .collect()
}

/// Changes of one tenant's owners take turns: the row of the tenant is touched first. `FOR UPDATE` has no portable spelling.
pub(crate) async fn in_turn(db: &mut AnyConnection, tenant: &str) -> Result<(), sqlx::Error> {
    sqlx::query("UPDATE tenants SET updated_at = updated_at WHERE id = $1")
        .bind(tenant.to_owned())
        .execute(db)
        .await
        .map(drop)
}

/// 409 unless a change leaves an owner; call it after the change, in its transaction.
pub(crate) async fn still_owned(db: &mut AnyConnection, tenant: &str) -> Result<(), ApiError> {
    let owners: i64 = sqlx::query(
        "SELECT COUNT(*) FROM memberships m JOIN users u ON u.id = m.user_id
         WHERE m.tenant_id = $1 AND m.role = 'owner' AND m.blocked_at IS NULL AND u.deleted_at IS NULL",
    )
    .bind(tenant.to_owned())
    .fetch_one(db)
    .await?
    .try_get(0)?;
    if owners > 0 { Ok(()) } else { Err(ApiError::conflict("last_owner", "the tenant would be left without an owner")) }
}
