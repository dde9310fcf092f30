//! One line for each request, if wanted: in the common format or as JSON.
//!
//! Lines are written by a thread of their own behind a bounded queue: a slow disk drops lines, counted, and never
//! holds up a request. The file is opened anew after SIGHUP-like rotation by its path changing inode is not watched:
//! rotation is by copy and truncate, or by `muster apply`.

use super::request::Request;
use std::fs::OpenOptions;
use std::io::{self, BufWriter, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{SystemTime, UNIX_EPOCH};
use wire::settings::{AccessLog, AccessLogFormat};

/// Lines that may wait for the disk: a second of a busy router.
const LINES_MAX: usize = 16 * 1024;

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
    let file: Box<dyn Write + Send> = match settings.path.as_str() {
        "" => Box::new(io::stdout()),
        path => Box::new(OpenOptions::new().append(true).create(true).open(path)?),
    };
    let (lines, waiting) = sync_channel(LINES_MAX);
    let dropped = Arc::new(AtomicU64::new(0));
    let counter = dropped.clone();
    std::thread::Builder::new()
        .name("access-log".into())
        .spawn(move || write_lines(file, &waiting, &counter))?;
    Ok(Some(AccessLogHandle { format: settings.format, lines, dropped }))
}

/// Writes until every data thread has let go of its handle.
fn write_lines(file: Box<dyn Write + Send>, lines: &Receiver<String>, dropped: &AtomicU64) {
    let mut file = BufWriter::new(file);
    while let Ok(line) = lines.recv() {
        let mut written = file.write_all(line.as_bytes());
        while let Ok(line) = lines.try_recv() {
            written = written.and_then(|()| file.write_all(line.as_bytes()));
        }
        if let Err(error) = written.and_then(|()| file.flush()) {
            dropped.fetch_add(1, Ordering::Relaxed);
            tracing::warn!(%error, "the access log could not be written");
        }
        let lost = dropped.swap(0, Ordering::Relaxed);
        if lost > 0 {
            tracing::warn!(lost, "lines of the access log were dropped");
        }
    }
}

impl AccessLogHandle {
    pub fn write(&self, client: &str, request: &Request, now_us: u64, status: u16, bytes: u64) {
        let line = String::from_utf8_lossy(request.line());
        let text = match self.format {
            AccessLogFormat::Off => return,
            AccessLogFormat::Common => {
                format!(
                    "{client} - - [{}] \"{line}\" {status} {bytes}\n",
                    common_time(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs())
                )
            }
            AccessLogFormat::Json => json_line(client, &line, request, now_us, status, bytes),
        };
        if self.lines.try_send(text).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

fn json_line(client: &str, line: &str, request: &Request, now_us: u64, status: u16, bytes: u64) -> String {
    let at_ms = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64;
    let mut parts = line.splitn(3, ' ');
    let value = serde_json::json!({
        "time_ms": at_ms,
        "client": client,
        "method": parts.next().unwrap_or_default(),
        "target": parts.next().unwrap_or_default(),
        "status": status,
        "bytes": bytes,
        "duration_us": now_us.saturating_sub(request.started_us),
        "cluster": request.cluster.view.borrow().cluster,
        "member": request.member.name,
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
}
