//! Pages by keyset: stable under inserts, never OFFSET.

use sqlx::{Any, AssertSqlSafe, any::AnyRow};

use super::Store;

/// Where a page begins and how long it is.
#[derive(Clone, Debug)]
pub(crate) struct Page {
    /// Sort key and id of the last object of the page before.
    pub(crate) after: Option<(i64, String)>,
    pub(crate) limit: i64,
    pub(crate) ascending: bool,
    /// Created at or after this time, ms.
    pub(crate) created_after: Option<i64>,
    /// Created before this time, ms.
    pub(crate) created_before: Option<i64>,
}

/// A condition of a list: SQL with `{}` for the parameter, and its value.
pub(crate) enum Bound {
    Text(String),
    Number(i64),
}

impl Page {
    /// Finishes a keyset statement: conditions, order, limit + 1 (so that the caller sees whether there is more), and its values.
    pub(crate) fn finish(
        &self,
        mut sql: String,
        alias: &str,
        conditions: Vec<(String, Bound)>,
    ) -> (String, Vec<Bound>) {
        let mut values = Vec::new();
        let since = self.created_after.map(|at| (format!("{alias}.created_at >= {{}}"), Bound::Number(at)));
        let until = self.created_before.map(|at| (format!("{alias}.created_at < {{}}"), Bound::Number(at)));
        for (condition, value) in conditions.into_iter().chain(since).chain(until) {
            values.push(value);
            sql.push_str(" AND ");
            sql.push_str(&condition.replace("{}", &format!("${}", values.len())));
        }
        let (than, order) = if self.ascending { (">", "ASC") } else { ("<", "DESC") };
        if let Some((at, id)) = &self.after {
            let n = values.len();
            sql.push_str(&format!(" AND ({alias}.created_at, {alias}.id) {than} (${}, ${})", n + 1, n + 2));
            values.push(Bound::Number(*at));
            values.push(Bound::Text(id.clone()));
        }
        values.push(Bound::Number(self.limit + 1));
        sql.push_str(&format!(" ORDER BY {alias}.created_at {order}, {alias}.id {order} LIMIT ${}", values.len()));
        (sql, values)
    }
}

impl Store {
    /// Runs a statement that was put together from literals of this crate and `$n` parameters only.
    pub(crate) async fn fetch(&self, sql: String, values: Vec<Bound>) -> Result<Vec<AnyRow>, sqlx::Error> {
        let mut query = sqlx::query::<Any>(AssertSqlSafe(sql));
        for value in values {
            query = match value {
                Bound::Text(text) => query.bind(text),
                Bound::Number(number) => query.bind(number),
            };
        }
        query.fetch_all(self.pool()).await
    }
}
