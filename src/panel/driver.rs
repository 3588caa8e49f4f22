//! The edge of the panel: lights and button of a board, and the socket on which the daemon speaks. No light that cannot be lit and no
//! panel that is not there ever makes the daemon wait.

mod gpio;
mod led_class;
mod simulated;

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};

use super::board::{Kind, Name, Place, Wiring};
use super::light::Light;
use super::{MOST_WORD_BYTES, Word};

/// What drives the lights and reads the button of a board.
pub trait Board {
    /// Lights the halves of a light: green, red. A light that the board does not have is none.
    ///
    /// # Errors
    /// The system does not let it.
    fn show(&mut self, name: Name, halves: [bool; 2]) -> io::Result<()>;

    /// Whether the button is down.
    ///
    /// # Errors
    /// The system does not tell.
    fn is_down(&mut self) -> io::Result<bool>;
}

/// Takes hold of what a board's file names. `folder` is where a simulated panel keeps its files.
///
/// # Errors
/// A pin or an LED is not there, or belongs to somebody else.
pub fn open(wiring: &Wiring, folder: &Path) -> io::Result<Box<dyn Board>> {
    Ok(match wiring.kind {
        Kind::Simulated => Box::new(simulated::Simulated::open(folder)?),
        Kind::Rppal => Box::new(gpio::Pins::open(wiring)?),
        Kind::LedClass => Box::new(led_class::Leds::open(wiring, Path::new("/"))?),
    })
}

/// Remembers what is lit, so that only changes reach the board.
pub struct Lamps {
    board: Box<dyn Board>,
    lit: [(Name, Option<[bool; 2]>); 4],
}

impl Lamps {
    /// Nothing is known of the lights yet.
    pub fn new(board: Box<dyn Board>) -> Lamps {
        Lamps { board, lit: [Name::Power, Name::Recording, Name::Wan, Name::Fault].map(|name| (name, None)) }
    }

    /// Shows the lights as they look so long after the panel has begun.
    ///
    /// # Errors
    /// See [`Board::show`].
    pub fn show(&mut self, lights: super::Lights, elapsed: std::time::Duration) -> io::Result<()> {
        let wanted = [lights.power, lights.recording, lights.wan, lights.fault].map(|light| Light::halves(light.at(elapsed)));
        for ((name, lit), wanted) in self.lit.iter_mut().zip(wanted) {
            if *lit != Some(wanted) {
                self.board.show(*name, wanted)?;
                *lit = Some(wanted);
            }
        }
        Ok(())
    }

    /// See [`Board::is_down`].
    ///
    /// # Errors
    /// The system does not tell.
    pub fn is_down(&mut self) -> io::Result<bool> {
        self.board.is_down()
    }
}

/// Where the panel hears the daemon.
pub struct Ear(UnixDatagram);

impl Ear {
    /// Listens; what a panel before has left is taken away.
    ///
    /// # Errors
    /// No socket can be made there.
    pub fn listen(path: &Path) -> io::Result<Ear> {
        if let Err(error) = fs::remove_file(path)
            && error.kind() != io::ErrorKind::NotFound
        {
            return Err(error);
        }
        let socket = UnixDatagram::bind(path)?;
        fs::set_permissions(path, fs::Permissions::from_mode(0o660))?;
        socket.set_nonblocking(true)?;
        Ok(Ear(socket))
    }

    /// The newest word that has come, if one has. What cannot be read is none.
    pub fn hear(&self) -> Option<Word> {
        let mut newest = None;
        let mut bytes = [0; MOST_WORD_BYTES];
        // At most a queue's worth: a talker that never stops must not keep the lights from blinking.
        for _ in 0..64 {
            let Ok(length) = self.0.recv(&mut bytes) else { break };
            newest = serde_json::from_slice(&bytes[..length]).ok().or(newest);
        }
        newest
    }
}

/// The daemon's end: says a word when there is a panel, and never waits.
pub struct Mouth {
    socket: Option<UnixDatagram>,
    path: PathBuf,
}

impl Mouth {
    /// Nothing is said yet.
    pub fn new(path: PathBuf) -> Mouth {
        let socket = UnixDatagram::unbound().and_then(|socket| socket.set_nonblocking(true).map(|()| socket));
        Mouth { socket: socket.ok(), path }
    }

    /// Says it. Without a panel, or with one that does not listen, nothing happens.
    pub fn say(&self, word: &Word) {
        if let (Some(socket), Ok(bytes)) = (&self.socket, serde_json::to_vec(word)) {
            let _ = socket.send_to(&bytes, &self.path);
        }
    }
}

fn no_such(what: &str, place: &Place) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, format!("[panel] {what}: {place:?} is nothing that this kind of panel drives"))
}

/// All lights of a board: name, green or red half (0, 1), where, lit by a low level.
fn halves(wiring: &Wiring) -> impl Iterator<Item = (Name, usize, &Place, bool)> {
    wiring.lights.iter().flat_map(|(name, halves)| {
        let places = [&halves.green, &halves.red].into_iter().enumerate();
        places.filter_map(move |(half, place)| place.as_ref().map(|place| (*name, half, place, halves.active_low)))
    })
}

#[cfg(test)]
mod tests;
