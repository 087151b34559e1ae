//! Passwords: argon2id, made and checked off the runtime's threads, and the ones that are too easy to guess.

use std::sync::{Arc, LazyLock};

use argon2::{
    Algorithm, Argon2, Params, Version,
    password_hash::{PasswordHasher as _, PasswordVerifier as _, phc::PasswordHash},
};
use tokio::sync::Semaphore;

use crate::http::ApiError;

/// m = 19 MiB, t = 2, p = 1: the OWASP baseline. Each costs this much memory, so few run at once.
const PARAMS: (u32, u32, u32) = (19_456, 2, 1);
const AT_ONCE: usize = 4;

static TURNS: LazyLock<Arc<Semaphore>> = LazyLock::new(|| Arc::new(Semaphore::new(AT_ONCE)));

/// The hash of nobody's password: who has none is checked against it, so that the answer takes as long as for everyone.
static NOBODY: LazyLock<Option<String>> = LazyLock::new(|| hash_now(&crate::seal::fresh_token("")).ok());

fn argon2() -> Result<Argon2<'static>, ApiError> {
    let (m, t, p) = PARAMS;
    let params = Params::new(m, t, p, None).map_err(ApiError::internal)?;
    Ok(Argon2::new(Algorithm::Argon2id, Version::V0x13, params))
}

fn hash_now(password: &str) -> Result<String, ApiError> {
    Ok(argon2()?.hash_password(password.as_bytes()).map_err(ApiError::internal)?.to_string())
}

async fn off_runtime<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, ApiError> {
    let turn = Arc::clone(&TURNS).acquire_owned().await.map_err(ApiError::internal)?;
    tokio::task::spawn_blocking(move || {
        let _turn = turn;
        work()
    })
    .await
    .map_err(ApiError::internal)
}

/// The hash to be stored.
pub(crate) async fn hash(password: String) -> Result<String, ApiError> {
    off_runtime(move || hash_now(&password)).await?
}

/// Whether the password is the one of the hash; without a hash it is not, after the same work.
pub(crate) async fn matches(password: String, hash: Option<String>) -> Result<bool, ApiError> {
    off_runtime(move || {
        let known = hash.is_some();
        // Made now at the latest, whoever asks: the first unknown name must not take longer than a known one.
        LazyLock::force(&NOBODY);
        let hash = hash.or_else(|| NOBODY.clone()).unwrap_or_default();
        let good = PasswordHash::new(&hash)
            .ok()
            .zip(argon2().ok())
            .is_some_and(|(hash, argon2)| argon2.verify_password(password.as_bytes(), &hash).is_ok());
        known && good
    })
    .await
}

/// Words that people begin with when a password must have ten characters.
const EASY: &[&str] = &[
    "password",
    "passwort",
    "passw0rd",
    "p@ssword",
    "p@ssw0rd",
    "qwerty",
    "qwertz",
    "azerty",
    "letmein",
    "welcome",
    "iloveyou",
    "admin",
    "administrator",
    "changeme",
    "monkey",
    "dragon",
    "football",
    "baseball",
    "superman",
    "batman",
    "princess",
    "sunshine",
    "trustno1",
    "master",
    "michael",
    "jordan",
    "liverpool",
    "chelsea",
    "arsenal",
    "computer",
    "internet",
    "whatever",
    "secret",
    "starwars",
    "pokemon",
    "summer",
    "winter",
    "spring",
    "autumn",
    "default",
    "test",
    "user",
    "root",
    "sidetone",
    "telephone",
    "abc",
    "abcd",
    "love",
    "hello",
    "charlie",
    "shadow",
    "ashley",
    "mustang",
    "access",
    "asdf",
    "zxcv",
];
const RUNS: &[&str] = &[
    "01234567890123456789",
    "98765432109876543210",
    "abcdefghijklmnopqrstuvwxyz",
    "zyxwvutsrqponmlkjihgfedcba",
    "qwertyuiopasdfghjklzxcvbnm",
    "qwertzuiopasdfghjklyxcvbnm",
    "azertyuiopqsdfghjklmwxcvbn",
    "1qaz2wsx3edc4rfv5tgb6yhn",
    "1q2w3e4r5t6y7u8i9o0p",
    "q1w2e3r4t5y6u7i8o9p0",
];

/// What is wrong with a password, if anything: too short, too long, or among the first that anybody would try.
pub(crate) fn fault(password: &str, email: &str) -> Option<&'static str> {
    let count = password.chars().count();
    if !(10..=200).contains(&count) || password.contains('\0') {
        return Some("password has 10 to 200 characters");
    }
    let plain = password.to_lowercase();
    let local = email.split('@').next().unwrap_or_default().to_lowercase();
    // What is left without the digits and signs that are put around a word.
    let core = plain.trim_matches(|c: char| !c.is_alphabetic());
    let halves = plain.len().is_multiple_of(2) && plain.is_char_boundary(plain.len() / 2);
    let (first, second) = if halves { plain.split_at(plain.len() / 2) } else { ("", "-") };
    let different: std::collections::BTreeSet<char> = plain.chars().collect();
    let easy = different.len() < 4
        || plain == email.to_lowercase()
        || (local.chars().count() >= 3 && core == local)
        || EASY.contains(&core)
        || (first == second && (EASY.contains(&first) || RUNS.iter().any(|run| run.contains(first))))
        || RUNS.iter().any(|run| run.contains(&plain));
    easy.then_some("that password is among the first that anybody would try")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_guesses_are_refused() {
        for easy in [
            "password123!",
            "Qwertyuiop",
            "1234567890",
            "0987654321",
            "aaaaaaaaaaaa",
            "Passw0rd2026",
            "iloveyou1234",
            "abcabcabcabc",
            "janet.smith1",
            "1q2w3e4r5t",
            "summer2026!",
            "qwertyqwerty",
            "short",
            "janet.smith@example.com",
        ] {
            assert!(fault(easy, "Janet.Smith@example.com").is_some(), "{easy}");
        }
        for good in ["correct horse battery", "vf9-Lq2mmZ", "пароль и соль 42", "summer rain on tin"] {
            assert_eq!(fault(good, "janet.smith@example.com"), None, "{good}");
        }
        assert!(fault(&"x1y2z3".repeat(40), "a@b").is_some());
    }

    #[tokio::test]
    async fn a_hash_knows_its_password_and_nobody_has_none() {
        let stored = hash("correct horse battery".into()).await.unwrap();
        assert!(stored.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{stored}");
        assert!(matches("correct horse battery".into(), Some(stored.clone())).await.unwrap());
        assert!(!matches("correct horse".into(), Some(stored)).await.unwrap());
        assert!(!matches(String::new(), None).await.unwrap());
        assert!(!matches("x".into(), Some("damaged".into())).await.unwrap());
    }
}
