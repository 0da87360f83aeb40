//! The body of a create call while it is uploaded.
//!
//! [`BatchBody`]'s pieces are produced on a thread that may block (they are read from disk and
//! compressed) and handed to the connection through a short channel, so a body of any length takes
//! about a megabyte of memory. The length is announced before, so the request carries
//! `Content-Length`.
//!
//! The [`UploadProgress`] knows how much was handed out, and can stop the rest. That distinguishes
//! a body that cannot have arrived from one that may have: as long as the last piece is here, the
//! provider does not have a whole request. The last piece is held back until the producer has said
//! that nothing follows, so a body of the wrong length is never complete either.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::batch::BatchBody;

/// Pieces that wait between producer and connection.
const PIECES_WAITING: usize = 4;

/// How far a body has come; shared by the body, which is deep in the connection, and the call that
/// waits for the answer.
#[derive(Debug)]
pub(super) struct UploadProgress {
    announced: u64,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    handed_out: u64,
    stopped: bool,
    moved: Instant,
    fault: Option<String>,
}

impl UploadProgress {
    fn new(announced: u64) -> UploadProgress {
        let state = State {
            handed_out: 0,
            stopped: false,
            moved: Instant::now(),
            fault: None,
        };
        UploadProgress {
            announced,
            state: Mutex::new(state),
        }
    }

    /// Stops the body permanently, and says whether all of it had been handed out before.
    pub(super) fn stop(&self) -> bool {
        let mut state = self.lock();
        state.stopped = true;
        state.handed_out == self.announced
    }

    /// When a piece was last handed out.
    pub(super) fn moved(&self) -> Instant {
        self.lock().moved
    }

    /// What went wrong on our side while the body was produced.
    pub(super) fn fault(&self) -> Option<String> {
        self.lock().fault.clone()
    }

    fn hand_out(&self, piece: Bytes) -> io::Result<Bytes> {
        let mut state = self.lock();
        if state.stopped {
            return Err(io::Error::other("the upload was stopped"));
        }
        state.handed_out += piece.len() as u64;
        state.moved = Instant::now();
        Ok(piece)
    }

    fn end(&self) -> io::Result<()> {
        let handed_out = self.lock().handed_out;
        if handed_out == self.announced {
            return Ok(());
        }
        Err(self.fail(io::Error::other(wrong_length(handed_out, self.announced))))
    }

