//! Sets up where log lines go: standard error, as text for people or as JSON for programs.

mod behind;

use behind::STDERR;
use std::io::IsTerminal;
use tracing_subscriber::EnvFilter;

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum LogFormat {
    #[default]
    Text,
    Json,
}

/// The level does not parse. Nothing was set up.
#[derive(Debug, thiserror::Error)]
#[error(
    "{level:?} is no log level; allowed are error, warn, info, debug, trace and filters such as muster::router=debug"
)]
pub struct BadLevel {
    level: String,
}

/// Logs from now on. `level` is a level, or a list of `module=level`.
pub fn start(format: LogFormat, level: &str) -> Result<(), BadLevel> {
    let bad = || BadLevel { level: level.to_owned() };
    // The filter takes any word for a module's name; a single word is meant as a level.
    let is_word = level.bytes().all(|byte| byte.is_ascii_alphanumeric());
    if is_word && level.parse::<tracing::Level>().is_err() && level != "off" {
        return Err(bad());
    }
    let filter = EnvFilter::try_new(level).map_err(|_| bad())?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(|| &STDERR);
    let set = match format {
        LogFormat::Text => builder.with_ansi(std::io::stderr().is_terminal()).with_target(false).try_init(),
        LogFormat::Json => {
            STDERR.speak_json();
            builder.json().flatten_event(true).try_init()
        }
    };
    // Fails only where logging is set up already, which is as good.
    drop(set);
    let tell = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        // What led to it comes first.
        finish();
        tell(panic);
    }));
    Ok(())
}

/// All that was logged is written, if anybody reads it. For the end of the process.
pub fn finish() {
    STDERR.finish();
}

/// An error with all that led to it, on one line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text += &format!(": {error}");
        source = error.source();
    }
    text
}
