//! Frames with descriptors in them over a unix socket: how one process hands its sockets to another.
//!
//! A frame is its length and the number of its descriptors (4 bytes each, big end first), the bytes, and then one byte
//! for each batch of descriptors, to which they are attached (`SCM_RIGHTS`). Descriptors arrive with close-on-exec set.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream as StdUnixStream;

use rustix::cmsg_space;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
    recvmsg, sendmsg,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt, Interest};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};

/// Bytes of one frame at most. The largest is a page of metrics, of some thousands of backends.
const LARGEST: usize = 64 * 1024 * 1024;
/// Descriptors of one frame at most.
const MOST: usize = 1 << 16;
/// Descriptors that go with one byte. The kernel takes up to 253.
const BATCH: usize = 64;
/// Set aside for bytes that are announced and not here yet.
const AHEAD: usize = 64 * 1024;

/// What arrives.
#[derive(Debug)]
pub struct Frame {
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// Its descriptors, in the order in which they were sent.
    pub descriptors: Vec<OwnedFd>,
}

/// The end of a channel that frames come from.
#[derive(Debug)]
pub struct FrameReader(OwnedReadHalf);

/// The end that they go to.
#[derive(Debug)]
pub struct FrameWriter(OwnedWriteHalf);

/// Two connected ends: one for us, one to be handed to another process.
///
/// # Errors
/// Descriptors are short.
pub fn channel() -> io::Result<(StdUnixStream, StdUnixStream)> {
    let (ours, theirs) = StdUnixStream::pair()?;
    ours.set_nonblocking(true)?;
    theirs.set_nonblocking(true)?;
    Ok((ours, theirs))
}

/// Makes frames of an end that was made by [`channel`], on this runtime.
///
/// # Errors
/// It is no unix socket, or cannot be registered.
pub fn frames(end: OwnedFd) -> io::Result<(FrameReader, FrameWriter)> {
    let end = StdUnixStream::from(end);
    end.local_addr()?;
    end.set_nonblocking(true)?;
    let (reads, writes) = UnixStream::from_std(end)?.into_split();
    Ok((FrameReader(reads), FrameWriter(writes)))
}

impl FrameReader {
    /// The next frame; `None` at a clean end. Not cancel safe.
    ///
    /// # Errors
    /// The other end is gone in the middle of a frame, or what it sends is none.
    pub async fn next(&mut self) -> io::Result<Option<Frame>> {
        let mut head = [0; 8];
        match self.0.read(&mut head).await? {
            0 => return Ok(None),
            read => self.0.read_exact(&mut head[read..]).await?,
        };
        let number = |bytes: &[u8]| bytes.iter().fold(0, |number, byte| number << 8 | usize::from(*byte));
        let (length, count) = (number(&head[..4]), number(&head[4..]));
        if length > LARGEST || count > MOST {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "not a frame of this program"));
        }
        let mut bytes = Vec::with_capacity(length.min(AHEAD));
        (&mut self.0).take(length as u64).read_to_end(&mut bytes).await?;
        if bytes.len() < length {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let mut descriptors = Vec::new();
        while descriptors.len() < count {
            let stream = self.0.as_ref();
            let batch = stream.async_io(Interest::READABLE, || receive(stream.as_fd())).await?;
            if batch.is_empty() {
                return Err(io::Error::other("descriptors were lost: this process has too many open"));
            }
            descriptors.extend(batch);
        }
        Ok(Some(Frame { bytes, descriptors }))
    }
}

impl FrameWriter {
    /// Sends one frame. Not cancel safe.
    ///
    /// # Errors
    /// The other end is gone, or the frame is too large.
    pub async fn send(&mut self, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
        if bytes.len() > LARGEST || descriptors.len() > MOST {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "too large for a frame"));
        }
        let number = |number: usize| u32::try_from(number).unwrap_or(u32::MAX).to_be_bytes();
        let head = [number(bytes.len()), number(descriptors.len())].concat();
        self.0.write_all(&head).await?;
        self.0.write_all(bytes).await?;
        for batch in descriptors.chunks(BATCH) {
            let stream: &UnixStream = self.0.as_ref();
            stream.async_io(Interest::WRITABLE, || give(stream.as_fd(), batch)).await?;
        }
        Ok(())
    }
}

