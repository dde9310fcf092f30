//! Odd requests, each with what it means to a strict reader, or that it must not pass.

use super::servers::Understood;

#[derive(Debug)]
pub struct Case {
    pub name: String,
    pub raw: Vec<u8>,
    /// What a server must understand; None: nothing may reach it.
    pub meaning: Option<Understood>,
    /// A server may refuse it all the same: it is a request, but one that servers have views on.
    pub is_touchy: bool,
}

fn case(name: impl Into<String>, raw: impl AsRef<[u8]>, meaning: Option<(&str, &str, &str)>) -> Case {
    let meaning = meaning.map(|(method, target, body)| Understood {
        method: method.into(),
        target: target.into(),
        body: body.as_bytes().to_vec(),
    });
    Case { name: name.into(), raw: raw.as_ref().to_vec(), meaning, is_touchy: false }
}

/// All of them.
pub fn cases() -> Vec<Case> {
    [lengths(), encodings(), chunks(), trailers(), targets(), lines(), headers(), methods()]
        .into_iter()
        .flatten()
        .collect()
}

/// Behind a body that another reading would make a request of its own.
const SMUGGLED: &str = "GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n";

fn lengths() -> Vec<Case> {
    let passing = [
        "Content-Length: 5",
        "content-length:5",
        "Content-Length: \t5",
        "Content-Length: 5 ",
        "CONTENT-LENGTH: 5",
        "Content-Length: 05",
    ];
    let refused = [
        "Content-Length: +5",
        "Content-Length: 0x5",
        "Content-Length: 5,5",
        "Content-Length: 5, 5",
        "Content-Length: -5",
        "Content-Length: 5 5",
        "Content-Length:",
        "Content-Length: 5.0",
        "Content-Length: 5;",
        "Content-Length: five",
        "Content-Length: 18446744073709551621",
        "Content-Length: 5\r\nContent-Length: 5",
        "Content-Length: 5\r\nContent-Length: 0",
        "Content-Length: 0\r\nContent-Length: 5",
        "Content-Length: 5\r\ncontent-length: 6",
        "Content-Length : 5",
        "Content-Length\t: 5",
        " Content-Length: 5",
        "Content_Length: 5",
        "Content-Length: 0\r\nContent_Length: 5",
        "Content-Length:\r\n 5",
        "Content-Length: \"5\"",
        "Content-Length: 5\x0b",
        "Content-Length: \x0c5",
        "Content-Length: 5\r",
        "Content-Length\0: 5",
        "Content-Length: 5\0",
        "Content-Length: \u{665}",
    ];
    let request = |line: &str| format!("POST /length HTTP/1.1\r\nHost: x\r\n{line}\r\n\r\nhello");
    let pass = |line: &&str| case(format!("{line:?}"), request(line), Some(("POST", "/length", "hello")));
    let refuse = |line: &&str| case(format!("{line:?}"), request(line), None);
    let mut all: Vec<Case> = passing.iter().map(pass).chain(refused.iter().map(refuse)).collect();
    all.push(case(
        "no length means no body",
        "POST /none HTTP/1.1\r\nHost: x\r\n\r\n",
        Some(("POST", "/none", "")),
    ));
    let length = SMUGGLED.len();
    let hidden = format!("GET /outer HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n{SMUGGLED}");
    all.push(case("a request as the body of a GET", hidden, Some(("GET", "/outer", SMUGGLED))));
    let named =
        "POST /named HTTP/1.1\r\nHost: x\r\nConnection: Content-Length\r\nContent-Length: 5\r\n\r\nhello";
    all.push(case("Connection names Content-Length", named, Some(("POST", "/named", "hello"))));
    all
}

