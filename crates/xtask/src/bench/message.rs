//! What goes over the wire in a benchmark: one request as a browser sends it, and answers of a few sizes, made once.
//!
//! Sizes are bytes of body. Not here: sockets.

/// A size of answer, with the request that asks for it.
#[derive(Debug, Clone)]
pub struct Exchange {
    pub size_bytes: usize,
    pub request: Vec<u8>,
    pub answer: Vec<u8>,
}

/// The size that a path without a known number gets: what probes and curious people ask for.
const DEFAULT_SIZE_BYTES: usize = 200;

impl Exchange {
    pub fn new(size_bytes: usize) -> Self {
        let request = format!(
            "GET /{size_bytes} HTTP/1.1\r\nHost: www.example.com\r\n\
             User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0\r\n\
             Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\n\
             Accept-Language: en-US,en;q=0.5\r\nAccept-Encoding: gzip, deflate, br\r\n\
             Connection: keep-alive\r\n\
             Cookie: session=0123456789abcdef0123456789abcdef; theme=dark\r\n\r\n"
        );
        let head = format!(
            "HTTP/1.1 200 OK\r\nServer: backend\r\nDate: Mon, 17 Nov 2025 10:00:00 GMT\r\n\
             Content-Type: text/plain; charset=utf-8\r\nContent-Length: {size_bytes}\r\n\
             Cache-Control: max-age=60, public\r\nETag: \"5f3c-1a2b3c4d\"\r\nVary: Accept-Encoding\r\n\r\n"
        );
        let mut answer = head.into_bytes();
        answer.extend((b'a'..=b'z').cycle().take(size_bytes));
        Self { size_bytes, request: request.into_bytes(), answer }
    }
}

/// All exchanges of a run.
#[derive(Debug)]
pub struct Exchanges(Vec<Exchange>);

impl Exchanges {
    pub fn new(sizes_bytes: &[usize]) -> Self {
        let mut sizes = sizes_bytes.to_vec();
        if !sizes.contains(&DEFAULT_SIZE_BYTES) {
            sizes.push(DEFAULT_SIZE_BYTES);
        }
        Self(sizes.into_iter().map(Exchange::new).collect())
    }

    pub fn of_size(&self, size_bytes: usize) -> &Exchange {
        let found = self.0.iter().find(|exchange| exchange.size_bytes == size_bytes);
        found.expect("every size that is asked for was made at the start")
    }

    pub fn answer(&self, index: usize) -> &[u8] {
        &self.0[index].answer
    }

    /// Which answer a request head asks for.
    pub fn index_of_request(&self, head: &[u8]) -> usize {
        let path = head.split(|byte| *byte == b' ').nth(1).unwrap_or_default();
        let digits = path.strip_prefix(b"/").and_then(|digits| std::str::from_utf8(digits).ok());
        let size = digits.and_then(|digits| digits.parse().ok()).unwrap_or(DEFAULT_SIZE_BYTES);
        let index = self.0.iter().position(|exchange| exchange.size_bytes == size);
        index.unwrap_or_else(|| {
            let default = self.0.iter().position(|exchange| exchange.size_bytes == DEFAULT_SIZE_BYTES);
            default.expect("the default size is always made")
        })
    }
}

/// Where a head ends: behind the first empty line.
pub fn head_length(bytes: &[u8]) -> Option<usize> {
    // Steps from line to line, which is what makes it cheap.
    let mut at = 0;
    while let Some(line_end) = bytes[at..].iter().position(|byte| *byte == b'\n') {
        at += line_end + 1;
        if bytes[..at].ends_with(b"\r\n\r\n") {
            return Some(at);
        }
    }
    None
}

/// Status and Content-Length of an answer's head.
pub fn status_and_length(head: &[u8]) -> (Option<u16>, Option<u64>) {
    let status = head.get(9..12).and_then(|digits| std::str::from_utf8(digits).ok()?.parse().ok());
    let length = head.split(|byte| *byte == b'\n').find_map(|line| {
        let (name, value) = line.split_at_checked(15)?;
        if !name.eq_ignore_ascii_case(b"content-length:") {
            return None;
        }
        std::str::from_utf8(value).ok()?.trim().parse().ok()
    });
    (status, length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_gets_the_answer_of_its_size() {
        let exchanges = Exchanges::new(&[10_000]);
        let index = exchanges.index_of_request(&exchanges.of_size(10_000).request);
        let answer = exchanges.answer(index);
        let head = head_length(answer).expect("an answer has a head");
        assert_eq!(answer.len() - head, 10_000);
        assert_eq!(status_and_length(&answer[..head]), (Some(200), Some(10_000)));
        let other = exchanges.index_of_request(b"GET /health HTTP/1.1\r\n\r\n");
        assert_eq!(exchanges.answer(other), exchanges.of_size(200).answer);
    }

    #[test]
    fn a_head_ends_behind_the_empty_line_only() {
        assert_eq!(head_length(b"GET / HTTP/1.1\r\nA: b\r\n"), None);
        assert_eq!(head_length(b"GET / HTTP/1.1\r\nA: b\r\n\r\nrest"), Some(24));
    }
}
