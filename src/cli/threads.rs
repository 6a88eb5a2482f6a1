//! Checks that the operating system allows enough threads. The libraries that start them panic if it
//! does not.

use std::io;
use std::sync::{Arc, Mutex, mpsc};
use std::thread;

/// Threads beside those for each core: tokio starts them to wait for files.
const EXTRA_THREADS: usize = 4;

/// Starts as many threads at once as the program usually has, and ends them again.
///
/// # Errors
///
/// Fails if one cannot be started.
pub(super) fn check() -> io::Result<()> {
    // Tokio and rayon each start one for each core.
    let count = 2 * thread::available_parallelism().map_or(1, usize::from) + EXTRA_THREADS;
    let (release, released) = mpsc::channel::<()>();
    let released = Arc::new(Mutex::new(released));
    let mut threads = Vec::with_capacity(count);
    for _ in 0..count {
        let released = Arc::clone(&released);
        // One waits for the sender, which is dropped at the end, and the others wait for that one.
        let wait = move || released.lock().is_ok_and(|released| released.recv().is_ok());
        threads.push(thread::Builder::new().spawn(wait)?);
    }
    drop(release);
    for thread in threads {
        // They only wait, and cannot panic.
        let _ = thread.join();
    }
    Ok(())
}