fn encodings() -> Vec<Case> {
    let passing = [
        "Transfer-Encoding: chunked",
        "transfer-encoding:chunked",
        "Transfer-Encoding: Chunked",
        "Transfer-Encoding: \t chunked",
        "Transfer-Encoding: chunked ",
    ];
    let refused = [
        "Transfer-Encoding: xchunked",
        "Transfer-Encoding: chunked, identity",
        "Transfer-Encoding: identity, chunked",
        "Transfer-Encoding: gzip, chunked",
        "Transfer-Encoding: chunked;q=1",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
        "Transfer-Encoding: identity\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding : chunked",
        "Transfer-Encoding\t: chunked",
        "Transfer_Encoding: chunked",
        " Transfer-Encoding: chunked",
        "X: y\r\n Transfer-Encoding: chunked",
        "Transfer-Encoding:\r\n chunked",
        "Transfer-Encoding: \"chunked\"",
        "Transfer-Encoding: chunked\0",
        "Transfer-Encoding: \x0bchunked",
        "Transfer-Encoding: chunked\x0b",
        "Transfer-Encoding:",
        "Transfer-Encoding: ,chunked",
        "Transfer-Encoding: chunked,",
        "Transfer-Encoding: chun ked",
        "Transfer-Encoding: identity",
        "Transfer-Encoding: cow",
        "Transfer-Encoding: chunked\r\nContent-Length: 15",
        "Content-Length: 15\r\nTransfer-Encoding: chunked",
        "Content-Length: 0\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding\0: chunked",
        "Transfer\u{2d}Encoding: c\u{68}unke\u{64}x",
    ];
    let request =
        |line: &str| format!("POST /coded HTTP/1.1\r\nHost: x\r\n{line}\r\n\r\n5\r\nhello\r\n0\r\n\r\n");
    let pass = |line: &&str| case(format!("{line:?}"), request(line), Some(("POST", "/coded", "hello")));
    let refuse = |line: &&str| case(format!("{line:?}"), request(line), None);
    let mut all: Vec<Case> = passing.iter().map(pass).chain(refused.iter().map(refuse)).collect();
    let old = "POST /old HTTP/1.0\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n";
    all.push(case("chunked in HTTP/1.0", old, None));
    let named = "POST /named HTTP/1.1\r\nHost: x\r\nConnection: Transfer-Encoding\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n";
    all.push(case("Connection names Transfer-Encoding", named, Some(("POST", "/named", "hello"))));
    let get = "GET /get HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n";
    all.push(case("a GET with a chunked body", get, Some(("GET", "/get", "hello"))));
    all
}

fn chunks() -> Vec<Case> {
    let passing = [
        ("5\r\nhello\r\n0\r\n\r\n", "hello"),
        ("05\r\nhello\r\n0\r\n\r\n", "hello"),
        ("00000005\r\nhello\r\n00\r\n\r\n", "hello"),
        ("5;a\r\nhello\r\n0\r\n\r\n", "hello"),
        ("5;a=b;c=d\r\nhello\r\n0;e\r\n\r\n", "hello"),
        ("5;a=\"b;c\"\r\nhello\r\n0\r\n\r\n", "hello"),
        ("2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n", "hello"),
        ("a\r\n0\r\n\r\nGET /\r\n0\r\n\r\n", "0\r\n\r\nGET /"),
        ("A\r\n0123456789\r\n0\r\n\r\n", "0123456789"),
        ("0\r\n\r\n", ""),
        ("5;\r\nhello\r\n0\r\n\r\n", "hello"),
        ("2\r\n\r\n\r\n0\r\n\r\n", "\r\n"),
    ];
    let refused = [
        "0x5\r\nhello\r\n0\r\n\r\n",
        "5 \r\nhello\r\n0\r\n\r\n",
        " 5\r\nhello\r\n0\r\n\r\n",
        "5\t\r\nhello\r\n0\r\n\r\n",
        "+5\r\nhello\r\n0\r\n\r\n",
        "-5\r\nhello\r\n0\r\n\r\n",
        "5\nhello\r\n0\r\n\r\n",
        "5\r\nhello\n0\r\n\r\n",
        "5\r\nhello0\r\n\r\n",
        "5\r\nhello!\r\n0\r\n\r\n",
        "\r\n5\r\nhello\r\n0\r\n\r\n",
        "g\r\nhello\r\n0\r\n\r\n",
        "10000000000000005\r\nhello\r\n0\r\n\r\n",
        "5;a=\"\r\nhello\r\n0\r\n\r\n",
        "5;a\nhello\r\n0\r\n\r\n",
        "5;\0\r\nhello\r\n0\r\n\r\n",
        "5 ;a\r\nhello\r\n0\r\n\r\n",
        "5\r\r\nhello\r\n0\r\n\r\n",
        "5,5\r\nhello\r\n0\r\n\r\n",
        "5\r\nhello\r\n0\r\n\n",
        "5\r\nhello\r\n0\n\r\n",
        "5_0\r\nhello\r\n0\r\n\r\n",
        ";a\r\nhello\r\n0\r\n\r\n",
        "5;a\rb\r\nhello\r\n0\r\n\r\n",
    ];
    let request =
        |body: &str| format!("POST /chunks HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n{body}");
    let pass = |(body, meaning): &(&str, &str)| {
        case(format!("{body:?}"), request(body), Some(("POST", "/chunks", meaning)))
    };
    let refuse = |body: &&str| case(format!("{body:?}"), request(body), None);
    passing.iter().map(pass).chain(refused.iter().map(refuse)).collect()
}

