//! One line for each request, if wanted; how it looks is decided in `logic::log_pattern`.
//!
//! Lines are written by a thread of their own behind a bounded queue: a slow disk drops lines, counted, and never
//! holds up a request. A file that was renamed or removed is made anew within a second of the next line, so any
//! rotation works without a signal; with SIGHUP it happens at once.

use logic::log_pattern::{COMBINED, COMMON, Line, Pattern};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use wire::settings::{AccessLog, AccessLogFormat};

/// Lines that may wait for the disk: a second of a busy router.
const LINES_MAX: usize = 16 * 1024;
/// How often the file is looked for, while there are lines.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// How lines look.
#[derive(Debug)]
enum Look {
    Pattern(Pattern),
    Json,
}

#[derive(Debug)]
enum Order {
    /// With its line end.
    Write(String),
    Reopen,
}

/// A data thread's way to the log.
#[derive(Debug, Clone)]
pub struct AccessLogHandle {
    look: Arc<Look>,
    lines: SyncSender<Order>,
    dropped: Arc<AtomicU64>,
}

/// Opens the log; None if it is off.
pub fn open(settings: &AccessLog) -> io::Result<Option<AccessLogHandle>> {
    let pattern = |text: &str| {
        Pattern::parse(text)
            .map(Look::Pattern)
            .map_err(|why| io::Error::new(io::ErrorKind::InvalidInput, why))
    };
    let look = match settings.format {
        AccessLogFormat::Off => return Ok(None),
        AccessLogFormat::Common => pattern(COMMON)?,
        AccessLogFormat::Combined => pattern(COMBINED)?,
        AccessLogFormat::Custom => pattern(&settings.pattern)?,
        AccessLogFormat::Json => Look::Json,
    };
    let target = match settings.path.as_str() {
        "" => Target::StandardOutput,
        path => Target::File { path: path.into(), file: append(Path::new(path))?, looked: Instant::now() },
    };
    let (lines, waiting) = sync_channel(LINES_MAX);
    let dropped = Arc::new(AtomicU64::new(0));
    let counter = dropped.clone();
    std::thread::Builder::new()
        .name("access-log".into())
        .spawn(move || write_lines(target, &waiting, &counter))?;
    Ok(Some(AccessLogHandle { look: Arc::new(look), lines, dropped }))
}

/// Where lines go.
enum Target {
    StandardOutput,
    File { path: PathBuf, file: File, looked: Instant },
}

fn append(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).open(path)
}

impl Target {
    fn reopen(&mut self) -> io::Result<()> {
        if let Target::File { path, file, .. } = self {
            *file = append(path)?;
        }
        Ok(())
    }

    fn write(&mut self, text: &[u8]) -> io::Result<()> {
        match self {
            Target::StandardOutput => io::stdout().write_all(text),
            Target::File { path, file, looked } => {
                if looked.elapsed() >= LOOK_EVERY {
                    *looked = Instant::now();
                    let is_ours = fs::metadata(&*path).and_then(|there| {
                        let ours = file.metadata()?;
                        Ok((there.dev(), there.ino()) == (ours.dev(), ours.ino()))
                    });
                    if !is_ours.unwrap_or(false) {
                        *file = append(path)?;
                    }
                }
                file.write_all(text)
            }
        }
    }
}

/// Writes until every data thread has let go of its handle; lines that wait together go out together.
fn write_lines(mut target: Target, lines: &Receiver<Order>, dropped: &AtomicU64) {
    while let Ok(first) = lines.recv() {
        let (mut text, mut count, mut is_reopened) = (String::new(), 0, false);
        for order in std::iter::once(first).chain(lines.try_iter().take(LINES_MAX)) {
            match order {
                Order::Write(line) => {
                    text += &line;
                    count += 1;
                }
                Order::Reopen => is_reopened = true,
            }
        }
        if is_reopened && let Err(error) = target.reopen() {
            tracing::warn!(%error, "the access log could not be opened anew; the old file is used");
        }
        if let Err(error) = target.write(text.as_bytes()) {
            dropped.fetch_add(count, Ordering::Relaxed);
            tracing::warn!(%error, "the access log could not be written");
        }
        let lost = dropped.swap(0, Ordering::Relaxed);
        if lost > 0 {
            tracing::warn!(lost, "lines of the access log were dropped");
        }
    }
}

impl AccessLogHandle {
    /// Queues the line of a request; the time of day is put in here.
    pub fn write(&self, mut line: Line<'_>) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        line.unix_ms = now.as_millis() as u64;
        let mut text = String::with_capacity(256);
        match &*self.look {
            Look::Pattern(pattern) => pattern.write(&line, &mut text),
            Look::Json => line.json(&mut text),
        }
        text.push('\n');
        if self.lines.try_send(Order::Write(text)).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Has the file opened anew. A queue that is full loses nothing by it: the file is looked for each second anyway.
    pub fn reopen(&self) {
        if self.lines.try_send(Order::Reopen).is_err() {
            tracing::warn!("the access log is too busy to be opened anew at once");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_was_renamed_is_made_anew() {
        let directory = std::env::temp_dir().join(format!("muster-access-log-{}", std::process::id()));
        fs::create_dir_all(&directory).expect("a temporary directory can be made");
        let path = directory.join("log");
        let long_ago = Instant::now() - LOOK_EVERY;
        let mut target =
            Target::File { path: path.clone(), file: append(&path).expect("ours"), looked: long_ago };
        target.write(b"old\n").expect("written");
        fs::rename(&path, directory.join("log.1")).expect("ours");
        if let Target::File { looked, .. } = &mut target {
            *looked = long_ago;
        }
        target.write(b"new\n").expect("written");
        assert_eq!(fs::read(&path).expect("made anew"), b"new\n");
        assert_eq!(fs::read(directory.join("log.1")).expect("kept"), b"old\n");
        fs::remove_dir_all(&directory).expect("ours");
    }

    #[test]
    fn a_file_is_opened_anew_when_asked() {
        let directory = std::env::temp_dir().join(format!("muster-access-reopen-{}", std::process::id()));
        fs::create_dir_all(&directory).expect("a temporary directory can be made");
        let path = directory.join("log");
        let mut target =
            Target::File { path: path.clone(), file: append(&path).expect("ours"), looked: Instant::now() };
        target.write(b"old\n").expect("written");
        fs::rename(&path, directory.join("log.1")).expect("ours");
        target.reopen().expect("opened");
        target.write(b"new\n").expect("written");
        assert_eq!(fs::read(&path).expect("made anew"), b"new\n");
        assert_eq!(fs::read(directory.join("log.1")).expect("kept"), b"old\n");
        fs::remove_dir_all(&directory).expect("ours");
    }
}
