//! Keys of tenants for vendors: sealed under the node's key, shown by their last four characters, opened for a call.

use std::collections::BTreeMap;

use domain::{AgentSpec, TenantId};
use serde_json::Value;
use sqlx::{AnyConnection, Row as _, any::AnyRow};

use crate::{
    NodeKey, SealError, Store, seal,
    store::{
        page::{Bound, Page},
        storable,
    },
    time::now_ms,
};

/// A credential without its secret.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) id: String,
    pub(crate) provider: String,
    pub(crate) name: String,
    /// The last characters of the secret.
    pub(crate) hint: String,
    pub(crate) base_url: Option<String>,
    pub(crate) version: i64,
    pub(crate) created_at: i64,
    pub(crate) updated_at: i64,
}

/// A credential, opened for a call.
#[derive(Clone)]
pub struct Opened {
    /// The vendor's key.
    pub secret: String,
    /// Where the vendor is, if not at its usual place.
    pub base_url: Option<String>,
}

/// Why credentials cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CredentialError {
    /// The store does not answer.
    #[error("store: {0}")]
    Sql(#[from] sqlx::Error),
    /// Sealed by another key.
    #[error("{0}")]
    Seal(#[from] SealError),
}

const TABLE: &str = "credentials";
const COLUMN: &str = "sealed";
const SELECT: &str =
    "SELECT c.id, c.provider, c.name, c.hint, c.base_url, c.version, c.created_at, c.updated_at FROM credentials c";

/// What tells keys apart without telling the key: short ones tell nothing.
pub(crate) fn hint(secret: &str) -> String {
    let letters: Vec<char> = secret.chars().collect();
    if letters.len() < 12 {
        "…".to_owned()
    } else {
        format!("…{}", letters[letters.len() - 4..].iter().collect::<String>())
    }
}

/// Stores a credential; false when the tenant has one of this provider and name already.
pub(crate) async fn create(
    tx: &mut AnyConnection,
    key: &NodeKey,
    tenant: TenantId,
    row: &Row,
    secret: &str,
) -> Result<bool, CredentialError> {
    let sealed = seal::seal(key, (TABLE, &row.id, COLUMN), secret.as_bytes())?;
    let made = sqlx::query(
        "INSERT INTO credentials (id, tenant_id, provider, name, sealed, hint, base_url, created_at, updated_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT (tenant_id, provider, name) DO NOTHING",
    )
    .bind(&row.id)
    .bind(tenant.to_string())
    .bind(&row.provider)
    .bind(storable(&row.name))
    .bind(sealed)
    .bind(&row.hint)
    .bind(row.base_url.as_deref())
    .bind(row.created_at)
    .bind(row.updated_at)
    .execute(tx)
    .await?;
    Ok(made.rows_affected() == 1)
}

/// Changes name and place and, if there is a new one, the secret. False if it is no longer at its version.
pub(crate) async fn change(
    tx: &mut AnyConnection,
    key: &NodeKey,
    tenant: TenantId,
    row: &Row,
    secret: Option<&str>,
) -> Result<bool, CredentialError> {
    let sealed = secret.map(|secret| seal::seal(key, (TABLE, &row.id, COLUMN), secret.as_bytes())).transpose()?;
    let moved = sqlx::query(
        "UPDATE credentials SET name = $1, base_url = $2, hint = $3, sealed = COALESCE($4, sealed), version = version + 1, updated_at = $5
         WHERE id = $6 AND tenant_id = $7 AND version = $8",
    )
    .bind(storable(&row.name))
    .bind(row.base_url.as_deref())
    .bind(&row.hint)
    .bind(sealed)
    .bind(now_ms())
    .bind(&row.id)
    .bind(tenant.to_string())
    .bind(row.version)
    .execute(tx)
    .await?;
    Ok(moved.rows_affected() == 1)
}

/// Takes a credential away.
pub(crate) async fn delete(tx: &mut AnyConnection, tenant: TenantId, id: &str) -> Result<(), sqlx::Error> {
    sqlx::query("DELETE FROM credentials WHERE id = $1 AND tenant_id = $2")
        .bind(id)
        .bind(tenant.to_string())
        .execute(tx)
        .await
        .map(drop)
}

/// Agents whose newest version names a credential, as id and name.
pub(crate) async fn users(
    tx: &mut AnyConnection,
    tenant: TenantId,
    id: &str,
) -> Result<Vec<(String, String)>, sqlx::Error> {
    let rows = sqlx::query(
        "SELECT id, name FROM agents WHERE tenant_id = $1 AND deleted_at IS NULL AND config LIKE $2 ORDER BY created_at, id LIMIT 20",
    )
    .bind(tenant.to_string())
    .bind(format!("%\"{id}\"%"))
    .fetch_all(tx)
    .await?;
    rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?))).collect()
}

