//! When the next checkpoint is due: pure arithmetic on moments.

use crate::duration::Interval;
use std::time::{Duration, Instant};

/// Why a checkpoint is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// The interval has passed.
    Interval,
    /// The batch job ends soon.
    JobEnds,
    /// Somebody asked for it.
    Request,
}

/// What determines the next checkpoint.
#[derive(Debug, Clone, Copy)]
pub struct Schedule {
    /// Time between checkpoints.
    pub interval: Interval,
    /// When the last one was begun, or the program.
    pub last_begun: Instant,
    /// When the batch job ends.
    pub job_end: Option<Instant>,
    /// How long a checkpoint takes until it is durable.
    pub estimate: Duration,
    /// The last checkpoint before the job's end has been taken.
    pub last_taken: bool,
}

/// What a write may take longer than the longest so far, and the batch system be early.
const MARGIN: Duration = Duration::from_secs(5);

impl Schedule {
    /// When the last checkpoint before the job's end has to begin.
    pub fn last_chance(&self) -> Option<Instant> {
        let lead = self.estimate.mul_f64(1.5) + MARGIN;
        self.job_end
            .map(|end| end.checked_sub(lead).unwrap_or(self.last_begun))
    }

    /// The next checkpoint.
    pub fn next(&self) -> Option<(Instant, Why)> {
        let by_interval = match self.interval {
            Interval::Never => None,
            Interval::Every(every) => Some((self.last_begun + every, Why::Interval)),
        };
        let Some(last_chance) = self.last_chance() else {
            return by_interval;
        };
        if self.last_taken {
            return None;
        }
        match by_interval {
            Some((due, why)) if due < last_chance => Some((due, why)),
            _ => Some((last_chance, Why::JobEnds)),
        }
    }
}

/// How long a checkpoint will take: the longest so far, else a guess from the memory in use.
pub fn estimate(longest: Option<Duration>, resident_bytes: u64) -> Duration {
    /// A slow network file system.
    const BYTES_PER_SECOND: f64 = 100e6;
    longest.unwrap_or_else(|| Duration::from_secs_f64(resident_bytes as f64 / BYTES_PER_SECOND))
}

#[cfg(test)]
#[allow(clippy::expect_used)]
mod tests {
    use super::*;

    fn at(start: Instant, seconds: u64) -> Instant {
        start + Duration::from_secs(seconds)
    }

    fn schedule(start: Instant) -> Schedule {
        Schedule {
            interval: Interval::Every(Duration::from_secs(60)),
            last_begun: start,
            job_end: None,
            estimate: Duration::from_secs(10),
            last_taken: false,
        }
    }

    #[test]
    fn the_first_is_due_one_interval_after_the_start() {
        let start = Instant::now();
        assert_eq!(schedule(start).next(), Some((at(start, 60), Why::Interval)));
        assert_eq!(
            Schedule {
                interval: Interval::Never,
                ..schedule(start)
            }
            .next(),
            None
        );
    }

    #[test]
    fn the_last_is_durable_before_the_job_ends() {
        let start = Instant::now();
        let job = Schedule {
            job_end: Some(at(start, 240)),
            ..schedule(start)
        };
        assert_eq!(job.next(), Some((at(start, 60), Why::Interval)));
        let later = Schedule {
            last_begun: at(start, 180),
            ..job
        };
        assert_eq!(later.next(), Some((at(start, 220), Why::JobEnds)));
        assert_eq!(
            Schedule {
                last_taken: true,
                ..later
            }
            .next(),
            None
        );
        let never = Schedule {
            interval: Interval::Never,
            ..job
        };
        assert_eq!(never.next(), Some((at(start, 220), Why::JobEnds)));
    }

    #[test]
    fn a_job_that_ends_at_once_gets_its_checkpoint_now() {
        let start = Instant::now();
        let job = Schedule {
            job_end: Some(at(start, 3)),
            ..schedule(start)
        };
        let (due, why) = job.next().expect("due");
        assert!(due <= at(start, 3));
        assert_eq!(why, Why::JobEnds);
    }

    #[test]
    fn without_a_measurement_memory_tells() {
        assert_eq!(estimate(None, 1_000_000_000), Duration::from_secs(10));
        assert_eq!(
            estimate(Some(Duration::from_secs(3)), 1_000_000_000),
            Duration::from_secs(3)
        );
    }
}