    fn fail(&self, error: io::Error) -> io::Error {
        self.lock().fault = Some(error.to_string());
        error
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A sized, streaming request body.
#[derive(Debug)]
pub(super) struct Upload {
    pieces: mpsc::Receiver<io::Result<Bytes>>,
    progress: Arc<UploadProgress>,
}

impl Upload {
    /// Starts producing the body from its first byte. Must be called within a tokio runtime.
    pub(super) fn start(body: Arc<dyn BatchBody>) -> (Upload, Arc<UploadProgress>) {
        let announced = body.bytes();
        let progress = Arc::new(UploadProgress::new(announced));
        let (sender, pieces) = mpsc::channel(PIECES_WAITING);
        tokio::task::spawn_blocking(move || {
            if let Err(error) = produce(&*body, announced, &sender) {
                // A dropped receiver has no use for the error.
                let _ = sender.blocking_send(Err(error));
            }
        });
        (
            Upload {
                pieces,
                progress: Arc::clone(&progress),
            },
            progress,
        )
    }
}

/// Sends all pieces, each one after the next is there, the last one after the length is known to be
/// right.
fn produce(
    body: &dyn BatchBody,
    announced: u64,
    sender: &mpsc::Sender<io::Result<Bytes>>,
) -> io::Result<()> {
    let mut produced = 0;
    let mut held: Option<Bytes> = None;
    for piece in body.chunks()? {
        let piece = piece?;
        produced += piece.len() as u64;
        if produced > announced {
            break;
        }
        if let Some(before) = held.replace(piece)
            && sender.blocking_send(Ok(before)).is_err()
        {
            return Ok(());
        }
    }
    if produced != announced {
        return Err(io::Error::other(wrong_length(produced, announced)));
    }
    if let Some(last) = held {
        let _ = sender.blocking_send(Ok(last));
    }
    Ok(())
}

fn wrong_length(produced: u64, announced: u64) -> String {
    let than = if produced > announced {
        "more"
    } else {
        "fewer"
    };
    format!("the body has {than} bytes than announced ({produced} against {announced})")
}

impl Body for Upload {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let piece = ready!(self.pieces.poll_recv(cx));
        Poll::Ready(match piece {
            Some(Ok(piece)) => Some(self.progress.hand_out(piece).map(Frame::data)),
            Some(Err(error)) => Some(Err(self.progress.fail(error))),
            None => self.progress.end().err().map(Err),
        })
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.progress.announced - self.progress.lock().handed_out)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A body of given pieces that announces any length.
    pub(in crate::provider) struct Pieces {
        pub(in crate::provider) pieces: Vec<Result<Bytes, &'static str>>,
        pub(in crate::provider) announced: u64,
    }

    impl Pieces {
        pub(in crate::provider) fn honest(pieces: Vec<Bytes>) -> Arc<Pieces> {
            let announced = pieces.iter().map(|p| p.len() as u64).sum();
            Arc::new(Pieces {
                pieces: pieces.into_iter().map(Ok).collect(),
                announced,
            })
        }
    }

    impl BatchBody for Pieces {
        fn requests(&self) -> u32 {
            1
        }
        fn bytes(&self) -> u64 {
            self.announced
        }
        fn chunks(&self) -> io::Result<Box<dyn Iterator<Item = io::Result<Bytes>> + Send>> {
            let pieces = self.pieces.clone();
            Ok(Box::new(
                pieces
                    .into_iter()
                    .map(|piece| piece.map_err(io::Error::other)),
            ))
        }
    }

    async fn drain(mut upload: Upload) -> (Vec<u8>, Option<io::Error>) {
        let mut bytes = Vec::new();
        loop {
            match std::future::poll_fn(|cx| Pin::new(&mut upload).poll_frame(cx)).await {
                None => return (bytes, None),
                Some(Err(error)) => return (bytes, Some(error)),
                Some(Ok(frame)) => bytes.extend_from_slice(&frame.into_data().unwrap()),
            }
        }
    }

    #[tokio::test]
    async fn hands_out_every_byte_in_order() {
        let (upload, progress) =
            Upload::start(Pieces::honest(vec!["ab".into(), Bytes::new(), "c".into()]));
        assert_eq!(upload.size_hint().exact(), Some(3));
        let (bytes, error) = drain(upload).await;
        assert_eq!(
            (bytes.as_slice(), error.is_none(), progress.stop()),
            (&b"abc"[..], true, true)
        );
    }

    #[tokio::test]
    async fn never_completes_a_body_of_the_wrong_length() {
        let piece = |text: &'static str| Ok(Bytes::from(text));
        for (pieces, announced, said) in [
            (
                vec![piece("abc"), piece("def")],
                5,
                "more bytes than announced (6 against 5)",
            ),
            (
                vec![piece("abc"), piece("de"), piece("f")],
                5,
                "more bytes than announced",
            ),
            (
                vec![piece("abc")],
                5,
                "fewer bytes than announced (3 against 5)",
            ),
            (vec![], 5, "fewer bytes than announced"),
            (vec![piece("abc"), Err("disk gone")], 3, "disk gone"),
        ] {
            let (upload, progress) = Upload::start(Arc::new(Pieces { pieces, announced }));
            let (bytes, error) = drain(upload).await;
            assert!((bytes.len() as u64) < announced);
            assert!(error.unwrap().to_string().contains(said));
            assert!(progress.fault().unwrap().contains(said));
            assert!(!progress.stop());
        }
    }

    #[tokio::test]
    async fn hands_out_nothing_once_it_is_stopped() {
        let (upload, progress) = Upload::start(Pieces::honest(vec!["ab".into(), "c".into()]));
        assert!(!progress.stop());
        let (bytes, error) = drain(upload).await;
        assert!(bytes.is_empty() && error.is_some());
        assert_eq!(progress.fault(), None);
    }
}
