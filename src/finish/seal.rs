//! Sealing of finished files to the tenant's age recipients (age-encryption.org/v1), in a stream: what is written goes to the disk
//! encrypted or not at all. Nothing here can open what it sealed. The file's key comes from the system's randomness.

use std::io::{self, Write};

use age::Encryptor;
use age::stream::StreamWriter;
use age::x25519::Recipient;

/// What a sealed file's name ends with.
pub const SUFFIX: &str = ".age";

/// To whom a tenant's files are sealed; to nobody: they stay plain.
#[derive(Clone, Default)]
pub struct Sealing {
    recipients: Vec<Recipient>,
}

impl std::fmt::Debug for Sealing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.names()).finish()
    }
}

impl Sealing {
    /// To all of these; each of them alone can open the files.
    pub fn to(recipients: Vec<Recipient>) -> Sealing {
        Sealing { recipients }
    }

    /// Whether files are sealed at all.
    pub fn is_active(&self) -> bool {
        !self.recipients.is_empty()
    }

    /// The public keys.
    pub fn names(&self) -> Vec<String> {
        self.recipients.iter().map(ToString::to_string).collect()
    }

    /// The name of a file whose content is called `name`.
    pub fn file_name(&self, name: &str) -> String {
        if self.is_active() { format!("{name}{SUFFIX}") } else { name.to_owned() }
    }

    /// Begins a file on `out`.
    ///
    /// # Errors
    /// Those of the writer; a recipient that cannot be sealed to.
    pub fn begin<W: Write>(&self, out: W) -> io::Result<Outlet<W>> {
        if !self.is_active() {
            return Ok(Outlet::Plain(out));
        }
        let recipients = self.recipients.iter().map(|recipient| recipient as _);
        let encryptor = Encryptor::with_recipients(recipients).map_err(|e| io::Error::other(format!("sealing: {e}")))?;
        Ok(Outlet::Sealed(encryptor.wrap_output(out)?))
    }
}

/// Where the content of a file goes. It is whole only after [`Outlet::finish`].
pub enum Outlet<W: Write> {
    /// As it is.
    Plain(W),
    /// Sealed.
    Sealed(StreamWriter<W>),
}

impl<W: Write> Outlet<W> {
    /// Writes the end.
    ///
    /// # Errors
    /// Those of the writer.
    pub fn finish(self) -> io::Result<W> {
        match self {
            Outlet::Plain(out) => Ok(out),
            Outlet::Sealed(stream) => stream.finish(),
        }
    }
}

impl<W: Write> Write for Outlet<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Outlet::Plain(out) => out.write(bytes),
            Outlet::Sealed(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Outlet::Plain(out) => out.flush(),
            Outlet::Sealed(stream) => stream.flush(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use age::Decryptor;
    use age::x25519::Identity;

    use super::*;

    fn sealed(sealing: &Sealing, content: &[u8]) -> Vec<u8> {
        let mut outlet = sealing.begin(Vec::new()).unwrap();
        content.chunks(1_000).for_each(|piece| outlet.write_all(piece).unwrap());
        outlet.finish().unwrap()
    }

    fn opened(file: &[u8], identity: &Identity) -> Option<Vec<u8>> {
        let decryptor = Decryptor::new(file).unwrap();
        let mut content = Vec::new();
        decryptor.decrypt(std::iter::once(identity as _)).ok()?.read_to_end(&mut content).ok()?;
        Some(content)
    }

    #[test]
    fn every_recipient_alone_opens_it_and_nobody_else() {
        let [one, two, stranger] = [Identity::generate(), Identity::generate(), Identity::generate()];
        let sealing = Sealing::to(vec![one.to_public(), two.to_public()]);
        let content: Vec<u8> = (0..200_000_u32).map(|n| (n % 251) as u8).collect();
        let file = sealed(&sealing, &content);
        assert!(file.starts_with(b"age-encryption.org/v1\n"));
        assert!(!file.windows(16).any(|window| window == &content[..16]));
        assert_eq!(opened(&file, &one).unwrap(), content);
        assert_eq!(opened(&file, &two).unwrap(), content);
        assert_eq!(opened(&file, &stranger), None);
        assert_eq!(sealing.file_name("audio.wav"), "audio.wav.age");
        assert_eq!(format!("{sealing:?}"), format!("{:?}", [one.to_public().to_string(), two.to_public().to_string()]));
    }

    #[test]
    fn a_file_that_was_cut_or_changed_does_not_open() {
        let key = Identity::generate();
        let file = sealed(&Sealing::to(vec![key.to_public()]), &[7; 100_000]);
        assert_eq!(opened(&file[..file.len() - 1], &key), None);
        let mut changed = file.clone();
        *changed.last_mut().unwrap() ^= 1;
        assert_eq!(opened(&changed, &key), None);
    }

    #[test]
    fn without_recipients_files_stay_as_they_are() {
        let plain = Sealing::default();
        assert_eq!(sealed(&plain, b"audio"), b"audio");
        assert_eq!((plain.file_name("audio.wav"), plain.is_active()), ("audio.wav".into(), false));
    }
}
