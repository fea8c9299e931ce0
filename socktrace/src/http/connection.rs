//! One connection, from accept to its end.

use std::{
    convert::Infallible,
    io,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll, ready},
};

use hyper::{
    Request,
    body::Incoming,
    server::conn::{http1, http2},
    service::service_fn,
};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::ServerConfig;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    sync::watch,
    time::{Instant, sleep_until, timeout},
};
use tokio_rustls::TlsAcceptor;
use tracing::debug;

use super::{
    crowd::{Life, Seat},
    guard::{Entrance, Guard},
};

/// Serves a connection until it is over, too late with something, or its seat goes to another.
pub(super) async fn serve<S>(
    stream: S,
    tls: Option<Arc<ServerConfig>>,
    entrance: Entrance,
    guard: Arc<Guard>,
    seat: Seat,
    closing: watch::Receiver<bool>,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let life = Arc::clone(&seat.life);
    let served = async {
        let Some(tls) = tls else {
            return http1(stream, entrance, &guard, &life, closing).await;
        };
        let handshake = TlsAcceptor::from(tls).accept(stream);
        match timeout(guard.limits.head, handshake).await {
            Ok(Ok(stream)) if stream.get_ref().1.alpn_protocol() == Some(b"h2") => {
                http2(stream, entrance, &guard, &life, closing).await;
            }
            Ok(Ok(stream)) => http1(stream, entrance, &guard, &life, closing).await,
            Ok(Err(error)) => debug!(%error, "a TLS handshake failed"),
            Err(_) => debug!("a TLS handshake took too long"),
        }
    };
    tokio::select! {
        () = served => {}
        () = life.cut.notified() => debug!("an idle connection made room for a new one"),
    }
}

async fn http1<S>(
    stream: S,
    entrance: Entrance,
    guard: &Arc<Guard>,
    life: &Arc<Life>,
    closing: watch::Receiver<bool>,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let stream = TokioIo::new(Heard {
        stream,
        life: Arc::clone(life),
    });
    let head_size = guard.limits.head_size;
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        // The deadlines of `Life` know the time between requests from the time of a request.
        .header_read_timeout(None)
        .max_header_size(head_size)
        .max_buf_size(head_size.max(8 << 10) * 2)
        .serve_connection(stream, service_fn(answers(guard, life, entrance)));
    attend(
        connection,
        http1::Connection::graceful_shutdown,
        life,
        guard,
        closing,
    )
    .await;
}

async fn http2<S>(
    stream: S,
    entrance: Entrance,
    guard: &Arc<Guard>,
    life: &Arc<Life>,
    closing: watch::Receiver<bool>,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let head_size = u32::try_from(guard.limits.head_size).unwrap_or(u32::MAX);
    let connection = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .max_header_list_size(head_size)
        .max_concurrent_streams(guard.limits.streams)
        .max_send_buf_size(64 << 10)
        .serve_connection(
            TokioIo::new(stream),
            service_fn(answers(guard, life, entrance)),
        );
    attend(
        connection,
        http2::Connection::graceful_shutdown,
        life,
        guard,
        closing,
    )
    .await;
}

/// Until it is over, or too late with something. When the server stops it may end what it began.
async fn attend<C: Future<Output = hyper::Result<()>>>(
    connection: C,
    shut_down: fn(Pin<&mut C>),
    life: &Life,
    guard: &Guard,
    mut closing: watch::Receiver<bool>,
) {
    let mut connection = pin!(connection);
    loop {
        tokio::select! {
            ended = connection.as_mut() => return tell(ended),
            () = overdue(life, guard) => return debug!("a connection was too slow"),
            Ok(()) = closing.changed() => shut_down(connection.as_mut()),
        }
    }
}

fn answers(
    guard: &Arc<Guard>,
    life: &Arc<Life>,
    entrance: Entrance,
) -> impl Fn(Request<Incoming>) -> Pin<Box<dyn Future<Output = Answered> + Send>> + use<> {
    let (guard, life) = (Arc::clone(guard), Arc::clone(life));
    move |request| {
        let (guard, life, entrance) = (Arc::clone(&guard), Arc::clone(&life), entrance.clone());
        Box::pin(async move { Ok(guard.answer(request, &life, &entrance).await) })
    }
}

type Answered = Result<axum::response::Response<super::body::Sent>, Infallible>;

/// Ends when the connection is late. What it does changes under way, so the deadline is looked at
/// again and again, at times that are close for what is short.
async fn overdue(life: &Life, guard: &Guard) {
    let limits = &guard.limits;
    let look = limits.head.min(limits.idle).min(limits.response) / 2;
    loop {
        let (now, deadline) = (Instant::now(), life.deadline(limits));
        if deadline <= now {
            return;
        }
        sleep_until(deadline.min(now + look)).await;
    }
}

fn tell(ended: hyper::Result<()>) {
    if let Err(error) = ended {
        debug!(%error, "a connection ended early");
    }
}

/// A stream that says when something came in.
struct Heard<S> {
    stream: S,
    life: Arc<Life>,
}

impl<S: AsyncRead + Unpin> AsyncRead for Heard<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(context, buffer))?;
        if buffer.filled().len() > before {
            self.life.received();
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Heard<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
