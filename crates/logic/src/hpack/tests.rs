//! The examples of RFC 7541, appendix C, and what must not be taken.

use super::*;
use expect_test::expect;
use proptest::prelude::*;

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> = hex.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
    let pair = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).expect("text"), 16).expect("hex");
    digits.chunks(2).map(pair).collect()
}

/// The fields of a block, a line each, and the size of the table behind it.
fn read(decoder: &mut Decoder, block: &[u8]) -> Result<String, Corrupt> {
    let mut text = String::new();
    decoder.decode(block, |field| {
        let (name, value) = (String::from_utf8_lossy(field.name), String::from_utf8_lossy(field.value));
        text.push_str(&format!("{name}: {value}\n"));
    })?;
    Ok(format!("{text}{} bytes", decoder.table.bytes))
}

#[test]
fn blocks_of_requests_are_read_as_in_the_standard() {
    let plain = [
        "8286 8441 0f77 7777 2e65 7861 6d70 6c65 2e63 6f6d",
        "8286 84be 5808 6e6f 2d63 6163 6865",
        "8287 85bf 400a 6375 7374 6f6d 2d6b 6579 0c63 7573 746f 6d2d 7661 6c75 65",
    ];
    let coded = [
        "8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff",
        "8286 84be 5886 a8eb 1064 9cbf",
        "8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf",
    ];
    for blocks in [plain, coded] {
        let mut decoder = Decoder::default();
        let text = blocks.map(|block| read(&mut decoder, &bytes(block)).expect("a block")).join("\n\n");
        expect![[r#"
            :method: GET
            :scheme: http
            :path: /
            :authority: www.example.com
            57 bytes

            :method: GET
            :scheme: http
            :path: /
            :authority: www.example.com
            cache-control: no-cache
            110 bytes

            :method: GET
            :scheme: https
            :path: /index.html
            :authority: www.example.com
            custom-key: custom-value
            164 bytes"#]]
        .assert_eq(&text);
    }
}

#[test]
fn a_small_table_lets_old_fields_go_as_in_the_standard() {
    let mut decoder = Decoder::default();
    decoder.table.resize(256);
    let blocks = [
        "4882 6402 5885 aec3 771a 4b61 96d0 7abe 9410 54d4 44a8 2005 9504 0b81 66e0 82a6 2d1b ff6e 919d 29ad \
         1718 63c7 8f0b 97c8 e9ae 82ae 43d3",
        "4883 640e ffc1 c0bf",
        "88c1 6196 d07a be94 1054 d444 a820 0595 040b 8166 e084 a62d 1bff c05a 839b d9ab 77ad 94e7 821d d7f2 \
         e6c7 b335 dfdf cd5b 3960 d5af 2708 7f36 72c1 ab27 0fb5 291f 9587 3160 65c0 03ed 4ee5 b106 3d50 07",
    ];
    let text = blocks.map(|block| read(&mut decoder, &bytes(block)).expect("a block")).join("\n\n");
    expect![[r#"
        :status: 302
        cache-control: private
        date: Mon, 21 Oct 2013 20:13:21 GMT
        location: https://www.example.com
        222 bytes

        :status: 307
        cache-control: private
        date: Mon, 21 Oct 2013 20:13:21 GMT
        location: https://www.example.com
        222 bytes

        :status: 200
        cache-control: private
        date: Mon, 21 Oct 2013 20:13:22 GMT
        location: https://www.example.com
        content-encoding: gzip
        set-cookie: foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1
        215 bytes"#]]
    .assert_eq(&text);
}

#[test]
fn broken_blocks_are_refused() {
    for (what, block) in [
        ("number 0", "80"),
        ("a number that nothing has", "be"),
        ("a number that does not end", "ff ff ff"),
        ("a number that is too large", "ff ff ff ff ff ff 0f"),
        ("a string that is cut off", "00 03 6161"),
        ("a table larger than was agreed", "3f e2 1f"),
        ("a table that changes behind a field", "82 3f e1 1f"),
        ("the symbol that means the end", "00 01 61 84 ffff ffff"),
        ("padding of a byte", "00 01 61 82 1fff"),
        ("padding that is not of ones", "00 01 61 81 18"),
    ] {
        assert_eq!(read(&mut Decoder::default(), &bytes(block)), Err(Corrupt), "{what}");
    }
    assert!(read(&mut Decoder::default(), &bytes("3f e1 1f 82")).is_ok(), "4096 bytes");
}

#[test]
fn a_field_is_looked_through_when_it_comes() {
    let kind = |name: &str, value: &str| Kind::of(name.as_bytes(), value.as_bytes());
    for (name, value, known) in [
        (":method", "GET", Kind::Method),
        (":method", "GET /", Kind::Forbidden),
        (":path", "/a?b", Kind::Path),
        (":path", "*", Kind::Path),
        (":path", "a", Kind::Forbidden),
        (":path", "", Kind::Forbidden),
        (":path", "/a b", Kind::Forbidden),
        (":authority", "", Kind::Authority),
        (":status", "200", Kind::Forbidden),
        ("te", "trailers", Kind::Other),
        ("te", "gzip", Kind::Forbidden),
        ("content-length", "12", Kind::ContentLength),
        ("content-length", "+1", Kind::Forbidden),
        ("X-Upper", "1", Kind::Forbidden),
        ("x-a", "1\r\nb: 2", Kind::Forbidden),
        ("x-a", "caf\u{e9}", Kind::Other),
        ("", "1", Kind::Forbidden),
        ("transfer-encoding", "chunked", Kind::Forbidden),
    ] {
        assert_eq!(kind(name, value), known, "{name}: {value}");
    }
    for (place, (name, value)) in statics::FIELDS.iter().enumerate() {
        let known = Kind::of_static(place + 1);
        let same = known == kind(name, value) || value.is_empty() && known == kind(name, "trailers");
        assert!(same || known == Kind::ContentLength, "{name}: {value} is {known:?}");
    }
}

#[test]
fn what_is_said_once_has_the_number_of_the_standard() {
    let names = [
        "Age",
        "etag",
        "Expires",
        "location",
        "Set-Cookie",
        "last-modified",
        "content-range",
        "content-length",
    ];
    for name in names {
        let number = said_once(name.as_bytes());
        assert_eq!(number, statics::number(name.as_bytes()), "{name}");
        assert!(number.is_some());
    }
    assert_eq!(said_once(b"server"), None);
}

/// What the encoder makes of these answers, read again.
fn told(encoder: &mut Encoder, decoder: &mut Decoder, fields: &[(&str, &str)]) -> (usize, String) {
    let mut block = Vec::new();
    encoder.status(200, &mut block);
    fields.iter().for_each(|(name, value)| encoder.field(name.as_bytes(), value.as_bytes(), &mut block));
    let text = read(decoder, &block).expect("our own block");
    assert_eq!(encoder.table.bytes, decoder.table.bytes, "both tables are the same");
    (block.len(), text)
}

#[test]
fn an_answer_like_the_one_before_takes_a_byte_for_each_field() {
    let (mut encoder, mut decoder) = (Encoder::default(), Decoder::default());
    let answer = [("Server", "x"), ("Content-Type", "text/html"), ("X-Long-Name", "yes"), ("ETag", "\"1\"")];
    let (first, text) = told(&mut encoder, &mut decoder, &answer);
    expect![[r#"
        :status: 200
        server: x
        content-type: text/html
        x-long-name: yes
        etag: "1"
        shown"#]]
    .assert_eq(&text.replace(&format!("{} bytes", decoder.table.bytes), "shown"));
    let (second, _) = told(&mut encoder, &mut decoder, &answer);
    assert_eq!((first, second), (38, 4 + 6), "the entity tag is said anew");
    assert_eq!(decoder.table.entries.len(), 3, "what differs each time is not kept");
}

#[test]
fn a_table_that_the_client_makes_smaller_is_smaller_on_both_sides() {
    let (mut encoder, mut decoder) = (Encoder::default(), Decoder::default());
    told(&mut encoder, &mut decoder, &[("server", "x"), ("x-a", "1")]);
    encoder.set_table_bytes(0);
    encoder.set_table_bytes(100_000);
    told(&mut encoder, &mut decoder, &[("server", "x")]);
    assert_eq!(decoder.table.entries.len(), 1, "it was emptied in between");
    encoder.set_table_bytes(0);
    told(&mut encoder, &mut decoder, &[("server", "x")]);
    assert_eq!((decoder.table.entries.len(), decoder.table.bytes_max), (0, 0));
}

proptest! {
    #[test]
    fn whatever_is_told_is_read_again(
        answers in prop::collection::vec(
            prop::collection::vec(("[a-z]{1,12}", "[ -~]{0,600}"), 0..6), 1..5),
        sizes in prop::collection::vec(0_usize..5_000, 12),
    ) {
        let (mut encoder, mut decoder) = (Encoder::default(), Decoder::default());
        for (fields, size) in answers.iter().zip(sizes) {
            encoder.set_table_bytes(size);
            let fields: Vec<(&str, &str)> =
                fields.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
            let (_, text) = told(&mut encoder, &mut decoder, &fields);
            let lines: String = fields.iter().map(|(name, value)| format!("{name}: {value}\n")).collect();
            let wanted = format!(":status: 200\n{lines}{} bytes", decoder.table.bytes);
            prop_assert_eq!(text, wanted);
        }
    }

    #[test]
    fn whatever_comes_is_read_or_refused_within_bounds(block in prop::collection::vec(any::<u8>(), 0..300)) {
        let mut decoder = Decoder::default();
        let _ = decoder.decode(&block, |field| assert!(field.value.len() <= TABLE_BYTES));
        prop_assert!(decoder.table.bytes <= TABLE_BYTES);
    }
}
