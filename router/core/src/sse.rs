//! Counts the events of a server-sent event stream as its bytes pass by, however they are cut into chunks.

use memchr::memchr2;

/// Long enough for `data: [DONE]` and one byte more, to tell it from longer lines.
const PREFIX_BYTES: usize = 13;

/// Follows a server-sent event stream (WHATWG HTML 9.2: lines end with LF, CR or CRLF, a blank line ends an event).
#[derive(Debug, Clone, Default)]
pub struct EventSplitter {
    /// The first bytes of the unfinished line.
    prefix: [u8; PREFIX_BYTES],
    /// Length of the unfinished line, capped where only "longer" matters.
    line_bytes: usize,
    /// The last byte was a CR: an LF that follows belongs to it.
    after_cr: bool,
    /// Some line of the unfinished event is complete.
    in_event: bool,
    /// The unfinished event has a `data` line other than `[DONE]`.
    has_data: bool,
}

/// What one chunk completed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Fed {
    /// Events with data that ended in this chunk; `[DONE]`, comments and empty events do not count.
    pub events: u32,
}

impl EventSplitter {
    /// Takes the next chunk of the stream.
    pub fn feed(&mut self, chunk: &[u8]) -> Fed {
        let mut fed = Fed::default();
        let mut rest = chunk;
        if self.after_cr
            && let Some((&first, tail)) = rest.split_first()
        {
            self.after_cr = false;
            if first == b'\n' {
                rest = tail;
            }
        }
        while let Some(end) = memchr2(b'\n', b'\r', rest) {
            self.extend_line(&rest[..end]);
            fed.events += u32::from(self.end_line());
            let cr = rest[end] == b'\r';
            rest = &rest[end + 1..];
            if cr {
                match rest.first() {
                    Some(b'\n') => rest = &rest[1..],
                    Some(_) => {}
                    None => self.after_cr = true,
                }
            }
        }
        self.extend_line(rest);
        fed
    }

    /// Whether the bytes so far end between two events, so that another event can follow at once.
    pub fn at_boundary(&self) -> bool {
        self.line_bytes == 0 && !self.in_event
    }

    fn extend_line(&mut self, part: &[u8]) {
        let room = PREFIX_BYTES.saturating_sub(self.line_bytes);
        let kept = &part[..part.len().min(room)];
        if !kept.is_empty() {
            self.prefix[self.line_bytes..self.line_bytes + kept.len()].copy_from_slice(kept);
        }
        self.line_bytes = self.line_bytes.saturating_add(part.len());
    }

    /// Ends the line; true when it was blank and ended an event that counts.
    fn end_line(&mut self) -> bool {
        let line = &self.prefix[..self.line_bytes.min(PREFIX_BYTES)];
        if line.is_empty() {
            let counts = self.has_data;
            self.in_event = false;
            self.has_data = false;
            return counts;
        }
        self.in_event = true;
        let data = line == b"data" || line.starts_with(b"data:");
        if data && !matches!(line, b"data: [DONE]" | b"data:[DONE]") {
            self.has_data = true;
        }
        self.line_bytes = 0;
        false
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn count(stream: &[u8]) -> u32 {
        EventSplitter::default().feed(stream).events
    }

    #[test]
    fn counts_data_events_and_not_the_end_mark() {
        assert_eq!(count(b"data: {\"a\":1}\n\ndata: {\"a\":2}\n\ndata: [DONE]\n\n"), 2);
        assert_eq!(count(b"data:[DONE]\r\n\r\n"), 0);
        assert_eq!(count(b"data: [DONE] \n\n"), 1, "a longer line is no end mark");
    }

    #[test]
    fn comments_named_and_empty_events_are_told_apart() {
        assert_eq!(count(b": keep-alive\n\n"), 0);
        assert_eq!(count(b"\n\n\n"), 0);
        assert_eq!(count(b"event: message_start\ndata: {}\n\n"), 1);
        assert_eq!(count(b"event: ping\n\n"), 0);
        assert_eq!(count(b"data: a\ndata: b\n\n"), 1);
        assert_eq!(count(b"database: a\n\n"), 0);
    }

    #[test]
    fn every_line_ending_works() {
        for end in ["\n", "\r\n", "\r"] {
            let stream = format!("data: 1{end}{end}id: 4{end}data: 2{end}{end}");
            assert_eq!(count(stream.as_bytes()), 2, "{end:?}");
        }
    }

    #[test]
    fn an_unfinished_event_does_not_count_and_is_no_boundary() {
        let mut splitter = EventSplitter::default();
        assert!(splitter.at_boundary());
        assert_eq!(splitter.feed(b"data: {\"a\"").events, 0);
        assert!(!splitter.at_boundary());
        assert_eq!(splitter.feed(b":1}\n").events, 0);
        assert!(!splitter.at_boundary());
        assert_eq!(splitter.feed(b"\n").events, 1);
        assert!(splitter.at_boundary());
    }

    fn stream() -> impl Strategy<Value = Vec<u8>> {
        let line = prop_oneof![
            Just("data: {\"choices\":[]}".to_owned()),
            Just("data: [DONE]".to_owned()),
            Just("data: [DONE]x".to_owned()),
            Just(": comment".to_owned()),
            Just("event: ping".to_owned()),
            Just(String::new()),
            "[a-d:\\[ ]{0,16}",
        ];
        let end = prop_oneof![Just("\n"), Just("\r\n"), Just("\r")];
        prop::collection::vec((line, end), 0..24)
            .prop_map(|lines| lines.into_iter().flat_map(|(line, end)| (line + end).into_bytes()).collect())
    }

    proptest! {
        #[test]
        fn chunking_never_changes_the_count(stream in stream(), cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12)) {
            let mut whole = EventSplitter::default();
            let expected = whole.feed(&stream).events;
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(stream.len() + 1)).collect();
            cuts.push(stream.len());
            cuts.sort_unstable();
            let mut splitter = EventSplitter::default();
            let mut start = 0;
            let mut events = 0;
            for cut in cuts {
                events += splitter.feed(&stream[start..cut]).events;
                start = cut;
            }
            prop_assert_eq!(events, expected);
            prop_assert_eq!(splitter.at_boundary(), whole.at_boundary());
        }
    }
}