fn trailers() -> Vec<Case> {
    let request = |trailers: &str| {
        format!(
            "POST /trailers HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n{trailers}\r\n"
        )
    };
    let passing = ["X: y\r\n", "X-One: 1\r\nX-Two: 2\r\n", "X:\r\n"];
    let refused = [
        "Content-Length: 3\r\n",
        "Transfer-Encoding: chunked\r\n",
        "Host: y\r\n",
        "content_length: 3\r\n",
        "X : y\r\n",
        "X\r\n",
        ": y\r\n",
        "X: y\r\n z\r\n",
        "X: y\n",
        "X: \0\r\n",
        "X: a\rb\r\n",
        "GET / HTTP/1.1\r\n",
        " X: y\r\n",
        "Trailer: X\r\n",
    ];
    let pass = |lines: &&str| {
        case(format!("trailers {lines:?}"), request(lines), Some(("POST", "/trailers", "hello")))
    };
    let refuse = |lines: &&str| case(format!("trailers {lines:?}"), request(lines), None);
    passing.iter().map(pass).chain(refused.iter().map(refuse)).collect()
}

/// Targets that arrive as they came or, of those with a host, without it.
const TARGETS_PASSED: [(&str, &str); 18] = [
    ("/", "/"),
    ("/a?b=c&d", "/a?b=c&d"),
    ("/a?b?c", "/a?b?c"),
    ("/;x=y", "/;x=y"),
    ("/a%20b", "/a%20b"),
    ("/%41", "/%41"),
    ("http://x/path", "/path"),
    ("HTTP://x/path", "/path"),
    ("http://x", "/"),
    ("http://x/", "/"),
    ("http://x/a?b", "/a?b"),
    ("http://x?b", "/?b"),
    ("/?", "/?"),
    ("/a+b", "/a+b"),
    ("/a:b@c", "/a:b@c"),
    ("/~a!$&'()*,", "/~a!$&'()*,"),
    ("/http://y/", "/http://y/"),
    ("/a?/../b", "/a?/../b"),
];
/// Forwarded as they are: what they name is the server's to say, which may refuse them.
const TARGETS_TOUCHY: [&str; 20] = [
    "/a%2fb",
    "/a%2Fb",
    "/%00",
    "/a//b",
    "//",
    "//y/z",
    "/a/./b",
    "/a/../b",
    "/../a",
    "/%2e%2e/a",
    "/a%0d%0ab",
    "/a%25",
    "/a%zz",
    "/a%",
    "/a\\b",
    "/a|b",
    "/a\"b",
    "/a<b>",
    "/{a}",
    "/a^b`",
];
const TARGETS_REFUSED: [&str; 25] = [
    "path",
    "",
    "x:80",
    "*",
    "ftp://x/",
    "http:/x/",
    "http://",
    "http:///a",
    "http://y/",
    "http://x:81/",
    "http://u@x/",
    "http://u:p@x/",
    "http://x y/",
    "/a b",
    "/a\tb",
    "/a\0b",
    "/\u{e9}",
    "/a\x7f",
    "?a",
    "#a",
    "/a#b",
    "\\a",
    "http://x#a",
    "://x/",
    "http://x\\a",
];

