//! The box's identity on the disk: `identity.key`, made at the first start beside `box.key`, and `identity.pub` for others.

use std::fs;
use std::io;
use std::path::Path;

use ring::rand::{SecureRandom, SystemRandom};

use crate::files;
use crate::finish::identity::{Identity, KEY_BYTES, PublicKey};

/// The secret: 32 random bytes, for the daemon's user alone.
pub const SECRET: &str = "identity.key";

/// The public key as PEM, for everyone.
pub const PUBLIC: &str = "identity.pub";

/// The identity of the box whose keys are in `dir`, made when there is none. One that is damaged is set aside: what it signed can
/// still be checked by its `identity.pub`, which is set aside, too.
///
/// # Errors
/// When the folder cannot be read or written.
pub fn open_identity(dir: &Path) -> io::Result<Identity> {
    let path = dir.join(SECRET);
    let identity = match fs::read(&path) {
        Ok(bytes) => match <&[u8; KEY_BYTES]>::try_from(bytes.as_slice()) {
            Ok(secret) => Identity::new(secret),
            Err(_) => {
                let aside = set_aside(dir)?;
                tracing::error!("{} is damaged and was set aside as {aside}: the box has a new identity", path.display());
                new_identity(dir)?
            }
        },
        Err(e) if e.kind() == io::ErrorKind::NotFound => new_identity(dir)?,
        Err(e) => return Err(e),
    };
    let pem = identity.public_key().to_pem();
    if fs::read_to_string(dir.join(PUBLIC)).ok().as_ref() != Some(&pem) {
        files::replace(dir, PUBLIC, pem.as_bytes(), 0o644)?;
    }
    Ok(identity)
}

/// The identity of a box that may be dead; none when its key was not copied.
///
/// # Errors
/// When there is one that cannot be read.
pub fn find_identity(dir: &Path) -> io::Result<Option<Identity>> {
    match fs::read(dir.join(SECRET)) {
        Ok(bytes) => Ok(bytes.as_slice().try_into().ok().map(Identity::new)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e),
    }
}

/// Reads a box's public key.
///
/// # Errors
/// When it cannot be read, or is none (`InvalidData`).
pub fn read_public_key(path: &Path) -> io::Result<PublicKey> {
    let text = fs::read_to_string(path)?;
    PublicKey::from_pem(&text).map_err(|what| io::Error::new(io::ErrorKind::InvalidData, format!("{} {what}", path.display())))
}

fn new_identity(dir: &Path) -> io::Result<Identity> {
    let secret = random()?;
    files::replace(dir, SECRET, &secret, 0o600)?;
    Ok(Identity::new(&secret))
}

fn random() -> io::Result<[u8; KEY_BYTES]> {
    let mut bytes = [0; KEY_BYTES];
    SystemRandom::new().fill(&mut bytes).map_err(|_| io::Error::other("the system gives no random numbers"))?;
    Ok(bytes)
}

fn set_aside(dir: &Path) -> io::Result<String> {
    let [a, b, c, d, ..] = random()?;
    let suffix = format!("set-aside-{:08x}", u32::from_be_bytes([a, b, c, d]));
    let aside = format!("{SECRET}.{suffix}");
    fs::rename(dir.join(SECRET), dir.join(&aside))?;
    match fs::rename(dir.join(PUBLIC), dir.join(format!("{PUBLIC}.{suffix}"))) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => Ok(aside),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn it_is_made_once_and_only_the_daemon_may_read_it() {
        let dir = tempfile::tempdir().unwrap();
        let key = open_identity(dir.path()).unwrap().public_key();
        assert_eq!(open_identity(dir.path()).unwrap().public_key(), key);
        assert_eq!(read_public_key(&dir.path().join(PUBLIC)).unwrap(), key);
        assert_eq!((mode(&dir.path().join(SECRET)), mode(&dir.path().join(PUBLIC))), (0o600, 0o644));
        fs::remove_file(dir.path().join(PUBLIC)).unwrap();
        open_identity(dir.path()).unwrap();
        assert_eq!(read_public_key(&dir.path().join(PUBLIC)).unwrap(), key, "the public file comes back");
        assert_eq!(find_identity(dir.path()).unwrap().unwrap().public_key(), key);
        assert!(find_identity(&dir.path().join("elsewhere")).unwrap().is_none());
    }

    #[test]
    fn a_damaged_one_is_set_aside() {
        let dir = tempfile::tempdir().unwrap();
        let before = open_identity(dir.path()).unwrap().public_key();
        fs::write(dir.path().join(SECRET), "torn").unwrap();
        assert_ne!(open_identity(dir.path()).unwrap().public_key(), before);
        let names = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        assert_eq!(names.filter(|name| name.contains("set-aside")).count(), 2);
    }

    #[test]
    fn something_else_is_no_public_key() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("x"), "age1…").unwrap();
        let error = read_public_key(&dir.path().join("x")).unwrap_err();
        assert!(error.kind() == io::ErrorKind::InvalidData && error.to_string().contains("identity.pub"), "{error}");
    }
}
