//! What a change of members costs on its way to a router: the bytes that are written, not an estimate.

use logic::view::change;
use std::net::SocketAddr;
use wire::id::{ClusterName, Epoch, MemberName};
use wire::link::FromManager;
use wire::view::{MemberView, RunState, View};

/// Of one frame of the link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PushBytes {
    /// Length and text.
    pub frame: usize,
    /// With TLS, TCP and IP.
    pub on_the_wire: usize,
    /// What the whole views would take.
    pub whole: usize,
}

const LENGTH_BYTES: usize = 4;
/// A record of TLS 1.3, and TCP with time stamps over IPv4.
const HEADERS_BYTES: usize = 22 + 52;

fn view(cluster: usize, members: usize) -> View {
    let member = |number: usize| MemberView {
        name: MemberName(format!("application-{cluster}-{number}")),
        clone_id: format!("c{number}"),
        address: Some(SocketAddr::from(([10, 1, (number / 250) as u8, (number % 250) as u8], 8_080))),
        state: RunState::Up,
        weight: 2,
        reason: "passes its probe".into(),
        ..MemberView::default()
    };
    View {
        cluster: ClusterName(format!("application-{cluster}")),
        epoch: Epoch { generation: 1_234, number: 56_789 },
        members: (0..members).map(member).collect(),
        ..View::default()
    }
}

/// A cell of so many clusters and members, of which the first `changed` of the first `touched` clusters are lost.
pub fn push_bytes(members: usize, touched: usize, changed: usize) -> PushBytes {
    let old: Vec<View> = (0..touched).map(|cluster| view(cluster, members)).collect();
    let mut new = old.clone();
    for (place, view) in new.iter_mut().enumerate() {
        view.epoch.number += 1;
        for member in view.members.iter_mut().take(changed / touched + usize::from(place < changed % touched))
        {
            (member.state, member.is_lost) = (RunState::Down, true);
            member.reason = "its node cannot be reached: its heartbeats have stopped".into();
        }
    }
    let changes = old.iter().zip(&new).map(|(old, new)| change(old, new).expect("it is later")).collect();
    let size = |message: &FromManager| {
        LENGTH_BYTES + serde_json::to_vec(message).expect("keys of its maps are text").len()
    };
    let frame = size(&FromManager::Changes(changes));
    PushBytes { frame, on_the_wire: frame + HEADERS_BYTES, whole: size(&FromManager::Views(new)) }
}
