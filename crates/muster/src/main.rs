//! The one binary. Only hands over: what to do is in `cli`, how each role works in its own module.

mod accounts;
mod agent;
mod cli;
mod clock;
mod compat;
mod config;
mod console;
mod demo;
mod driver;
mod heartbeat;
mod identity;
mod kept_file;
mod late_manager;
mod link;
mod lock_file;
mod logging;
mod manager;
mod monitor;
mod ocf;
mod placement;
mod polite;
mod readable;
mod resource;
mod role;
mod roles;
mod router;
mod sample_app;
mod script;
mod secret_file;
mod tls;
mod upgrade;

fn main() -> std::process::ExitCode {
    cli::main()
}
