//! Compression. Text of metrics shrinks to a tenth at the lowest level already, which costs a third
//! of the usual one.

use std::io::{self, Write as _};

use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};

/// Below this the headers are what is sent.
const WORTH_IT: usize = 1 << 10;

/// Is it worth it?
pub(super) fn is_worth_it(plain: &Bytes) -> bool {
    plain.len() >= WORTH_IT
}

/// Compressed, on a thread where it keeps no other client waiting.
pub(super) async fn gzip(plain: Bytes) -> io::Result<Bytes> {
    let compressed = tokio::task::spawn_blocking(move || {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(&plain)?;
        encoder.finish()
    });
    Ok(compressed.await??.into())
}
