//! Where a plugin's memory comes from: first from room that its module has from the start, and only then from more pages.
//!
//! Nearly every call needs less than that room. A memory that never grows is one that the host need not open up
//! and close again for each call, which costs more than the rest of a small one. The allocator itself is the one that the
//! standard library has for this target.
//!
//! Its own code hands out each byte of the room once at most, and holds no lock: a module has one thread.

#![allow(unsafe_code, reason = "an allocator cannot be written without")]

use std::alloc::{GlobalAlloc, Layout};
use std::cell::{Cell, UnsafeCell};

use dlmalloc::{Allocator, Dlmalloc};

/// The room, in bytes. What of it is not touched costs nothing.
const ROOM_BYTES: usize = 256 << 10;

/// A page of WebAssembly, in bytes.
const PAGE_BYTES: usize = 64 << 10;

#[global_allocator]
static HEAP: Heap = Heap(UnsafeCell::new(Dlmalloc::new_with_allocator(Pages { room_taken: Cell::new(false) })));

static ROOM: Room = Room(UnsafeCell::new([0; ROOM_BYTES]));

#[repr(align(16))]
struct Room(UnsafeCell<[u8; ROOM_BYTES]>);

// SAFETY: there is one thread, and nobody but the allocator, which has taken it, uses it.
unsafe impl Sync for Room {}

struct Heap(UnsafeCell<Dlmalloc<Pages>>);

// SAFETY: there is one thread.
unsafe impl Sync for Heap {}

struct Pages {
    room_taken: Cell<bool>,
}

// SAFETY: each region is zeroed, aligned to 16 bytes at least, given once and never taken back.
unsafe impl Allocator for Pages {
    fn alloc(&self, size: usize) -> (*mut u8, usize, u32) {
        if size <= ROOM_BYTES && !self.room_taken.replace(true) {
            return (ROOM.0.get().cast(), ROOM_BYTES, 0);
        }
        let pages = size.div_ceil(PAGE_BYTES);
        match core::arch::wasm32::memory_grow::<0>(pages) {
            usize::MAX => (std::ptr::null_mut(), 0, 0),
            before => {
                let base = before * PAGE_BYTES;
                // The last byte of the address space is left alone, so that no pointer past an end wraps around.
                let spare = if base.wrapping_add(pages * PAGE_BYTES) == 0 { 16 } else { 0 };
                (std::ptr::without_provenance_mut(base), pages * PAGE_BYTES - spare, 0)
            }
        }
    }

    fn remap(&self, _: *mut u8, _: usize, _: usize, _: bool) -> *mut u8 {
        std::ptr::null_mut()
    }

    fn free_part(&self, _: *mut u8, _: usize, _: usize) -> bool {
        false
    }

    fn free(&self, _: *mut u8, _: usize) -> bool {
        false
    }

    fn can_release_part(&self, _: u32) -> bool {
        false
    }

    fn allocates_zeros(&self) -> bool {
        true
    }

    fn page_size(&self) -> usize {
        PAGE_BYTES
    }
}

// SAFETY: there is one thread and the allocator calls nobody back, so the one reference is the only one; the rest is
// `Dlmalloc`'s, whose functions have the contract of these.
unsafe impl GlobalAlloc for Heap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        unsafe { (*self.0.get()).malloc(layout.size(), layout.align()) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        unsafe { (*self.0.get()).calloc(layout.size(), layout.align()) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        unsafe { (*self.0.get()).free(at, layout.size(), layout.align()) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        unsafe { (*self.0.get()).realloc(at, layout.size(), layout.align(), size) }
    }
}
