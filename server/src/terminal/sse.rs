//! Server-sent events as they come over a connection, as the HTML standard takes them apart
//! (<https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation>). With a bound: the
//! parsers that there are keep whatever is sent until a line ends.

/// The most that is kept of one event, in bytes: far more than a transition with the longest key and tokens.
const MAX_EVENT_BYTES: usize = 1024 * 1024;

/// One event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Message {
    /// The id that stands for everything up to and including this event; `None` where none was ever sent.
    pub(super) id: Option<String>,
    /// Its data.
    pub(super) data: String,
}

/// An event is larger than [`MAX_EVENT_BYTES`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TooLarge;

/// Takes a stream apart.
#[derive(Debug, Default)]
pub(super) struct Parser {
    line: Vec<u8>,
    /// The last byte ended a line with a carriage return: a line feed after it belongs to that.
    after_return: bool,
    data: String,
    id: Option<String>,
}

impl Parser {
    /// The events that end in these bytes.
    pub(super) fn feed(&mut self, bytes: &[u8]) -> Result<Vec<Message>, TooLarge> {
        let mut messages = Vec::new();
        for &byte in bytes {
            let after_return = std::mem::replace(&mut self.after_return, byte == b'\r');
            match byte {
                b'\n' if after_return => {}
                b'\n' | b'\r' => messages.extend(self.end_of_line()),
                _ if self.line.len() + self.data.len() >= MAX_EVENT_BYTES => return Err(TooLarge),
                _ => self.line.push(byte),
            }
        }
        Ok(messages)
    }

    fn end_of_line(&mut self) -> Option<Message> {
        let line = std::mem::take(&mut self.line);
        let line = String::from_utf8_lossy(&line);
        let line = line.strip_prefix('\u{feff}').unwrap_or(&line);
        if line.is_empty() {
            let mut data = std::mem::take(&mut self.data);
            // Every line of data was given its end.
            return data.pop().map(|_| Message { id: self.id.clone(), data });
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "data" => {
                self.data.push_str(value);
                self.data.push('\n');
            }
            "id" if !value.contains('\0') => self.id = Some(value.to_owned()),
            // A comment, a name that the data has as well, or something of later.
            _ => {}
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn message(id: &str, data: &str) -> Message {
        Message { id: Some(id.to_owned()), data: data.to_owned() }
    }

    #[test]
    fn events_are_told_apart_whatever_ends_their_lines() {
        for end in ["\n", "\r\n", "\r"] {
            let stream = [
                ":alive",
                "",
                "event: acquired",
                "id: 7",
                "data: {\"a\":",
                "data:1}",
                "",
                "data: x",
                "",
                "id: 8",
                "",
                "",
            ]
            .join(end);
            let messages = Parser::default().feed(stream.as_bytes()).unwrap();
            assert_eq!(messages, [message("7", "{\"a\":\n1}"), message("7", "x")], "{end:?}");
        }
    }

    #[test]
    fn what_is_not_understood_is_left_out() {
        let mut parser = Parser::default();
        let messages = parser.feed("\u{feff}data\nretry: 5\nnonsense\nid: a\0b\n\n".as_bytes()).unwrap();
        assert_eq!(messages, [Message { id: None, data: String::new() }]);
    }

    #[test]
    fn an_event_without_end_is_not_kept() {
        let mut parser = Parser::default();
        let piece = vec![b'x'; 64 * 1024];
        let refused = (0..17).find_map(|_| parser.feed(&piece).err());
        assert_eq!(refused, Some(TooLarge));
        let mut parser = Parser::default();
        let line = format!("data: {}\n", "x".repeat(64 * 1024));
        assert!((0..17).any(|_| parser.feed(line.as_bytes()).is_err()), "many lines are not kept either");
    }

    proptest! {
        #[test]
        fn it_does_not_matter_how_the_bytes_come(stream in "(id|data|event|x|:| |1|é|\n|\r|\r\n){0,60}", cut in 0..200_usize) {
            let bytes = stream.as_bytes();
            let whole = Parser::default().feed(bytes).unwrap();
            let (first, second) = bytes.split_at(cut.min(bytes.len()));
            let mut parser = Parser::default();
            let mut pieces = parser.feed(first).unwrap();
            pieces.extend(parser.feed(second).unwrap());
            prop_assert_eq!(whole, pieces);
        }
    }
}
