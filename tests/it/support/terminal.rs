//! A program on a terminal, and the keys that a person presses.

use std::fs::File;
use std::io::{Read, Write};
use std::process::{Child, Command};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use rustix::fs::{Mode, OFlags};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

/// Maximum time until an expected text is shown.
const MAX_WAIT: Duration = Duration::from_secs(60);

/// A program on a terminal of 200 columns. It is killed when this is dropped.
pub(crate) struct Terminal {
    keyboard: File,
    screen: Receiver<Vec<u8>>,
    /// Text since the last [`Terminal::wait_for`].
    text: String,
    program: Child,
}

impl Terminal {
    pub(crate) fn start(mut command: Command) -> Self {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let size = Winsize { ws_row: 50, ws_col: 200, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&master, size).unwrap();
        let name = ptsname(&master, Vec::new()).unwrap();
        let terminal =
            rustix::fs::open(&*name, OFlags::RDWR | OFlags::NOCTTY, Mode::empty()).unwrap();
        command.stdin(terminal.try_clone().unwrap()).stdout(terminal.try_clone().unwrap());
        command.stderr(terminal);
        let program = command.spawn().unwrap();
        // The command keeps the terminal open.
        drop(command);
        let keyboard = File::from(master);
        let (mut output, (sender, screen)) = (keyboard.try_clone().unwrap(), channel());
        std::thread::spawn(move || {
            let mut part = [0; 4096];
            // Linux reports the end as an error.
            while let Ok(read @ 1..) = output.read(&mut part) {
                if sender.send(part[..read].to_vec()).is_err() {
                    return;
                }
            }
        });
        Self { keyboard, screen, text: String::new(), program }
    }

    pub(crate) fn type_in(&mut self, keys: &str) {
        self.keyboard.write_all(keys.as_bytes()).unwrap();
    }

    /// Waits until a text is shown, and forgets everything up to its end.
    #[track_caller]
    pub(crate) fn wait_for(&mut self, expected: &str) {
        loop {
            if let Some(at) = self.text.find(expected) {
                self.text.drain(..at + expected.len());
                return;
            }
            let Ok(part) = self.screen.recv_timeout(MAX_WAIT) else {
                panic!("{expected:?} is not shown:\n{:?}", self.text);
            };
            self.text.push_str(&String::from_utf8_lossy(&part));
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.program.kill();
        let _ = self.program.wait();
    }
}