fn targets() -> Vec<Case> {
    let request = |target: &str| format!("GET {target} HTTP/1.1\r\nHost: x\r\n\r\n");
    let pass = |(target, meaning): &(&str, &str)| {
        case(format!("target {target:?}"), request(target), Some(("GET", meaning, "")))
    };
    let bear = |target: &&str| Case {
        is_touchy: true,
        ..case(format!("target {target:?}"), request(target), Some(("GET", target, "")))
    };
    let refuse = |target: &&str| case(format!("target {target:?}"), request(target), None);
    let passed = TARGETS_PASSED.iter().map(pass);
    let mut all: Vec<Case> =
        passed.chain(TARGETS_TOUCHY.iter().map(bear)).chain(TARGETS_REFUSED.iter().map(refuse)).collect();
    for target in ["*", "http://x"] {
        let raw = format!("OPTIONS {target} HTTP/1.1\r\nHost: x\r\n\r\n");
        all.push(Case {
            is_touchy: true,
            ..case(format!("OPTIONS {target}"), raw, Some(("OPTIONS", "*", "")))
        });
    }
    all
}

fn lines() -> Vec<Case> {
    let host = "Host: x\r\n\r\n";
    let refused = [
        format!("GET  /line HTTP/1.1\r\n{host}"),
        format!("GET /line  HTTP/1.1\r\n{host}"),
        format!("GET\t/line\tHTTP/1.1\r\n{host}"),
        format!("GET /line HTTP/1.1 \r\n{host}"),
        format!(" GET /line HTTP/1.1\r\n{host}"),
        format!("GET /line HTTP/1.2\r\n{host}"),
        format!("GET /line HTTP/2.0\r\n{host}"),
        format!("GET /line HTTP/11\r\n{host}"),
        format!("GET /line http/1.1\r\n{host}"),
        format!("GET /line HTTP/1.1\n{host}"),
        "GET /line HTTP/1.1\nHost: x\n\n".into(),
        format!("GET /line HTTP/1.1\r\r\n{host}"),
        format!("GET /line\r\n{host}"),
        format!("GET /line HTTP/1.1\r\n\r\n{host}"),
        format!("\r\n\r\nGET /line HTTP/1.1\r\n{host}"),
        format!("\nGET /line HTTP/1.1\r\n{host}"),
        format!("\0GET /line HTTP/1.1\r\n{host}"),
        format!("GET /line HTTP/1.1, HTTP/1.1\r\n{host}"),
        format!("GET /line HTTP/01.1\r\n{host}"),
        format!("GET /line HTTP/1.+1\r\n{host}"),
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".into(),
        "GET /line HTTP/1.1\r\nHost: x\r\nX: y\n\r\n".into(),
        "GET /line HTTP/1.1\r\nHost: x\n\r\n".into(),
        "GET /line HTTP/1.1\r\nHost: x\r\n\n".into(),
    ];
    let mut all: Vec<Case> = refused.iter().map(|raw| case(format!("{raw:?}"), raw, None)).collect();
    all.push(case(
        "one empty line first",
        format!("\r\nGET /line HTTP/1.1\r\n{host}"),
        Some(("GET", "/line", "")),
    ));
    let old = "GET /old HTTP/1.0\r\nHost: x\r\nConnection: keep-alive\r\n\r\n";
    all.push(case("HTTP/1.0 with keep-alive", old, Some(("GET", "/old", ""))));
    all.push(case("HTTP/1.0", "GET /old HTTP/1.0\r\nHost: x\r\n\r\n", Some(("GET", "/old", ""))));
    all
}

