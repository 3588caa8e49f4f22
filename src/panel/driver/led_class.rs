//! Lights of the kernel's LED class and a button of its input events (`gpio-keys`): any board whose device tree names them.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use nix::fcntl::OFlag;

use super::super::board::{Name, Place, Wiring};
use super::{Board, halves, no_such};

/// `struct input_event` (linux/input.h): two longs of time, type, code, value.
const EVENT_BYTES: usize = 2 * size_of::<usize>() + 8;
const KEY: u16 = 1;

pub(super) struct Leds {
    lights: Vec<(Name, usize, PathBuf, bool)>,
    button: Option<File>,
    is_down: bool,
}

impl Leds {
    /// `root` is the system's, but for tests.
    pub(super) fn open(wiring: &Wiring, root: &Path) -> io::Result<Leds> {
        let lights = halves(wiring).map(|(name, half, place, active_low)| {
            let Place::Led(led) = place else { return Err(no_such("lights", place)) };
            let brightness = root.join("sys/class/leds").join(led).join("brightness");
            fs::metadata(&brightness).map_err(|e| io::Error::new(e.kind(), format!("[panel] lights: {led}: {e}")))?;
            Ok((name, half, brightness, active_low))
        });
        let button = wiring.button.as_ref().map(|contact| {
            let Place::Led(device) = &contact.place else { return Err(no_such("button", &contact.place)) };
            let path = root.join("dev/input").join(device);
            let opened = OpenOptions::new().read(true).custom_flags(OFlag::O_NONBLOCK.bits()).open(&path);
            opened.map_err(|e| io::Error::new(e.kind(), format!("[panel] button: {}: {e}", path.display())))
        });
        Ok(Leds { lights: lights.collect::<io::Result<_>>()?, button: button.transpose()?, is_down: false })
    }
}

impl Board for Leds {
    fn show(&mut self, name: Name, lit: [bool; 2]) -> io::Result<()> {
        for (of, half, brightness, active_low) in &self.lights {
            if *of == name {
                fs::write(brightness, if lit[*half] == *active_low { "0" } else { "1" })?;
            }
        }
        Ok(())
    }

    fn is_down(&mut self) -> io::Result<bool> {
        let Some(button) = &mut self.button else { return Ok(false) };
        let mut events = [0; 16 * EVENT_BYTES];
        match button.read(&mut events) {
            Ok(length) => {
                for event in events[..length].chunks_exact(EVENT_BYTES) {
                    let [.., kind_low, kind_high, _, _, a, b, c, d] = event else { continue };
                    if u16::from_ne_bytes([*kind_low, *kind_high]) == KEY {
                        self.is_down = i32::from_ne_bytes([*a, *b, *c, *d]) != 0;
                    }
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
        Ok(self.is_down)
    }
}
