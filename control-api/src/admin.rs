//! What the operator does from a shell, with the database and without the API: keys, passwords, operators, backups.

use std::{
    fs,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    process::Stdio,
};

use domain::{ApiKeyId, TenantId};
use serde_json::json;
use sqlx::{AnyConnection, Row as _};

use crate::{
    audit,
    auth::{
        password,
        sessions::{self, Which},
        users,
    },
    http::Actor,
    scope::{Role, Scopes},
    seal,
    store::{
        Store,
        keys::{self, FASTEST, KeyRow},
    },
    time::now_ms,
};

/// Why a command did nothing.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// The store does not answer as it should.
    #[error("store: {0}")]
    Store(#[from] sqlx::Error),
    /// Nobody has that address.
    #[error("there is no user with the address {0:?}")]
    NoUser(String),
    /// No tenant has that slug.
    #[error("there is no tenant with the slug {0:?}; GET /api/v1/tenants lists them")]
    NoTenant(String),
    /// The password will not do.
    #[error("{0}")]
    Password(&'static str),
    /// The password could not be hashed.
    #[error("the password could not be hashed")]
    Hash,
    /// The backup's file cannot be made.
    #[error("{}: {source}", path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// `pg_dump` is missing or refused.
    #[error("pg_dump: {0}")]
    Dump(String),
}

impl Store {
    /// Makes a key with an owner's scopes and the platform's, in the tenant of that slug. It is shown once and nowhere stored in clear.
    ///
    /// # Errors
    /// There is no such tenant, or the store does not answer.
    pub async fn admin_key(&self, slug: &str, name: &str) -> Result<String, AdminError> {
        let mut tx = self.begin().await?;
        let tenant = tenant_of(&mut tx, slug).await?;
        let key = seal::fresh_key("live");
        let row = KeyRow {
            id: ApiKeyId(uuid::Uuid::now_v7()),
            name: name.chars().filter(|c| !c.is_control()).take(64).collect(),
            kind: "live".into(),
            prefix: key.chars().take(16).collect(),
            scopes: (Scopes::of(Role::Owner) | Scopes::platform()).names().into_iter().map(str::to_owned).collect(),
            agent_ids: None,
            origins: None,
            allowed_ips: None,
            rate_per_min: FASTEST,
            created_by: None,
            created_at: now_ms(),
            last_used_at: None,
            expires_at: None,
            revoked_at: None,
        };
        keys::insert(&mut tx, tenant, &row, &seal::sha256_hex(key.as_bytes())).await?;
        let made = json!({ "name": row.name, "prefix": row.prefix });
        let shell = Actor::system("shell", tenant);
        audit::note(&mut tx, &shell, "key.create", "api_key", &row.id.to_string(), Some(&made)).await?;
        tx.commit().await?;
        Ok(key)
    }

    /// Gives a user a password. Their sessions end.
    ///
    /// # Errors
    /// There is no such user, the password is too easy, or the store does not answer.
    pub async fn admin_password(&self, email: &str, new: String) -> Result<(), AdminError> {
        if let Some(fault) = password::fault(&new, email) {
            return Err(AdminError::Password(fault));
        }
        let hash = password::hash(new).await.map_err(|_| AdminError::Hash)?;
        let mut tx = self.begin().await?;
        let (user, shell) = user_of(&mut tx, email).await?;
        users::set_password(&mut tx, &user, Some(hash)).await?;
        sessions::revoke(&mut tx, &user, Which::All).await?;
        audit::note(&mut tx, &shell, "user.password", "user", &user, None).await?;
        Ok(tx.commit().await?)
    }

    /// Makes a user an operator of the platform, or takes it from them.
    ///
    /// # Errors
    /// There is no such user, or the store does not answer.
    pub async fn admin_operator(&self, email: &str, is: bool) -> Result<(), AdminError> {
        let mut tx = self.begin().await?;
        let (user, shell) = user_of(&mut tx, email).await?;
        users::set_platform_admin(&mut tx, &user, is).await?;
        let diff = json!({ "is_platform_admin": is });
        audit::note(&mut tx, &shell, "user.operator", "user", &user, Some(&diff)).await?;
        Ok(tx.commit().await?)
    }

    /// Writes a whole and consistent copy of the database to a new file that only its owner reads, while calls go on: SQLite by
    /// `VACUUM INTO`, PostgreSQL by `pg_dump` in its custom format. `url` is the one that the store was opened with.
    ///
    /// # Errors
    /// The file exists or cannot be made, `pg_dump` is missing or refuses, or the store does not answer.
    pub async fn backup(&self, url: &str, path: &Path) -> Result<(), AdminError> {
        let file = |source| AdminError::File { path: path.to_owned(), source };
        fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(file)?;
        let done = match url.strip_prefix("sqlite:") {
            Some(_) => self.vacuum_into(path).await,
            None => dump(url, path).await,
        };
        if done.is_err() {
            // Half a backup is worse than none; what is wrong is said already.
            let _ = fs::remove_file(path);
        }
        done
    }

    async fn vacuum_into(&self, path: &Path) -> Result<(), AdminError> {
        let path = path.to_str().ok_or_else(|| AdminError::Dump("the path is not UTF-8".into()))?;
        sqlx::query("VACUUM INTO $1").bind(path.to_owned()).execute(self.writers()).await?;
        Ok(())
    }
}

async fn tenant_of(db: &mut AnyConnection, slug: &str) -> Result<TenantId, AdminError> {
    let row = sqlx::query("SELECT id FROM tenants WHERE slug = $1 AND status = 'active'")
        .bind(slug.to_owned())
        .fetch_optional(db)
        .await?
        .ok_or_else(|| AdminError::NoTenant(slug.to_owned()))?;
    Ok(row.try_get::<String, _>(0)?.parse().map_err(|_| sqlx::Error::Decode("tenant id is no uuid".into()))?)
}

/// A user, and the shell as who acts in the tenant `default`.
async fn user_of(db: &mut AnyConnection, email: &str) -> Result<(String, Actor), AdminError> {
    let tenant = tenant_of(db, "default").await?;
    let user = users::by_email(db, email).await?.ok_or_else(|| AdminError::NoUser(email.to_owned()))?;
    Ok((user.id, Actor::system("shell", tenant)))
}

/// The password goes by the environment: everybody on the machine sees a command line.
async fn dump(url: &str, path: &Path) -> Result<(), AdminError> {
    let url = reqwest::Url::parse(url).map_err(|error| AdminError::Dump(format!("store.url: {error}")))?;
    let mut command = tokio::process::Command::new("pg_dump");
    command.args(["--format=custom", "--no-password", "--file"]).arg(path);
    for (name, value) in pg_environment(&url) {
        command.env(name, value);
    }
    let output = command.stdin(Stdio::null()).output().await;
    let output = output.map_err(|error| AdminError::Dump(format!("{error}; is PostgreSQL's client installed?")))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(AdminError::Dump(said.trim().lines().next_back().unwrap_or("it failed without a word").to_owned()))
}

/// A URL as libpq's environment.
fn pg_environment(url: &reqwest::Url) -> Vec<(&'static str, String)> {
    let plain = |text: &str| {
        // The parser of a query string is the one that unescapes; `+` means itself in the other parts of a URL.
        let escaped = format!("http://x/?v={}", text.replace('+', "%2B"));
        let parsed = reqwest::Url::parse(&escaped).ok();
        parsed.and_then(|url| url.query_pairs().next().map(|(_, value)| value.into_owned())).unwrap_or_default()
    };
    let mut environment = vec![("PGDATABASE", plain(url.path().trim_start_matches('/')))];
    environment.extend(url.host_str().map(|host| ("PGHOST", plain(host.trim_matches(['[', ']'])))));
    environment.extend(url.port().map(|port| ("PGPORT", port.to_string())));
    environment.extend(Some(("PGUSER", plain(url.username()))).filter(|(_, user)| !user.is_empty()));
    environment.extend(url.password().map(|password| ("PGPASSWORD", plain(password))));
    for (name, value) in url.query_pairs() {
        let name = match &*name {
            "host" => "PGHOST",
            "port" => "PGPORT",
            "user" => "PGUSER",
            "password" => "PGPASSWORD",
            "dbname" => "PGDATABASE",
            "sslmode" => "PGSSLMODE",
            "sslrootcert" => "PGSSLROOTCERT",
            _ => continue,
        };
        environment.push((name, value.into_owned()));
    }
    environment
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_told_to_libpq_without_a_command_line() {
        let url = reqwest::Url::parse("postgres://janet:p%40ss+1@[::1]:5433/side%20tone?sslmode=require&x=y").unwrap();
        let expected = [
            ("PGDATABASE", "side tone"),
            ("PGHOST", "::1"),
            ("PGPORT", "5433"),
            ("PGUSER", "janet"),
            ("PGPASSWORD", "p@ss+1"),
            ("PGSSLMODE", "require"),
        ];
        assert_eq!(pg_environment(&url), expected.map(|(name, value)| (name, value.to_owned())));
        let socket = reqwest::Url::parse("postgres:///sidetone?host=/run/postgresql").unwrap();
        assert!(pg_environment(&socket).contains(&("PGHOST", "/run/postgresql".to_owned())));
    }
}
