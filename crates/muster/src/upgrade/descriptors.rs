//! Sends and receives listening sockets over a Unix socket.
//!
//! One byte goes with each batch, because descriptors travel only with data. A batch is read by one call, so batches
//! never mix.

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recvmsg, sendmsg,
};
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::net::TcpListener;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use tokio::io::Interest;
use tokio::net::UnixStream;

/// Sockets in one batch. 64: the kernel takes at most 253, and a router has at most 64 threads.
const BATCH_MAX: usize = 64;

pub async fn send(stream: &UnixStream, listeners: &[TcpListener]) -> io::Result<()> {
    for batch in listeners.chunks(BATCH_MAX) {
        let descriptors: Vec<BorrowedFd<'_>> = batch.iter().map(AsFd::as_fd).collect();
        stream.async_io(Interest::WRITABLE, || send_batch(stream, &descriptors)).await?;
    }
    Ok(())
}

fn send_batch(stream: &UnixStream, descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(BATCH_MAX))];
    let mut buffer = SendAncillaryBuffer::new(&mut space);
    assert!(buffer.push(SendAncillaryMessage::ScmRights(descriptors)), "a batch has {BATCH_MAX} at most");
    sendmsg(stream, &[IoSlice::new(&[0])], &mut buffer, SendFlags::NOSIGNAL)?;
    Ok(())
}

pub async fn receive(stream: &UnixStream, count: usize) -> io::Result<Vec<TcpListener>> {
    let mut listeners = Vec::new();
    while listeners.len() < count {
        let batch = stream.async_io(Interest::READABLE, || receive_batch(stream)).await?;
        if batch.is_empty() {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "no descriptors came"));
        }
        listeners.extend(batch.into_iter().map(TcpListener::from));
    }
    if listeners.len() > count { Err(io::Error::other("too many descriptors came")) } else { Ok(listeners) }
}

fn receive_batch(stream: &UnixStream) -> io::Result<Vec<OwnedFd>> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(BATCH_MAX))];
    let mut buffer = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0];
    recvmsg(stream, &mut [IoSliceMut::new(&mut byte)], &mut buffer, RecvFlags::CMSG_CLOEXEC)?;
    let descriptors = buffer.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(descriptors) => Some(descriptors),
        _ => None,
    });
    Ok(descriptors.flatten().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_arrive_in_their_order_and_accept() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let (left, right) = UnixStream::pair().expect("a pair");
            let bind = |_| TcpListener::bind("127.0.0.1:0").expect("a free port");
            let listeners: Vec<TcpListener> = (0..100).map(bind).collect();
            let addresses = |listeners: &[TcpListener]| -> Vec<_> {
                listeners.iter().map(|listener| listener.local_addr().expect("bound")).collect()
            };
            send(&left, &listeners).await.expect("sent");
            let received = receive(&right, 100).await.expect("received");
            let expected = addresses(&listeners);
            assert_eq!(addresses(&received), expected);
            drop(listeners);
            let _client = std::net::TcpStream::connect(expected[42]).expect("the queue is still there");
            received[42].accept().expect("it is the same socket");
            drop(left);
            assert!(receive(&right, 1).await.is_err());
        });
    }
}
