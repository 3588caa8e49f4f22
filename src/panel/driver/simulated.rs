//! A panel of two files, for emulation and tests: `lights` has a line `NAME COLOUR` for each light, written whole at each change; `button` is there
//! while the button is down.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::super::board::Name;
use super::Board;

pub(super) struct Simulated {
    folder: PathBuf,
    lit: [(Name, &'static str); 4],
}

impl Simulated {
    pub(super) fn open(folder: &Path) -> io::Result<Simulated> {
        fs::create_dir_all(folder)?;
        let lit = [Name::Power, Name::Recording, Name::Wan, Name::Fault].map(|name| (name, "off"));
        Ok(Simulated { folder: folder.to_path_buf(), lit })
    }
}

impl Board for Simulated {
    fn show(&mut self, name: Name, lit: [bool; 2]) -> io::Result<()> {
        let colour = match lit {
            [false, false] => "off",
            [true, false] => "green",
            [true, true] => "yellow",
            [false, true] => "red",
        };
        self.lit.iter_mut().filter(|(of, _)| *of == name).for_each(|light| light.1 = colour);
        let lines: String = self.lit.iter().map(|(name, colour)| format!("{name:?} {colour}\n").to_lowercase()).collect();
        let temporary = self.folder.join("lights.tmp");
        fs::write(&temporary, lines)?;
        fs::rename(temporary, self.folder.join("lights"))
    }

    fn is_down(&mut self) -> io::Result<bool> {
        fs::exists(self.folder.join("button"))
    }
}
