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
/// How often lost lines are told of. Ten seconds: a full disk must not fill the next one with complaints.
const TELL_EVERY: Duration = Duration::from_secs(10);

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
        "" => Target::StandardOutput(io::stdout()),
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
    StandardOutput(io::Stdout),
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

    /// Where text goes now: a file that is gone is made anew.
    fn output(&mut self) -> io::Result<&mut dyn Write> {
        match self {
            Target::StandardOutput(output) => Ok(output),
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
                Ok(file)
            }
        }
    }
}

/// Writes until every data thread has let go of its handle; lines that wait together go out together.
fn write_lines(mut target: Target, lines: &Receiver<Order>, dropped: &AtomicU64) {
    let (mut tail, mut loss) = (Tail::default(), Loss::default());
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
        let (written, result) = match target.output() {
            Ok(output) => tail.write(output, text),
            Err(error) => (0, Err(error)),
        };
        let lost = dropped.swap(0, Ordering::Relaxed) + count - written;
        match loss.note(Instant::now(), lost, result.err()) {
            Some((lost, Some(error))) => {
                tracing::warn!(lost, %error, "the access log could not be written; lines were dropped");
            }
            Some((lost, None)) => tracing::warn!(lost, "lines of the access log were dropped"),
            None => {}
        }
    }
}

/// How what was written last ended.
#[derive(Debug, Default)]
struct Tail {
    /// In the middle of a line: the next one must not go on with it.
    is_torn: bool,
}

impl Tail {
    /// Writes whole lines; how many of them were written, and why not all.
    fn write(&mut self, output: &mut dyn Write, mut lines: String) -> (u64, io::Result<()>) {
        if self.is_torn && !lines.is_empty() {
            lines.insert(0, '\n');
        }
        let text = lines.as_bytes();
        let (mut at, mut result) = (0, Ok(()));
        while at < text.len() {
            match output.write(&text[at..]) {
                Ok(0) => {
                    result = Err(io::ErrorKind::WriteZero.into());
                    break;
                }
                Ok(count) => at += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    result = Err(error);
                    break;
                }
            }
        }
        let Some(last) = text[..at].last() else { return (0, result) };
        let ends = text[..at].iter().filter(|byte| **byte == b'\n').count() as u64;
        let own = ends - u64::from(self.is_torn);
        self.is_torn = *last != b'\n';
        (own, result)
    }
}

/// Lines that were lost and not told of yet.
#[derive(Debug, Default)]
struct Loss {
    lost: u64,
    error: Option<io::Error>,
    told: Option<Instant>,
}

impl Loss {
    /// Takes note of lines that were lost; gives what is to be told now.
    fn note(
        &mut self,
        now: Instant,
        lost: u64,
        error: Option<io::Error>,
    ) -> Option<(u64, Option<io::Error>)> {
        self.lost += lost;
        self.error = error.or(self.error.take());
        let is_due = self.told.is_none_or(|told| now.duration_since(told) >= TELL_EVERY);
        if self.lost == 0 || !is_due {
            return None;
        }
        self.told = Some(now);
        Some((std::mem::take(&mut self.lost), self.error.take()))
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

    fn put(target: &mut Target, line: &str) {
        let output = target.output().expect("it can be opened");
        let (written, result) = Tail::default().write(output, line.to_owned());
        result.expect("there is room");
        assert_eq!(written, 1);
    }

    /// A disk with room for so many bytes more.
    struct Disk {
        bytes: Vec<u8>,
        room: usize,
    }

    impl Write for Disk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let count = bytes.len().min(self.room);
            if count == 0 {
                return Err(io::ErrorKind::StorageFull.into());
            }
            self.room -= count;
            self.bytes.extend_from_slice(&bytes[..count]);
            Ok(count)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_line_that_a_full_disk_cuts_off_stays_alone() {
        let (mut disk, mut tail) = (Disk { bytes: Vec::new(), room: 9 }, Tail::default());
        let (written, result) = tail.write(&mut disk, "one\ntwo\nthree\n".into());
        assert_eq!((written, result.expect_err("full").kind()), (2, io::ErrorKind::StorageFull));
        assert_eq!(tail.write(&mut disk, "four\n".into()).0, 0);
        disk.room = 100;
        let (written, result) = tail.write(&mut disk, "five\nsix\n".into());
        assert!(written == 2 && result.is_ok());
        assert_eq!(disk.bytes, b"one\ntwo\nt\nfive\nsix\n");
    }

    #[test]
    fn a_loss_is_told_at_once_and_then_now_and_then() {
        let (mut loss, start) = (Loss::default(), Instant::now());
        let full = || Some(io::Error::from(io::ErrorKind::StorageFull));
        assert!(loss.note(start, 0, None).is_none());
        let told = loss.note(start, 3, full()).expect("the first is told at once");
        assert!(told.0 == 3 && told.1.is_some());
        for ms in [1, 5_000, 9_999] {
            assert!(loss.note(start + Duration::from_millis(ms), 2, full()).is_none());
        }
        let told = loss.note(start + TELL_EVERY, 0, None).expect("the rest, when it is time");
        assert!(told.0 == 6 && told.1.is_some());
        assert!(loss.note(start + TELL_EVERY * 3, 0, None).is_none(), "there is nothing more");
    }

    #[test]
    fn a_file_that_was_renamed_is_made_anew() {
        let directory = std::env::temp_dir().join(format!("muster-access-log-{}", std::process::id()));
        fs::create_dir_all(&directory).expect("a temporary directory can be made");
        let path = directory.join("log");
        let long_ago = Instant::now() - LOOK_EVERY;
        let mut target =
            Target::File { path: path.clone(), file: append(&path).expect("ours"), looked: long_ago };
        put(&mut target, "old\n");
        fs::rename(&path, directory.join("log.1")).expect("ours");
        if let Target::File { looked, .. } = &mut target {
            *looked = long_ago;
        }
        put(&mut target, "new\n");
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
        put(&mut target, "old\n");
        fs::rename(&path, directory.join("log.1")).expect("ours");
        target.reopen().expect("opened");
        put(&mut target, "new\n");
        assert_eq!(fs::read(&path).expect("made anew"), b"new\n");
        assert_eq!(fs::read(directory.join("log.1")).expect("kept"), b"old\n");
        fs::remove_dir_all(&directory).expect("ours");
    }
}
