//! The threads that decode: as many as were asked for, named, and the same from the first object to the last.
//!
//! The runtime's own blocking threads come and go, and an allocator that keeps memory for each thread keeps what every
//! one of them ever needed. These few take what the object before has given back.

use std::any::Any;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use crate::fetch::Problem;

type Work = Box<dyn FnOnce() + Send>;

/// A few threads. They end when the last of its owners is gone, each after the work at hand.
#[derive(Debug, Clone)]
pub(super) struct Decoders {
    places: Arc<Semaphore>,
    sender: SyncSender<Work>,
}

/// The right to hand in one piece of work.
#[derive(Debug)]
pub(super) struct Place {
    /// Held, not read.
    _permit: OwnedSemaphorePermit,
}

impl Decoders {
    /// Pieces of work that are handed in while all threads are busy: so that none waits for the next.
    const SPARE: usize = 1;

    /// Starts the threads, at least one.
    ///
    /// # Errors
    /// The system gives no thread.
    pub fn start(threads: usize) -> io::Result<Self> {
        let threads = threads.max(1);
        let places = threads + Self::SPARE;
        // Whoever has a place finds room: handing in never blocks.
        let (sender, receiver) = sync_channel(places);
        let receiver = Arc::new(Mutex::new(receiver));
        for number in 0..threads {
            let receiver = receiver.clone();
            let thread = std::thread::Builder::new().name(format!("decoder-{number}"));
            let started = thread.spawn(move || decode_all(&receiver));
            match started {
                Ok(_) => {}
                // Fewer threads do the same work.
                Err(_) if number > 0 => break,
                Err(error) => return Err(error),
            }
        }
        Ok(Decoders { places: Arc::new(Semaphore::new(places)), sender })
    }

    /// Waits until work can be handed in, in the order of asking.
    pub async fn place(&self) -> Option<Place> {
        self.places.clone().acquire_owned().await.ok().map(|permit| Place { _permit: permit })
    }

    /// Has something done on one of the threads. It may block there.
    ///
    /// # Errors
    /// [`Problem::Other`] if it panicked.
    pub async fn run<T: Send + 'static>(
        &self,
        place: Option<Place>,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Problem> {
        let (give, result) = oneshot::channel();
        let work = move || {
            let done = catch_unwind(AssertUnwindSafe(work));
            drop(place);
            // Nobody may be waiting any more.
            let _ = give.send(done.map_err(|panic| message(panic.as_ref())));
        };
        let gone = || Problem::Other("could not be looked at: the threads that decode are gone".to_owned());
        self.sender.send(Box::new(work)).map_err(|_| gone())?;
        match result.await {
            Ok(Ok(done)) => Ok(done),
            Ok(Err(panic)) => Err(Problem::Other(format!("could not be looked at: {panic}"))),
            Err(_) => Err(gone()),
        }
    }
}

fn decode_all(receiver: &Mutex<Receiver<Work>>) {
    loop {
        // The lock is held while waiting: the others wait for it instead.
        let work = receiver.lock().unwrap_or_else(PoisonError::into_inner).recv();
        match work {
            Ok(work) => work(),
            Err(_) => return,
        }
    }
}

fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
    text.map_or_else(|| "the program failed".to_owned(), |text| format!("the program failed: {text}"))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::thread;
    use std::time::{Duration, Instant};

    use futures::future::join_all;

    use super::*;

    #[tokio::test]
    async fn work_is_done_by_so_many_threads_and_by_the_same_ones() {
        let decoders = Decoders::start(2).unwrap();
        let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let work = (0..40).map(|number| {
            let (decoders, now, most) = (decoders.clone(), now.clone(), most.clone());
            async move {
                let place = decoders.place().await;
                let work = move || {
                    most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                    thread::sleep(Duration::from_millis(1));
                    now.fetch_sub(1, Ordering::SeqCst);
                    (number, thread::current().name().map(str::to_owned))
                };
                decoders.run(place, work).await.unwrap()
            }
        });
        let done = join_all(work).await;
        assert!(done.iter().map(|(number, _)| *number).eq(0..40));
        let threads: BTreeSet<_> = done.into_iter().map(|(_, name)| name.unwrap()).collect();
        assert_eq!(threads.into_iter().collect::<Vec<_>>(), ["decoder-0", "decoder-1"]);
        assert_eq!(most.load(Ordering::SeqCst), 2);
    }

    #[tokio::test]
    async fn a_panic_is_a_problem_of_one_object() {
        let decoders = Decoders::start(1).unwrap();
        let place = decoders.place().await;
        let fails: Result<(), _> = decoders.run(place, || panic!("no such block")).await;
        let Err(Problem::Other(why)) = fails else { panic!("it passed") };
        assert_eq!(why, "could not be looked at: the program failed: no such block");
        let place = decoders.place().await;
        assert_eq!(decoders.run(place, || 7).await.unwrap(), 7);
        assert_eq!(decoders.places.available_permits(), 1 + Decoders::SPARE);
    }

    #[tokio::test]
    async fn the_threads_end_with_their_owners() {
        struct Alive(Arc<AtomicUsize>);
        impl Drop for Alive {
            fn drop(&mut self) {
                self.0.fetch_add(1, Ordering::SeqCst);
            }
        }
        thread_local! { static KEPT: std::cell::RefCell<Option<Alive>> = const { std::cell::RefCell::new(None) } }
        let ended = Arc::new(AtomicUsize::new(0));
        let decoders = Decoders::start(1).unwrap();
        let other = decoders.clone();
        let (place, mark) = (decoders.place().await, ended.clone());
        decoders.run(place, || KEPT.set(Some(Alive(mark)))).await.unwrap();
        drop(decoders);
        assert_eq!(other.run(None, || 1).await.unwrap(), 1);
        assert_eq!(ended.load(Ordering::SeqCst), 0);
        drop(other);
        let begun = Instant::now();
        while ended.load(Ordering::SeqCst) == 0 {
            assert!(begun.elapsed() < Duration::from_secs(30), "the thread still runs");
            thread::sleep(Duration::from_millis(1));
        }
    }
}
