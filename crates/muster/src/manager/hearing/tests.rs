//! What becomes of streams whose cells send what they should not, and of those beside them.

mod streams;

use super::*;
use tokio::io::AsyncWriteExt;
use wire::id::Epoch;
use wire::summary::ClusterSummary;

const EAST: CellNumber = CellNumber(1);
const NORTH: CellNumber = CellNumber(2);

fn other(name: &str) -> OtherCell {
    OtherCell {
        name: name.to_owned(),
        managers: vec!["127.0.0.1:1".to_owned()],
        token_file: "/nowhere".to_owned(),
        clusters: vec!["shop".into()],
        transport: wire::view::Transport::default(),
    }
}

/// Hears of two cells, whose streams are given by the test.
fn hearing(desk: mpsc::Sender<Input>) -> Hearing {
    let task = tokio::spawn(async {}).abort_handle();
    let follower = |(name, number): (&str, CellNumber)| {
        let status = OtherCellStatus { cell: name.to_owned(), ..OtherCellStatus::default() };
        let follower = Follower { other: other(name), number: Some(number), task: task.clone(), status };
        (name.to_owned(), follower)
    };
    let followers = [("east", EAST), ("north", NORTH)].map(follower).into_iter().collect();
    Hearing {
        board: Board::default(),
        followers,
        clock: Clock::start(),
        desk,
        told: watch::channel(Vec::new()).0,
    }
}

fn summary(cell: CellNumber, ready: u32, number: u64) -> String {
    let shop = ClusterSummary {
        cluster: "shop".into(),
        epoch: Epoch { generation: 1, number },
        ready,
        weight: ready,
        gateways: vec![([127, 0, 0, 1], 80).into()],
        ..ClusterSummary::default()
    };
    let whole = CellSummary { cell, is_whole: true, clusters: vec![shop], gone: Vec::new() };
    let text = serde_json::to_string(&whole).expect("names as keys");
    // A newer version may say more.
    text.replacen('{', "{\"mood\":\"good\",", 1)
}

/// What the desk was told since: clusters and members that are ready, and kinds of notes.
fn told(inbox: &mut mpsc::Receiver<Input>) -> Vec<String> {
    let mut told = Vec::new();
    while let Ok(input) = inbox.try_recv() {
        told.push(match input {
            Input::Cell(cell::Input::Elsewhere { cluster, known: Elsewhere::Told(summary) }) => {
                format!("{cluster} {}", summary.ready)
            }
            Input::Note { kind, text, .. } => format!("{kind}: {text}"),
            other => format!("{other:?}"),
        });
    }
    told
}

/// Sends `body` as the cell, and gives why the stream ended, if it did.
async fn send(hearing: &mut Hearing, cell: CellNumber, body: &[u8], announced: usize) -> Option<Ended> {
    let (mut here, mut there) = tokio::io::duplex(1 << 20);
    let length = u32::try_from(announced).expect("it fits");
    here.write_all(&length.to_be_bytes()).await.expect("there is room");
    here.write_all(body).await.expect("there is room");
    let (heard_in, mut heard) = mpsc::channel(1);
    let receiving = receive(&mut there, cell, &heard_in);
    tokio::pin!(receiving);
    let message = tokio::select! {
        ended = &mut receiving => return Some(ended),
        message = heard.recv() => message.expect("the sender is here"),
    };
    hearing.take(message).await;
    drop(here);
    Some(receiving.await).filter(|ended| matches!(ended, Ended::Quarantined(_)))
}

