//! Buffers that clients of a thread have left when they became idle, for those that become busy: most clients are idle most of the time, and
//! memory taken and given back with each transaction costs as much as a plan's lookup.

use std::cell::RefCell;

use bytes::BytesMut;

/// A buffer has room for so much at least: most statements, and most answers.
pub const SPARE_BYTES: usize = 1000;

/// What has grown longer is not kept.
const SPARE_BYTES_MAX: usize = 4 * SPARE_BYTES;

/// A thread keeps so many.
const SPARES_MAX: usize = 128;

thread_local! {
    static SPARES: RefCell<Vec<BytesMut>> = const { RefCell::new(Vec::new()) };
}

/// An empty buffer.
pub fn take() -> BytesMut {
    let spare = SPARES.with(|spares| spares.try_borrow_mut().ok().and_then(|mut spares| spares.pop()));
    spare.unwrap_or_else(|| BytesMut::with_capacity(SPARE_BYTES))
}

/// Gives a buffer back.
pub fn give(mut buffer: BytesMut) {
    buffer.clear();
    // What has been taken from its start is memory, too, and comes back if nobody else has a part of it.
    if buffer.try_reclaim(SPARE_BYTES_MAX + 1) || buffer.capacity() < SPARE_BYTES {
        return;
    }
    SPARES.with(|spares| {
        if let Ok(mut spares) = spares.try_borrow_mut()
            && spares.len() < SPARES_MAX
        {
            spares.push(buffer);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_is_used_again_unless_it_is_too_short_or_too_long() {
        let mut buffer = take();
        buffer.extend_from_slice(b"secret");
        let place = buffer.as_ptr();
        give(buffer);
        give(BytesMut::with_capacity(SPARE_BYTES - 1));
        give(BytesMut::with_capacity(SPARE_BYTES_MAX + 1));
        give(BytesMut::new());
        let again = take();
        assert!(again.is_empty() && again.as_ptr() == place && again.capacity() >= SPARE_BYTES);
        assert_ne!(take().as_ptr(), place);
    }

    #[test]
    fn what_is_left_of_a_long_buffer_is_not_kept() {
        let mut buffer = BytesMut::with_capacity(5 * SPARE_BYTES_MAX);
        buffer.resize(5 * SPARE_BYTES_MAX - SPARE_BYTES, 0);
        drop(buffer.split());
        assert!((SPARE_BYTES..=SPARE_BYTES_MAX).contains(&buffer.capacity()));
        give(buffer);
        assert_eq!(SPARES.with_borrow(Vec::len), 0);
    }

    #[test]
    fn no_more_are_kept_than_are_needed() {
        for _ in 0..2 * SPARES_MAX {
            give(BytesMut::with_capacity(SPARE_BYTES));
        }
        assert_eq!(SPARES.with_borrow(Vec::len), SPARES_MAX);
    }
}
