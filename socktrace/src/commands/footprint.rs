//! How much memory the process takes, where that is not a matter of what it knows.

/// One heap for all threads: each would have its own, and keep in it what it took at most. They rarely
/// allocate at the same time. And what is large stays out of it, and is given back when it is freed: the
/// lists of a look, tables that have grown. To be called before there are other threads.
pub(super) fn share_heap() {
    #[cfg(target_env = "gnu")]
    // SAFETY: mallopt(3) takes no pointer; no other thread allocates yet.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 1);
        libc::mallopt(libc::M_MMAP_THRESHOLD, 1 << 16);
    }
}

/// Reading the kernel's types takes tens of megabytes once, and a look some; the allocator would keep
/// them.
pub(super) fn give_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: malloc_trim(3) takes no pointer and may be called at any time, by any thread.
    unsafe {
        libc::malloc_trim(0);
    }
}
