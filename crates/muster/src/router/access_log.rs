//! One line for each request, if wanted: in the common format or as JSON.
//!
//! Lines are written by a thread of their own behind a bounded queue: a slow disk drops lines, counted, and never
//! holds up a request. A file that was renamed or removed is made anew within a second of the next line, so any
//! rotation works without a signal.

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

/// What is told of a request.
#[derive(Debug)]
pub struct Entry<'a> {
    pub client: &'a str,
    /// Method and target; empty for a request that could not be read.
    pub line: &'a str,
    pub status: u16,
    /// Of the body of the member's answer; 0 for an answer of the router's own.
    pub bytes: u64,
    pub duration_us: u64,
    /// Who answered; None if the router did.
    pub member: Option<(&'a str, &'a str)>,
}

/// A data thread's way to the log.
#[derive(Debug, Clone)]
pub struct AccessLogHandle {
    format: AccessLogFormat,
    lines: SyncSender<String>,
    dropped: Arc<AtomicU64>,
}

/// Opens the log; None if it is off.
pub fn open(settings: &AccessLog) -> io::Result<Option<AccessLogHandle>> {
    if settings.format == AccessLogFormat::Off {
        return Ok(None);
    }
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
    Ok(Some(AccessLogHandle { format: settings.format, lines, dropped }))
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
fn write_lines(mut target: Target, lines: &Receiver<String>, dropped: &AtomicU64) {
    while let Ok(mut text) = lines.recv() {
        let mut count = 1;
        while let Ok(line) = lines.try_recv() {
            text += &line;
            count += 1;
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
    pub fn write(&self, entry: &Entry<'_>) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let text = match self.format {
            AccessLogFormat::Off => return,
            AccessLogFormat::Common => common_line(entry, now.as_secs()),
            AccessLogFormat::Json => json_line(entry, now.as_millis() as u64),
        };
        if self.lines.try_send(text).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

fn common_line(entry: &Entry<'_>, unix_s: u64) -> String {
    let Entry { client, line, status, bytes, .. } = entry;
    // A target may hold quotes and backslashes; in the log they must not end the field.
    let line = line.replace('\\', "\\\\").replace('"', "\\\"");
    let line = if line.is_empty() { "-".to_owned() } else { format!("{line} HTTP/1.1") };
    format!("{client} - - [{}] \"{line}\" {status} {bytes}\n", common_time(unix_s))
}

fn json_line(entry: &Entry<'_>, time_ms: u64) -> String {
    let (method, target) = entry.line.split_once(' ').unwrap_or_default();
    let value = serde_json::json!({
        "time_ms": time_ms,
        "client": entry.client,
        "method": method,
        "target": target,
        "status": entry.status,
        "bytes": entry.bytes,
        "duration_us": entry.duration_us,
        "cluster": entry.member.map(|(cluster, _)| cluster),
        "member": entry.member.map(|(_, member)| member),
    });
    format!("{value}\n")
}

/// `22/Nov/2026:00:00:00 +0000`.
fn common_time(unix_s: u64) -> String {
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let (year, month, day) = date_of(unix_s / 86_400);
    let (hour, minute, second) = (unix_s / 3600 % 24, unix_s / 60 % 60, unix_s % 60);
    format!("{day:02}/{}/{year}:{hour:02}:{minute:02}:{second:02} +0000", MONTHS[month - 1])
}

/// Year, month (1 to 12) and day of a day counted from 1970-01-01, by counting in eras of 400 years that begin in March.
fn date_of(days: u64) -> (u64, usize, u64) {
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month as usize, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        assert_eq!(common_time(0), "01/Jan/1970:00:00:00 +0000");
        assert_eq!(common_time(951_782_399), "28/Feb/2000:23:59:59 +0000");
        assert_eq!(common_time(951_782_400), "29/Feb/2000:00:00:00 +0000");
        assert_eq!(common_time(1_795_305_600 + 61), "22/Nov/2026:00:01:01 +0000");
        assert_eq!(common_time(4_107_542_400), "01/Mar/2100:00:00:00 +0000");
    }

    #[test]
    fn a_target_with_quotes_stays_one_field() {
        let entry = Entry {
            client: "1.2.3.4",
            line: "GET /\"x\\",
            status: 404,
            bytes: 5,
            duration_us: 7,
            member: None,
        };
        let expected = "1.2.3.4 - - [01/Jan/1970:00:00:00 +0000] \"GET /\\\"x\\\\ HTTP/1.1\" 404 5\n";
        assert_eq!(common_line(&entry, 0), expected);
        let value: serde_json::Value = serde_json::from_str(&json_line(&entry, 1)).expect("JSON");
        assert_eq!(value["target"], "/\"x\\");
        assert_eq!(value["member"], serde_json::Value::Null);
    }

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
}
