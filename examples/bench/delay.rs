//! A wire of a certain length: every packet that one TUN device sends reaches the other that much later.

use std::fs::File;
use std::io::{Read, Result, Write};
use std::os::fd::AsFd;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

/// The largest packet of IP.
const PACKET: usize = 65536;

/// Forwards until a device goes away. The devices are standard input and standard output, which both are read and
/// written: the one way to be given open files without unsafe code.
pub fn forward(delay: Duration) -> Result<()> {
    let near = File::from(std::io::stdin().as_fd().try_clone_to_owned()?);
    let far = File::from(std::io::stdout().as_fd().try_clone_to_owned()?);
    std::thread::scope(|scope| {
        for (from, to) in [(&near, &far), (&far, &near)] {
            let (sender, receiver) = channel();
            scope.spawn(move || take(from, &sender, delay));
            scope.spawn(move || give(&receiver, to));
        }
    });
    Ok(())
}

fn take(mut from: &File, sender: &Sender<(Instant, Vec<u8>)>, delay: Duration) {
    let mut buffer = vec![0; PACKET];
    while let Ok(count) = from.read(&mut buffer) {
        let packet = buffer.iter().take(count).copied().collect();
        if sender.send((Instant::now() + delay, packet)).is_err() {
            return;
        }
    }
}

#[allow(
    clippy::disallowed_methods,
    reason = "this thread has nothing else to do, and its wait is what it is for"
)]
fn give(receiver: &Receiver<(Instant, Vec<u8>)>, mut to: &File) {
    for (due, packet) in receiver {
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        // refused while the device is down: lost, as packets may be
        to.write_all(&packet).ok();
    }
}
