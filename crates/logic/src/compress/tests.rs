//! Which answers go out compressed, and how their heads change.

use super::*;

#[test]
fn gzip_goes_only_to_clients_that_take_it() {
    for takes in ["gzip", "deflate, gzip;q=0.5", "*", "GZIP", "br;q=1.0, *;q=0.1", "x-gzip", "gzip;q=0.001"] {
        assert!(takes_gzip(takes.as_bytes()), "{takes}");
    }
    for refuses in ["", "identity", "gzip;q=0", "gzip; q=0.000, *", "*;q=0", "br", "gzipped", "*, gzip;q=0"] {
        assert!(!takes_gzip(refuses.as_bytes()), "{refuses}");
    }
}

fn html() -> AnswerFacts<'static> {
    AnswerFacts {
        status: 200,
        length: Some(10_000),
        content_type: Some(b"Text/HTML; charset=x"),
        ..AnswerFacts::default()
    }
}

#[test]
fn whole_plain_text_is_compressed() {
    for facts in [
        html(),
        AnswerFacts { length: None, ..html() },
        AnswerFacts { status: 404, ..html() },
        AnswerFacts { content_type: Some(b"application/problem+json"), ..html() },
        AnswerFacts { content_encoding: Some(b"identity"), ..html() },
        AnswerFacts { content_type: Some(b"text/event-stream"), length: None, ..html() },
    ] {
        assert_eq!(judge(&facts, true), Verdict::Compress, "{facts:?}");
        assert_eq!(judge(&facts, false), Verdict::Vary, "{facts:?}");
    }
}

#[test]
fn parts_and_what_is_compressed_or_signed_stay_as_they_are() {
    for facts in [
        AnswerFacts { status: 206, ..html() },
        AnswerFacts { status: 204, ..html() },
        AnswerFacts { status: 101, ..html() },
        AnswerFacts { length: Some(255), ..html() },
        AnswerFacts { content_encoding: Some(b"br"), ..html() },
        AnswerFacts { content_type: Some(b"image/png"), ..html() },
        AnswerFacts { content_type: Some(b"application/grpc"), ..html() },
        AnswerFacts { content_type: None, ..html() },
        AnswerFacts { cache_control: Some(b"max-age=1, No-Transform"), ..html() },
        AnswerFacts { is_bound_to_bytes: true, ..html() },
    ] {
        assert_eq!(judge(&facts, true), Verdict::Leave, "{facts:?}");
    }
    assert_eq!(judge(&AnswerFacts { status: 304, ..html() }, true), Verdict::Vary);
}
