//! Large tables: what a request costs with 10,000 routes and members beside 10 of each, how long a swap of such tables
//! takes, and how long it keeps a request waiting.
//!
//! A swap takes from the first byte that the router is told to the first request that goes where only the new table
//! leads. It is measured under load from a few clients, so that waiting in a queue of requests does not hide a stall.

use super::generator::{BACK_ENDS, Generator, Slice};
use super::told::{Plan, ToldRouter};
use super::{meter, statistics};
use crate::failure::{Failure, Outcome};
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

/// Sizes that are compared.
const FEW: usize = 10;
pub const MANY: usize = 10_000;
const CONNECTIONS: usize = 64;
/// Clients during a swap: few, so that what is measured is a stall and not their own queue.
const SWAP_CONNECTIONS: usize = 4;
const SIZE_BYTES: usize = 200;
const WARM_UP: Duration = Duration::from_millis(250);
const MEASURE: Duration = Duration::from_millis(600);
/// Load before a swap begins, and for how long it is watched in all.
const SWAP_AFTER: Duration = Duration::from_millis(300);
const SWAP_WATCH: Duration = Duration::from_millis(1_500);
/// Longest wait until a router that was told a table serves by it.
const READY_TIME_MAX: Duration = Duration::from_secs(20);

#[derive(Debug, Clone, serde::Serialize)]
pub struct Tables {
    pub routes: usize,
    /// Processor time per request with many, as a ratio to few in the same round.
    pub cost_ratio: statistics::Spread,
    pub swap_ms: statistics::Spread,
    /// The longest that a request took while a table was swapped; of each swap, in milliseconds.
    pub longest_request_ms: statistics::Spread,
    /// The same for as long without a swap: what the machine itself does to requests.
    pub longest_without_ms: statistics::Spread,
}

pub fn measure(rounds: usize, directory: &Path, generator: &mut Generator) -> Outcome<Tables> {
    let all = generator.addresses().to_vec();
    let plan =
        |prefix, count, back_ends: &[SocketAddr]| Plan { prefix, count, back_ends: back_ends.to_vec() };
    let few = start(&directory.join("few"), &plan("few", FEW, &all), generator)?;
    let many = start(&directory.join("many"), &plan("many", MANY, &all), generator)?;
    let mut ratios = Vec::new();
    for round in 1..=rounds {
        // Each goes first as often as the other.
        let (first, second) = if round % 2 == 0 { (&few, &many) } else { (&many, &few) };
        let (first, second) = (cost_us(first, generator)?, cost_us(second, generator)?);
        let (few, many) = if round % 2 == 0 { (first, second) } else { (second, first) };
        eprintln!("tables  round {round:>2}/{rounds}  {FEW} routes {few:.1} us  {MANY} routes {many:.1} us");
        ratios.push(many / few);
    }
    drop(few);
    let halves = [plan("left", MANY, &all[..BACK_ENDS / 2]), plan("right", MANY, &all[BACK_ENDS / 2..])];
    many.tell(&halves[1].frames(many.address)?)?;
    generator.serve(SWAP_WATCH)?;
    let (mut swaps, mut longest, mut without) = (Vec::new(), Vec::new(), Vec::new());
    for round in 1..=rounds {
        let to = &halves[(round + 1) % 2];
        without.push(longest_ms(&watch(&many, generator)?));
        let telling = many.tell_later(to.frames(many.address)?, SWAP_AFTER);
        let slice = watch(&many, generator)?;
        let began = telling.join().map_err(|_| Failure("the telling thread panicked".into()))?;
        let is_new = |index: usize| to.back_ends.contains(&all[index]);
        let first =
            (0..BACK_ENDS).filter(|index| is_new(*index)).filter_map(|index| slice.first_served[index]).min();
        let Some(first) = first else {
            return Err(Failure(format!("a table of {MANY} routes was not in force within {SWAP_WATCH:?}")));
        };
        let swap_ms = first.saturating_duration_since(began).as_secs_f64() * 1e3;
        eprintln!(
            "tables  swap {round:>2}/{rounds}  {swap_ms:.1} ms, longest request {:.2} ms",
            longest_ms(&slice)
        );
        swaps.push(swap_ms);
        longest.push(longest_ms(&slice));
    }
    Ok(Tables {
        routes: MANY,
        cost_ratio: statistics::spread(&ratios),
        swap_ms: statistics::spread(&swaps),
        longest_request_ms: statistics::spread(&longest),
        longest_without_ms: statistics::spread(&without),
    })
}

fn start(directory: &Path, plan: &Plan, generator: &mut Generator) -> Outcome<ToldRouter> {
    let router = ToldRouter::start(directory, plan)?;
    let started = std::time::Instant::now();
    loop {
        generator.serve(Duration::from_millis(50))?;
        match generator.open_idle(router.address, SIZE_BYTES, 1) {
            Ok(()) => break,
            Err(failure) if started.elapsed() > READY_TIME_MAX => return Err(failure),
            Err(_) => {}
        }
    }
    generator.close()?;
    Ok(router)
}

fn cost_us(router: &ToldRouter, generator: &mut Generator) -> Outcome<f64> {
    generator.open(router.address, SIZE_BYTES, CONNECTIONS)?;
    checked(generator.load(WARM_UP)?)?;
    let before = meter::read(router.pid())?;
    let slice = checked(generator.load(MEASURE)?)?;
    let usage = before.usage_until(&meter::read(router.pid())?);
    generator.close()?;
    Ok(usage.run.as_secs_f64() * 1e6 / slice.latencies.len().max(1) as f64)
}

/// Load from a few clients, without the time in which their connections become warm.
fn watch(router: &ToldRouter, generator: &mut Generator) -> Outcome<Slice> {
    generator.open(router.address, SIZE_BYTES, SWAP_CONNECTIONS)?;
    checked(generator.load(WARM_UP)?)?;
    let slice = checked(generator.load(SWAP_WATCH)?)?;
    generator.close()?;
    Ok(slice)
}

fn checked(slice: Slice) -> Outcome<Slice> {
    match slice.first_wrong {
        Some(wrong) => Err(Failure(format!("muster: {wrong}"))),
        None => Ok(slice),
    }
}

fn longest_ms(slice: &Slice) -> f64 {
    slice.latencies.iter().max().map_or(0.0, |nanoseconds| f64::from(*nanoseconds) / 1e6)
}
