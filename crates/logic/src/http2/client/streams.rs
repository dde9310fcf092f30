//! The streams of one connection, by keys that stay what they are while others come and go.

use super::STREAM_WINDOW_BYTES;

#[derive(Debug)]
pub struct StreamState {
    pub key: usize,
    pub id: u32,
    /// Received and not yet taken.
    pub body: Vec<u8>,
    /// Taken and not yet passed on.
    pub taken: usize,
    pub has_ended: bool,
    /// Lines of HTTP/1.1.
    pub trailers: Vec<u8>,
    /// What is missing of the length that was announced.
    pub length_left: Option<u64>,
    pub receive_window: i64,
    /// Bytes that were passed on and not asked for again.
    pub released: usize,
    pub send_window: i64,
    pub is_answered: bool,
    /// By the client, or for its mistakes.
    pub is_given_up: bool,
    /// It has a place in `waiting`.
    pub is_waiting: bool,
    /// It has a place in `woken`.
    is_woken: bool,
}

impl StreamState {
    pub fn new(id: u32, has_ended: bool, length: Option<u64>, send_window: i64) -> Self {
        Self {
            key: 0,
            id,
            body: Vec::new(),
            taken: 0,
            has_ended,
            trailers: Vec::new(),
            length_left: length,
            receive_window: i64::from(STREAM_WINDOW_BYTES),
            released: 0,
            send_window,
            is_answered: false,
            is_given_up: false,
            is_waiting: false,
            is_woken: false,
        }
    }

    /// Has its session look again.
    pub fn wake(&mut self, woken: &mut Vec<usize>) {
        if !std::mem::replace(&mut self.is_woken, true) {
            woken.push(self.key);
        }
    }

    pub fn was_woken(&mut self) {
        self.is_woken = false;
    }
}

#[derive(Debug, Default)]
pub struct Streams {
    places: Vec<Option<StreamState>>,
    free: Vec<usize>,
}

impl Streams {
    pub fn len(&self) -> usize {
        self.places.len() - self.free.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Gives the stream its key.
    pub fn insert(&mut self, mut stream: StreamState) -> usize {
        let key = self.free.pop().unwrap_or_else(|| {
            self.places.push(None);
            self.places.len() - 1
        });
        stream.key = key;
        self.places[key] = Some(stream);
        key
    }

    pub fn remove(&mut self, key: usize) -> StreamState {
        let stream = self.places[key].take().expect("a stream is left once");
        self.free.push(key);
        stream
    }

    pub fn get(&self, key: usize) -> &StreamState {
        self.places[key].as_ref().expect("the stream was not left")
    }

    pub fn get_mut(&mut self, key: usize) -> &mut StreamState {
        self.places[key].as_mut().expect("the stream was not left")
    }

    /// None where it was left.
    pub fn if_there(&mut self, key: usize) -> Option<&mut StreamState> {
        self.places.get_mut(key)?.as_mut()
    }

    pub fn find(&mut self, id: u32) -> Option<&mut StreamState> {
        self.iter_mut().find(|stream| stream.id == id)
    }

    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut StreamState> {
        self.places.iter_mut().flatten()
    }
}