#[tokio::test]
async fn what_cannot_be_believed_quarantines_its_sender_and_nobody_else() {
    let long = SUMMARY_MAX_BYTES + 1;
    let foreign = summary(NORTH, 9, 2);
    let bad: [(&[u8], usize, &str); 4] = [
        (b"{\"cell\":", 8, "cannot be read"),
        (b"", long, "longer than"),
        (foreign.as_bytes(), foreign.len(), "in the name of cell"),
        (b"[]", 2, "cannot be read"),
    ];
    for (body, announced, why) in bad {
        let (desk, mut inbox) = mpsc::channel(64);
        let mut hearing = hearing(desk);
        for (cell, name) in [(EAST, "east"), (NORTH, "north")] {
            let text = summary(cell, 3, 1);
            assert!(send(&mut hearing, cell, text.as_bytes(), text.len()).await.is_none());
            assert_eq!(told(&mut inbox)[0], format!("shop@{name} 3"));
        }
        let ended = send(&mut hearing, EAST, body, announced).await;
        let Some(Ended::Quarantined(wait)) = ended else { panic!("{why}: {ended:?}") };
        assert_eq!(wait, Duration::from_secs(60));
        let notes = told(&mut inbox);
        assert!(notes.len() == 1 && notes[0].contains("cell-quarantined: M2072: cell east"), "{notes:?}");
        assert!(notes[0].contains(why), "{notes:?}");
        // What it told counts still, and nothing new of it does; the other one is heard as before.
        let text = summary(EAST, 5, 2);
        assert!(send(&mut hearing, EAST, text.as_bytes(), text.len()).await.is_none());
        assert!(told(&mut inbox).is_empty());
        let text = summary(NORTH, 5, 2);
        assert!(send(&mut hearing, NORTH, text.as_bytes(), text.len()).await.is_none());
        assert_eq!(told(&mut inbox), ["shop@north 5"]);
    }
}

#[test]
fn a_token_is_read_from_a_file_of_its_owner_alone() {
    let directory = std::env::temp_dir().join(format!("muster-hearing-{}", std::process::id()));
    std::fs::create_dir_all(&directory).expect("a directory");
    let path = directory.join("east.token");
    assert!(read_token(&path).is_err(), "it is not there");
    let token = format!("mb1.{}.{}.west", "0a".repeat(32), "0b".repeat(20));
    std::fs::write(&path, format!("{token}\n")).expect("written");
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o640)).expect("it is ours");
    assert!(read_token(&path).is_err_and(|why| why.contains("chmod 600")));
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).expect("it is ours");
    assert_eq!(read_token(&path).map(|token| token.to_string()), Ok(token));
    std::fs::write(&path, "mj1.").expect("written");
    assert!(read_token(&path).is_err());
    std::fs::remove_dir_all(&directory).expect("removed");
}

#[tokio::test]
async fn people_are_shown_how_each_cell_stands_and_when_it_was_heard_last() {
    let (desk, mut inbox) = mpsc::channel(64);
    let mut hearing = hearing(desk);
    let shown = hearing.told.subscribe();
    let of_east = move || {
        let statuses = shown.borrow();
        let east = statuses.iter().find(|status| status.cell == "east");
        east.map(|east| (east.standing, east.heard_ms.is_some(), east.problem.is_some()))
    };
    hearing.show();
    assert_eq!(of_east(), Some((CellStanding::Unheard, false, false)));
    let text = summary(EAST, 3, 1);
    send(&mut hearing, EAST, text.as_bytes(), text.len()).await;
    assert_eq!(of_east(), Some((CellStanding::Heard, true, false)));
    let failed = Heard::Failed { cell: "east".into(), reason: "the connection was refused".into() };
    hearing.take(failed).await;
    assert_eq!(of_east(), Some((CellStanding::Heard, true, true)), "it may be back in time");
    hearing.stands(EAST, Standing::Silent).await;
    assert_eq!(of_east(), Some((CellStanding::Silent, true, true)));
    told(&mut inbox);
    let text = summary(EAST, 3, 2);
    hearing.stands(EAST, Standing::Forgotten).await;
    send(&mut hearing, EAST, text.as_bytes(), text.len()).await;
    assert_eq!(
        told(&mut inbox)[0],
        "cell-forgotten: cell east was not heard for too long: what it told counts no longer"
    );
}
