//! Tokens that work once and not for long: password resets, e-mail proofs, OAuth states and codes, WebSocket tickets.

use serde::{Serialize, de::DeserializeOwned};
use sqlx::{AnyConnection, Row as _};

use crate::{seal, store::json_text, time::now_ms};

/// What a token is for, and how long it is good, ms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    PasswordReset,
    EmailVerify,
    OauthState,
    OauthCode,
    WsTicket,
}

impl Purpose {
    const fn as_str(self) -> &'static str {
        match self {
            Self::PasswordReset => "password_reset",
            Self::EmailVerify => "email_verify",
            Self::OauthState => "oauth_state",
            Self::OauthCode => "oauth_code",
            Self::WsTicket => "ws_ticket",
        }
    }

    /// How long it is good, ms.
    pub(crate) const fn lives_ms(self) -> i64 {
        match self {
            Self::PasswordReset => 30 * 60_000,
            Self::EmailVerify => 24 * 3_600_000,
            Self::OauthState => 10 * 60_000,
            Self::OauthCode | Self::WsTicket => 60_000,
        }
    }

    const fn prefix(self) -> &'static str {
        match self {
            Self::PasswordReset => "pr_",
            Self::EmailVerify => "ev_",
            Self::OauthState => "os_",
            Self::OauthCode => "oc_",
            Self::WsTicket => "wt_",
        }
    }
}

/// Draws a token; only its hash is stored.
pub(crate) async fn issue(
    db: &mut AnyConnection,
    purpose: Purpose,
    user: Option<&str>,
    data: &impl Serialize,
) -> Result<String, sqlx::Error> {
    let token = seal::fresh_token(purpose.prefix());
    sqlx::query(
        "INSERT INTO one_time_tokens (token_hash, kind, user_id, data, expires_at) VALUES ($1, $2, $3, $4, $5)",
    )
    .bind(seal::sha256_hex(token.as_bytes()))
    .bind(purpose.as_str())
    .bind(user.map(str::to_owned))
    .bind(json_text(data))
    .bind(now_ms() + purpose.lives_ms())
    .execute(db)
    .await?;
    Ok(token)
}

/// A token that was used: whose it was, and what it carried.
#[derive(Debug)]
pub(crate) struct Used<D> {
    pub(crate) user: Option<String>,
    pub(crate) data: D,
}

/// Uses a token up; none if it is unknown, used or too old. Of several that try at once, one gets it.
pub(crate) async fn redeem<D: DeserializeOwned>(
    db: &mut AnyConnection,
    purpose: Purpose,
    token: &str,
) -> Result<Option<Used<D>>, sqlx::Error> {
    let now = now_ms();
    let row = sqlx::query(
        "UPDATE one_time_tokens SET used_at = $1 WHERE token_hash = $2 AND kind = $3 AND used_at IS NULL AND expires_at > $1
         RETURNING user_id, data",
    )
    .bind(now)
    .bind(seal::sha256_hex(token.as_bytes()))
    .bind(purpose.as_str())
    .fetch_optional(db)
    .await?;
    let Some(row) = row else { return Ok(None) };
    let data =
        serde_json::from_str(&row.try_get::<String, _>(1)?).map_err(|error| sqlx::Error::Decode(error.into()))?;
    Ok(Some(Used { user: row.try_get(0)?, data }))
}

/// Makes a user's unused tokens of a kind useless, when one of them did its work or a newer one is sent.
pub(crate) async fn void(db: &mut AnyConnection, purpose: Purpose, user: &str) -> Result<(), sqlx::Error> {
    sqlx::query("UPDATE one_time_tokens SET used_at = $1 WHERE user_id = $2 AND kind = $3 AND used_at IS NULL")
        .bind(now_ms())
        .bind(user.to_owned())
        .bind(purpose.as_str())
        .execute(db)
        .await
        .map(drop)
}
