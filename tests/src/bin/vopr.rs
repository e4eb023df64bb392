//! Plays scenarios of the simulated world: `vopr [SEED] [--minutes N] [--trace]`.
//!
//! Without a seed it begins at 1. With `--minutes` it goes on with the next seeds for so long.
//! Exit codes: 0 all held, 64 usage, 101 panic, 102 safety, 103 liveness, 104 two runs differed.

use std::panic::catch_unwind;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use sync_tests::scenario::{Outcome, Scenario};

const USAGE: &str = "usage: vopr [SEED] [--minutes N] [--trace]";

struct Arguments {
    seed: u64,
    minutes: u64,
    trace: bool,
}

fn arguments() -> Option<Arguments> {
    let mut arguments = Arguments { seed: 1, minutes: 0, trace: false };
    let mut given = std::env::args().skip(1);
    while let Some(argument) = given.next() {
        match argument.as_str() {
            "--trace" => arguments.trace = true,
            "--minutes" => arguments.minutes = given.next()?.parse().ok()?,
            seed => arguments.seed = seed.parse().ok()?,
        }
    }
    Some(arguments)
}

fn main() -> ExitCode {
    let Some(arguments) = arguments() else {
        eprintln!("{USAGE}");
        return ExitCode::from(64);
    };
    let began = Instant::now();
    let limit = Duration::from_secs(60 * arguments.minutes);
    let mut seed = arguments.seed;
    loop {
        let code = run(seed, &arguments);
        if code != 0 {
            return ExitCode::from(code);
        }
        seed += 1;
        if began.elapsed() >= limit {
            println!("{} seeds held", seed - arguments.seed);
            return ExitCode::SUCCESS;
        }
    }
}

fn run(seed: u64, arguments: &Arguments) -> u8 {
    let scenario = Scenario::draw(seed);
    if arguments.minutes == 0 {
        println!("{scenario}");
    }
    let play = || catch_unwind(|| scenario.play(arguments.trace));
    let Ok(first) = play() else {
        println!("seed {seed}: PANIC");
        reproduce(seed);
        return 101;
    };
    match &first {
        Outcome::Sound { commands, took, .. } => {
            if seed.is_multiple_of(8) || arguments.minutes == 0 {
                let second = play().ok();
                if second.as_ref() != Some(&first) {
                    println!("seed {seed}: D1, two runs differ: {first:?} and {second:?}");
                    reproduce(seed);
                    return 104;
                }
            }
            println!("seed {seed}: held, {commands} commands in {took:?} of virtual time");
            0
        }
        Outcome::Safety(violation) => {
            println!("seed {seed}: SAFETY, {violation}");
            let id = violation.id;
            shrunk(&scenario, |outcome| matches!(outcome, Outcome::Safety(v) if v.id == id));
            reproduce(seed);
            102
        }
        Outcome::Liveness(text) => {
            println!("seed {seed}: LIVENESS, {text}");
            let kind = text.split(':').next().unwrap_or_default().to_owned();
            shrunk(
                &scenario,
                |outcome| matches!(outcome, Outcome::Liveness(text) if text.starts_with(&kind)),
            );
            reproduce(seed);
            103
        }
    }
}

fn shrunk(scenario: &Scenario, same: impl Fn(&Outcome) -> bool) {
    let small = scenario.shrink(same);
    println!("shrunk: {small}\n{:?}", small.play(false));
}

fn reproduce(seed: u64) {
    println!("reproduce: cargo run -p sync-tests --bin vopr -- {seed} --trace");
}
