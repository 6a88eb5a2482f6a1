//! Waits for file descriptors: a server at its limit (`ulimit -n`) is busy, and no request or build is
//! wrong because of that.

use std::io;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::base::file::PathError;

/// Pause before another try to open a file or to accept a connection.
pub(super) const DESCRIPTOR_PAUSE: Duration = Duration::from_millis(100);

/// Maximum time to wait until a file can be opened. Idle connections are closed earlier than this.
const MAX_DESCRIPTOR_WAIT: Duration = Duration::from_secs(120);

/// Returns the result of `open`, which is called again while there are no free file descriptors.
///
/// `open` must close all that it opened if it fails, so that callers do not wait for one another.
///
/// # Errors
/// Fails as `open` does, at once or, without free descriptors, after [`MAX_DESCRIPTOR_WAIT`].
pub(super) async fn open_patiently<T>(
    mut open: impl FnMut() -> Result<T, PathError>,
) -> Result<T, PathError> {
    let start = Instant::now();
    loop {
        match open() {
            Err(error)
                if has_no_descriptor(&error.source) && start.elapsed() < MAX_DESCRIPTOR_WAIT =>
            {
                sleep(DESCRIPTOR_PAUSE).await;
            }
            result => return result,
        }
    }
}

/// True if the process or the machine has too many open files.
#[cfg(unix)]
fn has_no_descriptor(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let code = error.raw_os_error();
    [Errno::MFILE, Errno::NFILE].iter().any(|errno| code == Some(errno.raw_os_error()))
}

/// True if the process has too many open files: `ERROR_TOO_MANY_OPEN_FILES` of Windows.
#[cfg(not(unix))]
fn has_no_descriptor(error: &io::Error) -> bool {
    error.raw_os_error() == Some(4)
}

#[cfg(all(test, unix))]
mod tests {
    use rustix::io::Errno;

    use super::*;

    fn error(errno: Errno) -> PathError {
        PathError { action: "open", path: "upload".into(), source: errno.into() }
    }

    #[tokio::test(start_paused = true)]
    async fn a_file_is_opened_once_there_are_descriptors() {
        for errno in [Errno::MFILE, Errno::NFILE] {
            let (start, mut tries) = (Instant::now(), 0);
            let opened = open_patiently(|| {
                tries += 1;
                if tries < 50 { Err(error(errno)) } else { Ok(tries) }
            });
            assert_eq!(opened.await.unwrap(), 50);
            assert_eq!(start.elapsed().as_millis(), 49 * DESCRIPTOR_PAUSE.as_millis());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_wait_for_descriptors_ends() {
        let (start, mut tries) = (Instant::now(), 0);
        let opened = open_patiently(|| {
            tries += 1;
            Err::<(), _>(error(Errno::MFILE))
        });
        let failure = opened.await.unwrap_err();
        assert_eq!(failure.source.raw_os_error(), Some(Errno::MFILE.raw_os_error()));
        assert!((MAX_DESCRIPTOR_WAIT..MAX_DESCRIPTOR_WAIT * 2).contains(&start.elapsed()));
        assert!(tries < 2000, "{tries} tries are a busy loop");
    }

    #[tokio::test(start_paused = true)]
    async fn other_errors_are_returned_at_once() {
        let (start, mut tries) = (Instant::now(), 0);
        let opened = open_patiently(|| {
            tries += 1;
            Err::<(), _>(error(Errno::NOENT))
        });
        assert!(opened.await.is_err());
        assert_eq!((tries, start.elapsed()), (1, Duration::ZERO));
    }
}
