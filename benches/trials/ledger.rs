//! A spool that knows many recordings, made by the spool itself out of the description of a real call.

use std::time::Duration;

use nearend::model::{Recording, RecordingId, RecordingNo, Stage};
use nearend::spool::{Command, Config, Spool};
use tokio::sync::mpsc;

use super::Result;
use super::machine::{Machine, wait_for};
use super::sender::Call;

/// Fills the spool of a machine that does not run with `count` recordings of the stages that `stage` gives.
pub(crate) fn fill(machine: &mut Machine, count: u64, stage: impl Fn(u64) -> Stage) -> Result<()> {
    machine.start()?;
    Call::plain(machine, Duration::from_secs(2)).start()?.finish()?;
    wait_for("the call to be finished", Duration::from_secs(30), || Ok(machine.finished()?.pop()))?;
    machine.stop()?;
    let config = Config {
        dir: machine.spool(),
        segment_bytes: Config::SEGMENT_BYTES,
        floor_bytes: 0,
        backlog_blocks: Config::BACKLOG_BLOCKS,
    };
    let (pool, _recycled) = std::sync::mpsc::channel();
    let (news, _events) = mpsc::unbounded_channel();
    let (spool, recovered) = Spool::open(&config, pool, news)?;
    let real = recovered.recordings.last().ok_or("the call left no recording")?;
    let (sender, first) = (spool.sender(), recovered.next_no.0);
    for n in 0..count {
        sender.send(Command::Describe(Box::new(like(real, first + n, stage(n)))))?;
    }
    drop(sender);
    Ok(spool.stop()?)
}

/// Another recording of the same kind.
fn like(real: &Recording, no: u64, stage: Stage) -> Recording {
    let id = RecordingId(format!("{}-{no}", real.id).into());
    Recording { no: RecordingNo(no), id, stage, ..real.clone() }
}
