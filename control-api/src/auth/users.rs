//! Users: one row per e-mail address, whatever its letters' case.

use serde::Serialize;
use sqlx::{AnyConnection, AssertSqlSafe, Row as _, any::AnyRow};
use utoipa::ToSchema;

use crate::{
    store::{fresh_id, storable},
    time::{now_ms, rfc3339},
};

/// A user as it is stored.
#[derive(Clone, Debug)]
pub(crate) struct UserRow {
    pub(crate) id: String,
    pub(crate) email: String,
    pub(crate) password_hash: Option<String>,
    pub(crate) name: String,
    pub(crate) avatar_url: Option<String>,
    pub(crate) is_platform_admin: bool,
    pub(crate) email_verified_at: Option<i64>,
    pub(crate) blocked_at: Option<i64>,
    pub(crate) version: i64,
    pub(crate) created_at: i64,
}

/// A user as clients see it.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct User {
    pub(crate) id: String,
    pub(crate) email: String,
    pub(crate) name: String,
    pub(crate) avatar_url: Option<String>,
    pub(crate) email_verified: bool,
    pub(crate) is_platform_admin: bool,
    pub(crate) blocked: bool,
    pub(crate) version: i64,
    pub(crate) created_at: String,
}

impl From<UserRow> for User {
    fn from(row: UserRow) -> Self {
        Self {
            id: row.id,
            email: row.email,
            name: row.name,
            avatar_url: row.avatar_url,
            email_verified: row.email_verified_at.is_some(),
            is_platform_admin: row.is_platform_admin,
            blocked: row.blocked_at.is_some(),
            version: row.version,
            created_at: rfc3339(row.created_at),
        }
    }
}

const SELECT: &str =
    "SELECT id, email, password_hash, name, avatar_url, is_platform_admin, email_verified_at, blocked_at,
    version, created_at FROM users WHERE deleted_at IS NULL AND";

fn read(row: &AnyRow) -> Result<UserRow, sqlx::Error> {
    Ok(UserRow {
        id: row.try_get("id")?,
        email: row.try_get("email")?,
        password_hash: row.try_get("password_hash")?,
        name: row.try_get("name")?,
        avatar_url: row.try_get("avatar_url")?,
        is_platform_admin: row.try_get::<i64, _>("is_platform_admin")? != 0,
        email_verified_at: row.try_get("email_verified_at")?,
        blocked_at: row.try_get("blocked_at")?,
        version: row.try_get("version")?,
        created_at: row.try_get("created_at")?,
    })
}

/// What an address is compared by.
pub(crate) fn email_key(email: &str) -> String {
    email.trim().to_lowercase()
}

/// Whether a text can be an address: one `@` with something on both sides, no spaces, 3 to 254 characters. Whether mail reaches it, mail
/// itself finds out.
pub(crate) fn is_email(email: &str) -> bool {
    let sides = email.split_once('@').filter(|(local, domain)| !local.is_empty() && !domain.is_empty());
    sides.is_some_and(|(local, domain)| {
        local.len() <= 64 && !domain.contains('@') && !domain.starts_with('.') && !domain.ends_with('.')
    }) && (3..=254).contains(&email.len())
        && !email
            .chars()
            .any(|c| c.is_whitespace() || c.is_control() || matches!(c, '<' | '>' | '"' | ',' | ';' | '\\'))
}

pub(crate) async fn by_email(db: &mut AnyConnection, email: &str) -> Result<Option<UserRow>, sqlx::Error> {
    let row = sqlx::query(AssertSqlSafe(format!("{SELECT} email_key = $1")))
        .bind(storable(&email_key(email)))
        .fetch_optional(db)
        .await?;
    row.as_ref().map(read).transpose()
}

pub(crate) async fn by_id(db: &mut AnyConnection, id: &str) -> Result<Option<UserRow>, sqlx::Error> {
    let row = sqlx::query(AssertSqlSafe(format!("{SELECT} id = $1"))).bind(id.to_owned()).fetch_optional(db).await?;
    row.as_ref().map(read).transpose()
}

/// A user to be made.
#[derive(Debug)]
pub(crate) struct NewUser<'a> {
    pub(crate) email: &'a str,
    pub(crate) name: &'a str,
    pub(crate) password_hash: Option<String>,
    pub(crate) is_platform_admin: bool,
    pub(crate) email_verified: bool,
}

/// Makes a user; none if the address is taken.
pub(crate) async fn create(db: &mut AnyConnection, new: NewUser<'_>) -> Result<Option<UserRow>, sqlx::Error> {
    let (id, now) = (fresh_id(), now_ms());
    let made = sqlx::query(
        "INSERT INTO users (id, email, email_key, password_hash, name, is_platform_admin, email_verified_at, created_at, updated_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $8) ON CONFLICT (email_key) DO NOTHING",
    )
    .bind(&id)
    .bind(new.email.trim().to_owned())
    .bind(email_key(new.email))
    .bind(new.password_hash)
    .bind(storable(new.name))
    .bind(i64::from(new.is_platform_admin))
    .bind(new.email_verified.then_some(now))
    .bind(now)
    .execute(&mut *db)
    .await?;
    if made.rows_affected() == 0 { Ok(None) } else { by_id(db, &id).await }
}

