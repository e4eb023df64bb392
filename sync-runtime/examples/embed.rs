//! The daemon as a library: syncs one relay once into a directory, and says what came of it.
//!
//! `cargo run -p sync-runtime --example embed -- wss://relay.example ./store`

use std::error::Error;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use sync_core::event::Event as Happened;
use sync_runtime::service::SyncService;
use sync_runtime::settings::{OrOff, Settings};
use tokio::sync::broadcast::error::RecvError;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let (Some(relay), Some(dir)) = (args.next(), args.next()) else {
        return Err("usage: embed RELAY DIRECTORY".into());
    };

    // What is configured in a file for the daemon is a plain structure here.
    let mut settings = Settings { data_dir: Some(PathBuf::from(dir)), ..Settings::default() };
    settings.http = OrOff::OFF;
    settings.core.sync.relays.push(relay);
    settings.core.sync.discover = false;
    settings.core.accept.archive.push("all".into());

    // Called by the store's writer once an event is durable: hand it on, do not wait.
    let stored = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&stored);
    let service = SyncService::builder(settings)
        .once(true)
        .on_stored(Arc::new(move |_event, _conn| {
            counter.fetch_add(1, Ordering::Relaxed);
        }))
        .start()
        .await?;

    // What the core says is a stream; who falls behind is told how much was missed.
    let mut events = service.handle().subscribe();
    let watcher = tokio::spawn(async move {
        loop {
            match events.recv().await {
                Ok(Happened::StatusChanged { from, to, reason, .. }) => {
                    println!("{} -> {} ({})", from.as_str(), to.as_str(), reason.as_str());
                }
                Ok(_) => {}
                Err(RecvError::Lagged(missed)) => println!("missed {missed} events"),
                Err(RecvError::Closed) => break,
            }
        }
    });

    let progress = service.finished().await;
    let handle = service.handle();
    for relay in handle.outcome().relays {
        println!(
            "{} {}: {} new, {} known",
            relay.status.as_str(),
            relay.url,
            relay.stored,
            relay.known
        );
    }
    for explanation in handle.explain_all().await {
        for (_, gap) in explanation.gaps {
            println!("missing {}: {}", gap.range, gap.reason.as_str());
        }
    }
    println!("complete: {}, stored: {}", progress.is_complete(), stored.load(Ordering::Relaxed));

    drop(handle);
    service.shutdown().await;
    watcher.await?;
    Ok(())
}
