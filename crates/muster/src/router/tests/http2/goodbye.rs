//! Connections that end in good order: their last answers are read to the end.

use super::raw::{Client, DATA, GOAWAY, HEADERS, PING, frame};
use super::*;

const ACK: u8 = 1;
const SETTINGS_WINDOW: u16 = 4;
const ANSWER_BYTES: usize = 1 << 20;

#[test]
fn the_last_answer_is_whole_although_its_client_goes_on_talking() {
    let (go_on, may_answer) = std::sync::mpsc::sync_channel::<()>(1);
    let may_answer = std::sync::Mutex::new(may_answer);
    let stage = Stage::new();
    stage.member("a", 1, move |mut caller| {
        read_request(&mut caller).expect("a request");
        may_answer.lock().expect("one at a time").recv().expect("the test says when");
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {ANSWER_BYTES}\r\n\r\n");
        caller.write_all(head.as_bytes()).expect("the router reads");
        caller.write_all(&vec![b'x'; ANSWER_BYTES]).expect("the router reads");
    });
    let mut client = Client::with_settings(&stage, &[(SETTINGS_WINDOW, 1 << 30)]);
    socket2::SockRef::from(&client.stream).set_recv_buffer_size(16 * 1024).expect("a socket");
    client.send(&frame(raw::WINDOW_UPDATE, 0, 0, &(1_u32 << 30).to_be_bytes()));
    client.ask(1);
    stage.change_settings(|settings| {
        settings.listeners = vec![Listener::plain("127.0.0.2:0".parse().expect("an address"))];
    });
    let ping = std::iter::from_fn(|| client.read()).find(|frame| frame.kind == PING).expect("a round trip");
    client.send(&frame(PING, ACK, 0, &ping.payload));
    let last = std::iter::from_fn(|| client.read()).find(|frame| frame.kind == GOAWAY);
    assert_eq!(last.expect("a last stream").payload[..4], [0, 0, 0, 1]);
    go_on.send(()).expect("the member waits");
    // The router has said everything and wants to close, while the client has yet to read.
    std::thread::sleep(Duration::from_millis(500));
    for _ in 0..10 {
        client.send(&frame(PING, 0, 0, &[7; 8]));
        std::thread::sleep(Duration::from_millis(10));
    }
    let frames = client.read_to_end();
    assert!(frames.iter().any(|frame| frame.kind == HEADERS), "an answer");
    let bytes = frames.iter().filter(|frame| frame.kind == DATA).map(|frame| frame.payload.len());
    assert_eq!(bytes.sum::<usize>(), ANSWER_BYTES);
}
