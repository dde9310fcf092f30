//! A reader of heads that knows nothing of the parsers under test: every line ends in CRLF, every name is a token.

/// One header, its name in lower case.
pub type Field = (String, Vec<u8>);

/// First line and headers of a whole head; panics where it could be read in two ways.
pub fn head(bytes: &[u8]) -> (Vec<u8>, Vec<Field>) {
    assert!(bytes.ends_with(b"\r\n\r\n"), "no empty line at the end: {}", bytes.escape_ascii());
    let lines = &bytes[..bytes.len() - 4];
    assert!(
        !lines.windows(4).any(|window| window == b"\r\n\r\n"),
        "it ends earlier: {}",
        bytes.escape_ascii()
    );
    let mut all = split(lines).into_iter();
    let first = all.next().unwrap_or_default().to_vec();
    let fields = all.map(|line| {
        let colon = line.iter().position(|byte| *byte == b':');
        let (name, value) =
            line.split_at(colon.unwrap_or_else(|| panic!("no colon: {}", line.escape_ascii())));
        assert!(!name.is_empty() && name.iter().all(is_token), "no name: {}", line.escape_ascii());
        let value = &value[1..];
        assert!(
            value.iter().all(|byte| *byte == b'\t' || (*byte >= 0x20 && *byte != 0x7f)),
            "control bytes: {}",
            line.escape_ascii()
        );
        (String::from_utf8_lossy(name).to_ascii_lowercase(), value.trim_ascii().to_vec())
    });
    (first, fields.collect())
}

/// Lines between CRLF; a CR or LF that stands alone is a fault.
fn split(bytes: &[u8]) -> Vec<&[u8]> {
    let mut lines = Vec::new();
    let mut rest = bytes;
    loop {
        let end = rest.windows(2).position(|window| window == b"\r\n");
        let (line, next) = end.map_or((rest, None), |end| (&rest[..end], Some(&rest[end + 2..])));
        assert!(
            !line.iter().any(|byte| b"\r\n\0".contains(byte)),
            "a bare line end: {}",
            line.escape_ascii()
        );
        lines.push(line);
        match next {
            Some(next) => rest = next,
            None => return lines,
        }
    }
}

fn is_token(byte: &u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte)
}

/// The values of all headers of this name.
pub fn values<'f>(fields: &'f [Field], name: &str) -> Vec<&'f [u8]> {
    fields.iter().filter(|(known, _)| known == name).map(|(_, value)| value.as_slice()).collect()
}

/// What the headers say about the body, read as anybody would.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Body {
    Unsaid,
    Length(u64),
    Chunked,
}

/// Panics where two readers could differ.
pub fn body(fields: &[Field]) -> Body {
    let (lengths, codings) = (values(fields, "content-length"), values(fields, "transfer-encoding"));
    match (lengths.as_slice(), codings.as_slice()) {
        ([], []) => Body::Unsaid,
        ([length], []) => {
            assert!(!length.is_empty() && length.iter().all(u8::is_ascii_digit), "{}", length.escape_ascii());
            let text = std::str::from_utf8(length).expect("digits are text");
            Body::Length(text.parse().expect("it fits"))
        }
        ([], [coding]) => {
            assert!(coding.eq_ignore_ascii_case(b"chunked"), "{}", coding.escape_ascii());
            Body::Chunked
        }
        (lengths, codings) => panic!("{} lengths and {} codings", lengths.len(), codings.len()),
    }
}