/// Sets a password, or takes it away.
pub(crate) async fn set_password(db: &mut AnyConnection, user: &str, hash: Option<String>) -> Result<(), sqlx::Error> {
    sqlx::query("UPDATE users SET password_hash = $1, version = version + 1, updated_at = $2 WHERE id = $3")
        .bind(hash)
        .bind(now_ms())
        .bind(user.to_owned())
        .execute(db)
        .await
        .map(drop)
}

/// Changes the address, which is then unproven; false if it is taken.
pub(crate) async fn set_email(db: &mut AnyConnection, user: &str, email: &str) -> Result<bool, sqlx::Error> {
    // Looked at first: in PostgreSQL a statement that fails takes its transaction along.
    let done = sqlx::query(
        "UPDATE users SET email = $1, email_key = $2, email_verified_at = NULL, version = version + 1, updated_at = $3
         WHERE id = $4 AND NOT EXISTS (SELECT 1 FROM users o WHERE o.email_key = $2 AND o.id <> $4)",
    )
    .bind(storable(email.trim()))
    .bind(storable(&email_key(email)))
    .bind(now_ms())
    .bind(user.to_owned())
    .execute(db)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Changes what others see of a user; false if somebody was faster.
pub(crate) async fn update(
    db: &mut AnyConnection,
    user: &str,
    version: i64,
    name: &str,
    avatar_url: Option<&str>,
) -> Result<bool, sqlx::Error> {
    let done = sqlx::query(
        "UPDATE users SET name = $1, avatar_url = $2, version = version + 1, updated_at = $3 WHERE id = $4 AND version = $5
           AND deleted_at IS NULL",
    )
    .bind(storable(name))
    .bind(avatar_url.map(storable))
    .bind(now_ms())
    .bind(user.to_owned())
    .bind(version)
    .execute(db)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Blocks a user, or lifts it. A block that stands keeps its date.
pub(crate) async fn set_blocked(db: &mut AnyConnection, user: &str, blocked: bool) -> Result<(), sqlx::Error> {
    let sql = if blocked {
        "UPDATE users SET blocked_at = $1, version = version + 1, updated_at = $1 WHERE id = $2 AND blocked_at IS NULL"
    } else {
        "UPDATE users SET blocked_at = NULL, version = version + 1, updated_at = $1 WHERE id = $2 AND blocked_at IS NOT NULL"
    };
    sqlx::query(sql).bind(now_ms()).bind(user.to_owned()).execute(db).await.map(drop)
}

/// Makes or unmakes an operator of the platform.
pub(crate) async fn set_platform_admin(db: &mut AnyConnection, user: &str, is: bool) -> Result<(), sqlx::Error> {
    sqlx::query("UPDATE users SET is_platform_admin = $1, version = version + 1, updated_at = $2 WHERE id = $3")
        .bind(i64::from(is))
        .bind(now_ms())
        .bind(user.to_owned())
        .execute(db)
        .await
        .map(drop)
}

/// Takes everything personal away; the id stays, for the audit log.
pub(crate) async fn forget(db: &mut AnyConnection, user: &str) -> Result<(), sqlx::Error> {
    for sql in [
        "UPDATE users SET email = '', email_key = id, name = '', avatar_url = NULL, password_hash = NULL, email_verified_at = NULL,
           is_platform_admin = 0, version = version + 1, updated_at = $1, deleted_at = $1 WHERE id = $2",
        "UPDATE sessions SET ip = NULL, user_agent = NULL, revoked_at = COALESCE(revoked_at, $1) WHERE user_id = $2",
        "DELETE FROM oauth_identities WHERE $1 > 0 AND user_id = $2",
        "DELETE FROM one_time_tokens WHERE $1 > 0 AND user_id = $2",
        "DELETE FROM memberships WHERE $1 > 0 AND user_id = $2",
    ] {
        sqlx::query(sql).bind(now_ms()).bind(user.to_owned()).execute(&mut *db).await?;
    }
    Ok(())
}

/// Notes that the address is the user's own.
pub(crate) async fn set_verified(db: &mut AnyConnection, user: &str) -> Result<(), sqlx::Error> {
    sqlx::query(
        "UPDATE users SET email_verified_at = $1, version = version + 1, updated_at = $1 WHERE id = $2 AND email_verified_at IS NULL",
    )
    .bind(now_ms())
    .bind(user.to_owned())
    .execute(db)
    .await
    .map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_have_two_sides_and_nothing_that_ends_a_header() {
        for good in ["a@b", "owner@localhost", "Janet.Smith+x@mail.example.com", "用户@例子.中国"] {
            assert!(is_email(good), "{good}");
        }
        for bad in [
            "",
            "a",
            "a@",
            "@b",
            "a@b@c",
            "a b@c",
            "a@b\r\nBcc: x@y",
            "<a@b>",
            "a@.b",
            &format!("{}@b", "x".repeat(65)),
        ] {
            assert!(!is_email(bad), "{bad}");
        }
        assert_eq!(email_key(" Janet@Example.COM "), "janet@example.com");
    }
}
