//! The mark of requests that go to another cell: whoever gets one answers it, or says no, and sends it to no third cell.
//!
//! Without it two cells that have nobody left would send a request to and fro for ever. It is obeyed from anybody, because
//! all that a stranger gains by it is that this one request of theirs stays in the cell; and it is taken off every request
//! that comes in (see `logic::http`), so that no member ever sees it.

/// The header as a line. Last in the head, where it is found again.
const MARK: &[u8] = b"Muster-Spilled: 1\r\n";
/// Ends a head.
const END_BYTES: usize = 2;

/// Marks the head at the start of `buffer`, or takes off the mark that was put there; its new length.
pub fn mark(buffer: &mut Vec<u8>, head_length: usize, is_marked: bool) -> usize {
    let end = head_length - END_BYTES;
    if is_marked {
        buffer.splice(end..end, MARK.iter().copied());
        return head_length + MARK.len();
    }
    let start = end.saturating_sub(MARK.len());
    if &buffer[start..end] != MARK {
        return head_length;
    }
    buffer.drain(start..end);
    head_length - MARK.len()
}

#[cfg(test)]
mod tests {
    use super::mark;

    #[test]
    fn a_mark_goes_on_and_off_between_head_and_body() {
        let plain = b"POST / HTTP/1.1\r\nHost: a\r\n\r\nbody".to_vec();
        let length = plain.len() - 4;
        let mut buffer = plain.clone();
        let marked = mark(&mut buffer, length, true);
        assert_eq!(buffer, b"POST / HTTP/1.1\r\nHost: a\r\nMuster-Spilled: 1\r\n\r\nbody");
        assert_eq!(&buffer[marked..], b"body");
        assert_eq!(mark(&mut buffer, marked, false), length);
        assert_eq!(buffer, plain);
        assert_eq!(mark(&mut buffer, length, false), length, "nothing to take off");
        assert_eq!(buffer, plain);
    }
}