fn give(stream: BorrowedFd<'_>, batch: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut room = [MaybeUninit::uninit(); cmsg_space!(ScmRights(BATCH))];
    let mut control = SendAncillaryBuffer::new(&mut room);
    control.push(SendAncillaryMessage::ScmRights(batch));
    sendmsg(stream, &[IoSlice::new(b"+")], &mut control, SendFlags::NOSIGNAL)?;
    Ok(())
}

fn receive(stream: BorrowedFd<'_>) -> io::Result<Vec<OwnedFd>> {
    let mut room = [MaybeUninit::uninit(); cmsg_space!(ScmRights(BATCH))];
    let mut control = RecvAncillaryBuffer::new(&mut room);
    let mut byte = [0];
    let got = recvmsg(stream, &mut [IoSliceMut::new(&mut byte)], &mut control, RecvFlags::CMSG_CLOEXEC)?;
    if got.bytes == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let mut batch = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(descriptors) = message {
            batch.extend(descriptors);
        }
    }
    Ok(batch)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on should panic")]
mod tests {
    use super::*;
    use rustix::io::{FdFlags, fcntl_getfd};

    fn pair() -> ((FrameReader, FrameWriter), (FrameReader, FrameWriter)) {
        let (one, other) = channel().unwrap();
        (frames(one.into()).unwrap(), frames(other.into()).unwrap())
    }

    #[tokio::test]
    async fn bytes_and_descriptors_arrive_in_their_order() {
        let ((_, mut writes), (mut reads, _)) = pair();
        let sockets: Vec<_> = (0..150).map(|_| std::net::UdpSocket::bind("127.0.0.1:0").unwrap()).collect();
        let sending = async {
            let borrowed: Vec<_> = sockets.iter().map(AsFd::as_fd).collect();
            writes.send(b"hello", &borrowed).await.unwrap();
            writes.send(&vec![7; 1 << 20], &[]).await.unwrap();
        };
        let reading = async { (reads.next().await.unwrap().unwrap(), reads.next().await.unwrap().unwrap()) };
        let ((), (first, second)) = tokio::join!(sending, reading);
        assert_eq!((&*first.bytes, second.bytes.len(), second.descriptors.len()), (&b"hello"[..], 1 << 20, 0));
        assert_eq!(first.descriptors.len(), 150);
        for (sent, got) in sockets.iter().zip(first.descriptors) {
            assert!(fcntl_getfd(&got).unwrap().contains(FdFlags::CLOEXEC));
            assert_eq!(std::net::UdpSocket::from(got).local_addr().unwrap(), sent.local_addr().unwrap());
        }
        drop(writes);
    }

    #[tokio::test]
    async fn an_end_is_clean_between_frames_only() {
        let (ours, (mut reads, _writes)) = pair();
        drop(ours);
        assert!(reads.next().await.unwrap().is_none());
        let ((_reads, mut writes), (mut reads, _writes)) = pair();
        writes.0.write_all(&[0, 0, 0, 9, 0, 0, 0, 0, 1]).await.unwrap();
        drop((writes, _reads));
        assert!(reads.next().await.is_err());
    }

    #[tokio::test]
    async fn what_is_no_frame_takes_no_memory() {
        for head in [[255, 255, 255, 255, 0, 0, 0, 0], [0, 0, 0, 0, 255, 255, 255, 255]] {
            let ((_reads, mut writes), (mut reads, _writes)) = pair();
            writes.0.write_all(&head).await.unwrap();
            assert_eq!(reads.next().await.unwrap_err().kind(), io::ErrorKind::InvalidData);
        }
    }
}
