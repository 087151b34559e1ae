//! Who waits for something to happen hears of it at once, and of what happens right after it together.

use std::time::Duration;

use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};

/// Between two looks at the database that rings have caused.
const BREATH: Duration = Duration::from_millis(20);

/// Hears the changes of a value: the first at once, those that follow within a breath as one. Under load a look then serves many calls
/// instead of each commit costing every listener a look.
#[derive(Debug)]
pub(crate) struct Ear<T> {
    of: watch::Receiver<T>,
    /// It has rung, and nobody has been told yet.
    rung: bool,
    again: Instant,
}

impl<T> Ear<T> {
    pub(crate) fn new(of: watch::Receiver<T>) -> Self {
        Self { of, rung: false, again: Instant::now() }
    }

    /// Waits for a change after the last one that was told. May be dropped and called again: nothing is lost.
    pub(crate) async fn rung(&mut self) {
        if !self.rung && self.of.changed().await.is_err() {
            // Nobody is left who could ring.
            return std::future::pending().await;
        }
        self.rung = true;
        sleep_until(self.again).await;
        self.rung = false;
        self.of.mark_unchanged();
        self.again = Instant::now() + BREATH;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_first_ring_is_heard_at_once_and_the_next_ones_together() {
        let bell = watch::Sender::new(0);
        let mut ear = Ear::new(bell.subscribe());
        let begin = Instant::now();
        let told = async |ear: &mut Ear<i32>| {
            tokio::time::timeout(Duration::from_secs(9), ear.rung()).await.ok().map(|()| begin.elapsed().as_millis())
        };
        bell.send_replace(1);
        assert_eq!(told(&mut ear).await, Some(0));
        bell.send_replace(2);
        // Who gives up waiting loses nothing.
        assert!(tokio::time::timeout(Duration::from_millis(5), ear.rung()).await.is_err());
        bell.send_replace(3);
        let second = told(&mut ear).await.unwrap();
        assert!((20..=22).contains(&second), "{second}");
        assert_eq!(told(&mut ear).await, None);
    }
}
