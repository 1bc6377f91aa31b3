//! What makes an agent a member of a computation: one certificate and its key, which both ends of every connection have.

#[cfg(test)]
mod tests;

use crate::{Error, Result};
use prost::Message;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

/// First bytes of the file.
const MAGIC: &[u8] = b"rethaw secret 1\n";
const MAX_LEN: u64 = 16 << 10;

/// The secret of one computation. Whoever has it is a member; nobody else is.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret {
    certificate: Vec<u8>,
    key: Vec<u8>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct SecretV1 {
    /// DER.
    #[prost(bytes = "vec", tag = "1")]
    certificate: Vec<u8>,
    /// PKCS #8, DER.
    #[prost(bytes = "vec", tag = "2")]
    key: Vec<u8>,
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

impl Secret {
    /// A new one: an Ed25519 key, and a certificate that it has signed itself.
    pub fn generate() -> Result<Secret> {
        let made = || {
            let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519)?;
            let certificate = rcgen::CertificateParams::new(vec!["rethaw".to_string()])?.self_signed(&key)?;
            Ok(Secret {
                certificate: certificate.der().to_vec(),
                key: key.serialize_der(),
            })
        };
        made().map_err(|e: rcgen::Error| Error::Tls(e.to_string()))
    }

    /// Writes it to a file that only the user can read. A file that is there is replaced, atomically.
    pub fn store(&self, path: &Path) -> Result<()> {
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".{}.tmp", std::process::id()));
        let partial = Path::new(&name);
        let write = || {
            // What a killed predecessor left: it must not be taken with its mode.
            match std::fs::remove_file(partial) {
                Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(e),
                _ => (),
            }
            let mut file = OpenOptions::new()
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(partial)?;
            file.write_all(MAGIC)?;
            file.write_all(&self.record())?;
            file.sync_all()?;
            std::fs::rename(partial, path)
        };
        write().map_err(|e| {
            let _ = std::fs::remove_file(partial);
            Error::io(format!("write {}", path.display()), e)
        })
    }

    /// Reads it, if it is the user's own file and nobody else can read or change it.
    pub fn load(path: &Path) -> Result<Secret> {
        let file = OpenOptions::new()
            .read(true)
            // A FIFO under this name would be waited for.
            .custom_flags(rustix::fs::OFlags::NONBLOCK.bits() as i32)
            .open(path)
            .map_err(|e| Error::secret(path, e))?;
        check(&file).map_err(|cause| Error::secret(path, cause))?;
        let mut bytes = Vec::new();
        let read = file.take(MAX_LEN).read_to_end(&mut bytes);
        read.map_err(|e| Error::secret(path, e))?;
        let record = bytes
            .strip_prefix(MAGIC)
            .and_then(|record| SecretV1::decode(record).ok());
        match record {
            Some(SecretV1 { certificate, key }) if !certificate.is_empty() && !key.is_empty() => {
                Ok(Secret { certificate, key })
            }
            _ => Err(Error::secret(path, "it is damaged")),
        }
    }

    fn record(&self) -> Vec<u8> {
        let record = SecretV1 {
            certificate: self.certificate.clone(),
            key: self.key.clone(),
        };
        record.encode_to_vec()
    }

    pub(crate) fn certificate(&self) -> CertificateDer<'static> {
        CertificateDer::from(self.certificate.clone())
    }

    pub(crate) fn key(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(self.key.clone()))
    }
}

fn check(file: &File) -> std::result::Result<(), String> {
    let meta = file.metadata().map_err(|e| e.to_string())?;
    let user = rustix::process::geteuid().as_raw();
    if !meta.is_file() {
        return Err("it is not a file".to_string());
    }
    if meta.uid() != user {
        return Err(format!("it belongs to user {}, not to {user}", meta.uid()));
    }
    if meta.mode() & 0o077 != 0 {
        let mode = meta.mode() & 0o777;
        return Err(format!(
            "others may use it (mode {mode:03o}): chmod 600 it, if it was not read"
        ));
    }
    Ok(())
}
