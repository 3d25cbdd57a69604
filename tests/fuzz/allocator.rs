//! Counts what one thread has allocated while it reads one input.
//!
//! A global allocator is an `unsafe` trait: this forwards to the system's and adds two counters.
#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::io::Write;

/// A single request above this ends the process at once: the memory may really be taken otherwise.
const REQUEST_MAX: usize = 1 << 30;

thread_local! {
    static LIVE: Cell<isize> = const { Cell::new(0) };
    static PEAK: Cell<isize> = const { Cell::new(0) };
    /// Which target and which round, for the words before an abort.
    static READING: Cell<(&'static str, u64)> = const { Cell::new(("", 0)) };
}

pub struct Counting;

fn add(bytes: usize) {
    let _ = READING.try_with(|reading| {
        let (target, round) = reading.get();
        if bytes > REQUEST_MAX && !target.is_empty() {
            let _ = writeln!(std::io::stderr(), "fuzz target {target}, round {round}: {bytes} bytes wanted at once");
            std::process::abort();
        }
    });
    let _ = LIVE.try_with(|live| {
        live.set(live.get() + bytes as isize);
        let _ = PEAK.try_with(|peak| peak.set(peak.get().max(live.get())));
    });
}

fn remove(bytes: usize) {
    let _ = LIVE.try_with(|live| live.set(live.get() - bytes as isize));
}

// SAFETY: every call goes to the system allocator with the same arguments; the counters do not allocate.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        add(layout.size());
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        add(layout.size());
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        remove(layout.size());
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, bytes: usize) -> *mut u8 {
        // Both may exist for a moment.
        add(bytes);
        remove(layout.size());
        unsafe { System.realloc(pointer, layout, bytes) }
    }
}

/// Runs something on this thread and says how many bytes it held at once, beyond what was there before.
pub fn peak<T>(target: &'static str, round: u64, work: impl FnOnce() -> T) -> (T, usize) {
    READING.set((target, round));
    let before = LIVE.get();
    PEAK.set(before);
    let done = work();
    let peak = PEAK.get() - before;
    READING.set(("", 0));
    (done, usize::try_from(peak).unwrap_or(0))
}