fn headers() -> Vec<Case> {
    let passing = [
        "Host: x",
        "HOST:x",
        "Host: x\r\nX: y\tz",
        "Host: x\r\nX:",
        "Host: x\r\nX: \u{e9}",
        "Host: x\r\nConnection: close",
        "Host: x\r\nConnection: X, close\r\nX: y",
        "Host: x\r\nConnection: Host",
        "Host: x\r\nX_Y: z",
        "Host: x\r\nTE: trailers",
        "Host: x\r\nUpgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA",
        "Host: x\r\nCookie: a=b\r\nCookie: c=d",
        "Host: x\r\nX-Forwarded-For: 1.2.3.4\r\nX-Forwarded-For: 5.6.7.8",
        "Host: x\r\nMax-Forwards: 0",
        "Host: x\r\nKeep-Alive: 300\r\nProxy-Connection: keep-alive",
        "Host: x:80",
    ];
    let refused = [
        "X: y",
        "Host: x\r\nHost: x",
        "Host: x\r\nHost: y",
        "Host:",
        "Host: x y",
        "Host: u@x",
        "Host: x/",
        "Host: x:y",
        "Host: x,y",
        "Host : x",
        "Host: x\r\nX",
        "Host: x\r\n: y",
        "Host: x\r\nX : y",
        "Host: x\r\nX\t: y",
        "Host: x\r\nX: y\r\n z",
        "Host: x\r\n X: y",
        "Host: x\r\nX: a\0b",
        "Host: x\r\nX: a\rb",
        "Host: x\r\nX: a\nY: b",
        "Host: x\r\nX(: y",
        "Host: x\r\nX\u{e9}: y",
        "Host: x\r\nX: a\x7fb",
        "Host: x\r\nX: a\x01b",
        "Host: x\r\nExpect: 200-ok",
        "Host: x\r\nContent-Type: a/b\r\nContent-Type: c/d",
        " Host: x",
        "Host:\r\n x",
    ];
    let request = |lines: &str| format!("GET /headers HTTP/1.1\r\n{lines}\r\n\r\n");
    let pass = |lines: &&str| case(format!("{lines:?}"), request(lines), Some(("GET", "/headers", "")));
    let refuse = |lines: &&str| case(format!("{lines:?}"), request(lines), None);
    let mut all: Vec<Case> = passing.iter().map(pass).chain(refused.iter().map(refuse)).collect();
    let expects =
        "POST /expects HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\nhello";
    all.push(case("Expect with the body at once", expects, Some(("POST", "/expects", "hello"))));
    let long = format!("GET /long HTTP/1.1\r\nHost: x\r\nX: {}\r\n\r\n", "y".repeat(9000));
    all.push(case("a line of 9,000 bytes", long, None));
    let many = format!("GET /many HTTP/1.1\r\nHost: x\r\n{}\r\n", "X: y\r\n".repeat(130));
    all.push(case("130 headers", many, None));
    all
}

fn methods() -> Vec<Case> {
    let passing = ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"];
    let refused =
        ["CONNECT", "", "G T", "GET\0", "GET,", "-GET", "G\u{e9}T", "GET:", "(GET)", "@", "\"GET\""];
    // Whether there is such a method is the server's to say.
    let touchy = ["get", "GETS", "X-Y", "PROPFIND"];
    let request = |method: &str| format!("{method} /method HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n");
    let pass =
        |method: &&str| case(format!("method {method:?}"), request(method), Some((method, "/method", "")));
    let bear = |method: &&str| Case { is_touchy: true, ..pass(method) };
    let refuse = |method: &&str| case(format!("method {method:?}"), request(method), None);
    passing.iter().map(pass).chain(touchy.iter().map(bear)).chain(refused.iter().map(refuse)).collect()
}
