//! AES-256-GCM under the node's key, for secrets that must be read again: vendors' credentials, trunk passwords, signing keys.
//!
//! A sealed text is `v1.` + base64 of nonce and ciphertext. Its associated data is the place where it is stored, so a sealed text
//! that is copied to another row, column or table does not open there.

use std::{
    fmt,
    io::Write as _,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use ring::{
    aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    rand::{SecureRandom as _, SystemRandom},
};

const VERSION: &str = "v1.";

/// Why something cannot be sealed or opened.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    /// The configured key is not 32 bytes in base64.
    #[error("seal key must be 32 bytes in base64 (make one: head -c 32 /dev/urandom | base64)")]
    Form,
    /// The key file cannot be read or made.
    #[error("seal key file {}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Sealed by another key, for another place, or damaged.
    #[error("a sealed value does not open with this node's seal key")]
    Foreign,
    /// The system's random generator failed.
    #[error("no random numbers")]
    Random,
}

/// The key that seals what is stored; the same on all nodes of an installation.
#[derive(Clone)]
pub struct NodeKey(LessSafeKey);

impl fmt::Debug for NodeKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NodeKey(…)")
    }
}

impl NodeKey {
    /// From 32 bytes.
    ///
    /// # Errors
    /// [`SealError::Form`] for any other length.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, SealError> {
        UnboundKey::new(&AES_256_GCM, bytes).map(|key| Self(LessSafeKey::new(key))).map_err(|_| SealError::Form)
    }

    /// From base64, as the environment or a credential file has it.
    ///
    /// # Errors
    /// [`SealError::Form`] if it is not 32 bytes in base64.
    pub fn from_base64(text: &str) -> Result<Self, SealError> {
        Self::from_bytes(&STANDARD.decode(text.trim()).map_err(|_| SealError::Form)?)
    }

    /// From a file, which is made with a fresh key (mode 0600) if it is missing. For one machine; nodes that share a database need
    /// the same key and get it by configuration.
    ///
    /// # Errors
    /// When the file can neither be read nor made, or holds no key.
    pub fn from_file(path: &Path) -> Result<Self, SealError> {
        let failed = |source| SealError::File { path: path.to_owned(), source };
        if !path.exists() {
            let mut fresh = [0; 32];
            SystemRandom::new().fill(&mut fresh).map_err(|_| SealError::Random)?;
            // Written apart and linked whole: of two nodes that start together one makes the key, and none reads half of it.
            let apart = path.with_extension(uuid::Uuid::new_v4().simple().to_string());
            let mut file = std::fs::OpenOptions::new();
            let mut file = file.write(true).create_new(true).mode(0o600).open(&apart).map_err(failed)?;
            let written = file.write_all(STANDARD.encode(fresh).as_bytes()).and_then(|()| file.sync_all());
            let linked = written.and_then(|()| std::fs::hard_link(&apart, path));
            std::fs::remove_file(&apart).map_err(failed)?;
            match linked {
                Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => return Err(failed(error)),
                _ => {}
            }
        }
        Self::from_base64(&std::fs::read_to_string(path).map_err(failed)?)
    }
}

/// Where a sealed value is stored: table, row, column.
pub(crate) type Place<'a> = (&'a str, &'a str, &'a str);

fn place((table, id, column): Place<'_>) -> Aad<Vec<u8>> {
    Aad::from(format!("{table}\n{id}\n{column}").into_bytes())
}

/// Seals a secret for its place.
pub(crate) fn seal(key: &NodeKey, at: Place<'_>, secret: &[u8]) -> Result<String, SealError> {
    let mut nonce = [0; NONCE_LEN];
    SystemRandom::new().fill(&mut nonce).map_err(|_| SealError::Random)?;
    let mut sealed = secret.to_vec();
    key.0
        .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), place(at), &mut sealed)
        .map_err(|_| SealError::Foreign)?;
    Ok(format!("{VERSION}{}", STANDARD.encode([&nonce[..], &sealed].concat())))
}

/// Opens what was sealed for the same place.
pub(crate) fn open(key: &NodeKey, at: Place<'_>, sealed: &str) -> Result<Vec<u8>, SealError> {
    let text = sealed.strip_prefix(VERSION).ok_or(SealError::Foreign)?;
    let bytes = STANDARD.decode(text).map_err(|_| SealError::Foreign)?;
    let (nonce, rest) = bytes.split_at_checked(NONCE_LEN).ok_or(SealError::Foreign)?;
    let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| SealError::Foreign)?;
    let mut rest = rest.to_vec();
    let plain = key.0.open_in_place(nonce, place(at), &mut rest).map_err(|_| SealError::Foreign)?;
    Ok(plain.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: Place<'static> = ("credentials", "7", "sealed");

    #[test]
    fn a_sealed_secret_opens_only_at_its_place_and_with_its_key() {
        let key = NodeKey::from_bytes(&[7; 32]).unwrap();
        let sealed = seal(&key, AT, b"sk-live").unwrap();
        assert_eq!(open(&key, AT, &sealed).unwrap(), b"sk-live");
        assert_ne!(sealed, seal(&key, AT, b"sk-live").unwrap());
        for elsewhere in [("credentials", "8", "sealed"), ("trunks", "7", "sealed"), ("credentials", "7", "hint")] {
            assert!(open(&key, elsewhere, &sealed).is_err(), "{elsewhere:?}");
        }
        assert!(open(&NodeKey::from_bytes(&[8; 32]).unwrap(), AT, &sealed).is_err());
        for broken in ["", "v1.", "v2.AAAA", &sealed[..sealed.len() - 4], "v1.AAAA"] {
            assert!(open(&key, AT, broken).is_err(), "{broken}");
        }
    }

    #[test]
    fn a_key_file_is_made_once_and_for_its_owner_only() {
        use std::os::unix::fs::PermissionsExt as _;
        let path = std::env::temp_dir().join(format!("sidetone-seal-{}", std::process::id()));
        let _ = std::fs::remove_file(&path);
        let sealed = seal(&NodeKey::from_file(&path).unwrap(), AT, b"x").unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(open(&NodeKey::from_file(&path).unwrap(), AT, &sealed).unwrap(), b"x");
        std::fs::write(&path, "short").unwrap();
        assert!(matches!(NodeKey::from_file(&path), Err(SealError::Form)));
        std::fs::remove_file(&path).unwrap();
    }

    #[test]
    fn a_configured_key_is_32_bytes_of_base64() {
        assert!(NodeKey::from_base64("c2lkZXRvbmUtd2ViaG9vay10ZXN0LWtleS0wMDAwMDE=\n").is_ok());
        for bad in ["", "aGVsbG8=", "not base64!"] {
            assert!(matches!(NodeKey::from_base64(bad), Err(SealError::Form)), "{bad}");
        }
    }
}
