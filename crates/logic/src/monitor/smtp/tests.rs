//! Conversations with mail servers, as scripts: `<` what the server says, `>` what we say to that.

use super::*;

/// What is said and how it ends, a line each; every reply comes at once, and again byte by byte.
fn run(manner: SmtpManner, replies: &[&str]) -> Vec<String> {
    let whole = play(manner, replies, usize::MAX);
    assert_eq!(whole, play(manner, replies, 1), "a reply is the same in pieces");
    whole
}

fn play(manner: SmtpManner, replies: &[&str], piece: usize) -> Vec<String> {
    let mut talk = SmtpTalk::new(manner);
    let mut told = Vec::new();
    'replies: for reply in replies {
        for piece in reply.as_bytes().chunks(piece.min(reply.len())) {
            let mut next = talk.heard(piece);
            if next == Next::Encrypt {
                told.push("TLS".to_owned());
                next = talk.encrypted();
            }
            match next {
                Next::Say(bytes) if bytes.is_empty() => {}
                Next::Say(bytes) => told.push(readable(&bytes)),
                Next::Encrypt => panic!("TLS within TLS"),
                Next::Done { verdict: Ok(()), goodbye } => {
                    told.push(format!("good, then {}", readable(goodbye)));
                    break 'replies;
                }
                Next::Done { verdict: Err(trouble), .. } => {
                    told.push(trouble.to_string());
                    break 'replies;
                }
            }
        }
    }
    told
}

#[test]
fn the_source_s_probe_is_a_greeting_and_noop() {
    let told = run(SmtpManner::Noop, &["220 mail ESMTP\r\n", "250 2.0.0 Ok\r\n"]);
    assert_eq!(told, ["NOOP", "good, then QUIT"]);
}

#[test]
fn replies_may_have_several_lines() {
    let told = run(SmtpManner::Noop, &["220-mail\r\n220-no spam\r\n220 here\r\n", "250-a\r\n250\r\n"]);
    assert_eq!(told, ["NOOP", "good, then QUIT"]);
}

#[test]
fn a_server_that_refuses_is_bad_at_any_step() {
    let busy = run(SmtpManner::Noop, &["421 4.3.2 too busy\r\n"]);
    assert_eq!(busy, ["the answer to the connection was 421 4.3.2 too busy"]);
    let refused = run(SmtpManner::Noop, &["220 mail\r\n", "502 5.5.1 what\r\n"]);
    assert_eq!(refused, ["NOOP", "the answer to NOOP was 502 5.5.1 what"]);
    let other = run(SmtpManner::Noop, &["SSH-2.0-server\r\n"]);
    assert_eq!(other, ["the answer to the connection was 0 SSH-2.0-server"]);
    let interim = run(SmtpManner::Noop, &["199 what\r\n"]);
    assert_eq!(interim, ["the answer to the connection was 0 199 what"]);
}

#[test]
fn starttls_is_begun_where_it_is_offered() {
    let told = run(
        SmtpManner::StartTls,
        &[
            "220 mail\r\n",
            "250-mail\r\n250-STARTTLS\r\n250 SIZE 1\r\n",
            "220 go\r\n",
            "250 mail\r\n",
            "250 ok\r\n",
        ],
    );
    let ehlo = "EHLO [127.0.0.1]";
    assert_eq!(told, [ehlo, "STARTTLS", "TLS", ehlo, "NOOP", "good, then QUIT"]);
    let without = run(SmtpManner::StartTls, &["220 mail\r\n", "250 mail\r\n"]);
    assert_eq!(without, [ehlo, "it does not offer STARTTLS"]);
    let refused = run(SmtpManner::StartTls, &["220 mail\r\n", "250-mail\r\n250 STARTTLS\r\n", "454 no\r\n"]);
    assert_eq!(refused, [ehlo, "STARTTLS", "the answer to STARTTLS was 454 no"]);
}

#[test]
fn what_was_said_before_tls_does_not_count_after_it() {
    let mut talk = SmtpTalk::new(SmtpManner::StartTls);
    talk.heard(b"220 mail\r\n");
    talk.heard(b"250 STARTTLS\r\n");
    // Somebody between us and the server adds a reply in clear text.
    assert_eq!(talk.heard(b"220 go\r\n250 forged\r\n"), Next::Encrypt);
    talk.encrypted();
    assert_eq!(talk.heard(b"250 mail\r\n"), Next::Say(b"NOOP\r\n".to_vec()));
}

#[test]
fn greetings_without_end_are_given_up() {
    let lines = "220-hello\r\n".repeat(101);
    assert_eq!(run(SmtpManner::Noop, &[&lines]), ["it does not speak SMTP"]);
    let line = "220 ".to_owned() + &"x".repeat(70_000);
    assert_eq!(run(SmtpManner::Noop, &[&line]), ["its answer is longer than 65536 bytes"]);
}
