//! An answer's body on its way to the client, in pieces: when the last piece is taken, the client
//! has read all before it, or room for it is in the kernel.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use axum::body::Body;
use bytes::Bytes;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use tokio::sync::OwnedSemaphorePermit;

use super::crowd::Open;

/// Small against what hyper buffers, so that one large answer is not all in its hands at once.
const PIECE: usize = 16 << 10;

/// A body that holds what its request has taken until it is sent or given up.
pub(super) struct Sent {
    body: Body,
    piece: Bytes,
    /// The request, for the connection's deadline.
    _open: Open,
    /// Its share of `--web.max-requests`.
    _permit: Option<OwnedSemaphorePermit>,
}

impl Sent {
    pub(super) fn new(body: Body, open: Open, permit: Option<OwnedSemaphorePermit>) -> Self {
        Self {
            body,
            piece: Bytes::new(),
            _open: open,
            _permit: permit,
        }
    }
}

impl HttpBody for Sent {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        if self.piece.is_empty() {
            match ready!(Pin::new(&mut self.body).poll_frame(context)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => self.piece = data,
                    Err(frame) => return Poll::Ready(Some(Ok(frame))),
                },
                end => return Poll::Ready(end),
            }
        }
        let length = self.piece.len().min(PIECE);
        Poll::Ready(Some(Ok(Frame::data(self.piece.split_to(length)))))
    }

    fn is_end_stream(&self) -> bool {
        self.piece.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let (rest, piece) = (self.body.size_hint(), self.piece.len() as u64);
        let mut hint = SizeHint::new();
        hint.set_lower(rest.lower() + piece);
        if let Some(upper) = rest.upper() {
            hint.set_upper(upper + piece);
        }
        hint
    }
}
