//! Writes the seeds of a target into a folder: `seeds TARGET FOLDER`, from the root of the repository.

use std::path::Path;
use std::{env, fs, io};

fn main() -> io::Result<()> {
    let (Some(target), Some(folder)) = (env::args().nth(1), env::args().nth(2)) else {
        return Err(io::Error::other("usage: seeds TARGET FOLDER"));
    };
    fs::create_dir_all(&folder)?;
    for (n, seed) in nearend_fuzz::seeds(&target, Path::new("."))?.iter().enumerate() {
        fs::write(Path::new(&folder).join(format!("seed-{n}")), seed)?;
    }
    Ok(())
}