/// Every credential that a document names, wherever it stands.
pub(crate) fn named(agent: &AgentSpec) -> Vec<String> {
    fn walk(value: &Value, found: &mut Vec<String>) {
        match value {
            Value::Object(map) => {
                for (key, value) in map {
                    match (key.as_str(), value) {
                        ("credential_id" | "secret_ref", Value::String(id)) => found.push(id.clone()),
                        _ => walk(value, found),
                    }
                }
            }
            Value::Array(list) => list.iter().for_each(|value| walk(value, found)),
            _ => {}
        }
    }
    let mut found = Vec::new();
    walk(&agent.document(), &mut found);
    found.sort_unstable();
    found.dedup();
    found
}

impl Store {
    /// One credential of a tenant.
    pub(crate) async fn credential(&self, tenant: TenantId, id: &str) -> Result<Option<Row>, sqlx::Error> {
        let conditions = vec![
            ("c.tenant_id = {}".to_owned(), Bound::Text(tenant.to_string())),
            ("c.id = {}".to_owned(), Bound::Text(id.to_owned())),
        ];
        let page = Page { after: None, limit: 1, ascending: true, created_after: None, created_before: None };
        let (sql, values) = page.finish(format!("{SELECT} WHERE 1 = 1"), "c", conditions);
        self.fetch(sql, values).await?.first().map(read).transpose()
    }

    /// A page of a tenant's credentials, one more than asked if there are more.
    pub(crate) async fn credentials(&self, tenant: TenantId, page: &Page) -> Result<Vec<Row>, sqlx::Error> {
        let conditions = vec![("c.tenant_id = {}".to_owned(), Bound::Text(tenant.to_string()))];
        let (sql, values) = page.finish(format!("{SELECT} WHERE 1 = 1"), "c", conditions);
        self.fetch(sql, values).await?.iter().map(read).collect()
    }

    /// The oldest credential that a tenant has for a provider, opened.
    pub(crate) async fn open_credential_of(
        &self,
        key: &NodeKey,
        tenant: TenantId,
        provider: &str,
    ) -> Result<Option<Opened>, CredentialError> {
        let row = sqlx::query(
            "SELECT id, sealed, base_url FROM credentials WHERE tenant_id = $1 AND provider = $2 ORDER BY created_at, id LIMIT 1",
        )
        .bind(tenant.to_string())
        .bind(provider.to_owned())
        .fetch_optional(self.pool())
        .await?;
        let Some(row) = row else { return Ok(None) };
        let (id, sealed): (String, String) = (row.try_get(0)?, row.try_get(1)?);
        let secret =
            String::from_utf8(seal::open(key, (TABLE, &id, COLUMN), &sealed)?).map_err(|_| SealError::Foreign)?;
        Ok(Some(Opened { secret, base_url: row.try_get(2)? }))
    }

    /// The credentials that an agent names, opened. One that is gone is missing: the stage that named it says so.
    ///
    /// # Errors
    /// The store does not answer, or something was sealed by another node's key.
    pub async fn open_credentials(
        &self,
        key: &NodeKey,
        tenant: TenantId,
        agent: &AgentSpec,
    ) -> Result<BTreeMap<String, Opened>, CredentialError> {
        let mut opened = BTreeMap::new();
        for id in named(agent) {
            if let Some(found) = self.open_credential(key, tenant, &id).await? {
                opened.insert(id, found);
            }
        }
        Ok(opened)
    }

    /// One of them.
    pub(crate) async fn open_credential(
        &self,
        key: &NodeKey,
        tenant: TenantId,
        id: &str,
    ) -> Result<Option<Opened>, CredentialError> {
        let row = sqlx::query("SELECT sealed, base_url FROM credentials WHERE id = $1 AND tenant_id = $2")
            .bind(id.to_owned())
            .bind(tenant.to_string())
            .fetch_optional(self.pool())
            .await?;
        let Some(row) = row else { return Ok(None) };
        let secret = seal::open(key, (TABLE, id, COLUMN), &row.try_get::<String, _>(0)?)?;
        let secret = String::from_utf8(secret).map_err(|_| SealError::Foreign)?;
        Ok(Some(Opened { secret, base_url: row.try_get(1)? }))
    }
}

fn read(row: &AnyRow) -> Result<Row, sqlx::Error> {
    Ok(Row {
        id: row.try_get("id")?,
        provider: row.try_get("provider")?,
        name: row.try_get("name")?,
        hint: row.try_get("hint")?,
        base_url: row.try_get("base_url")?,
        version: row.try_get("version")?,
        created_at: row.try_get("created_at")?,
        updated_at: row.try_get("updated_at")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hint_tells_four_characters_of_a_long_key_and_none_of_a_short_one() {
        assert_eq!(hint("sk-0123456789abcd4f2a"), "…4f2a");
        assert_eq!(hint("short"), "…");
    }

    #[test]
    fn credentials_are_found_wherever_an_agent_names_them() {
        let (a, b) = ("0193481e-7a10-7000-8000-0000000000a1", "0193481e-7a10-7000-8000-0000000000b1");
        let agent = AgentSpec::read(&serde_json::json!({"name": "x", "stt": {"credential_id": a, "fallbacks": [{"provider": "y", "credential_id": b}]},
            "llm": {"credential_id": a}})).unwrap();
        assert_eq!(named(&agent), [a, b]);
    }
}
