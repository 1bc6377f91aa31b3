//! Messages on the wire: four bytes of length, big-endian, then one protobuf record.

use crate::message::{Order, Report};
use crate::{Error, Result};
use prost::Message;
use std::io;
use tokio::io::{AsyncRead, AsyncReadExt};

/// Nothing longer is sent or read: room for some hundred thousand connections of one agent.
pub(crate) const MAX_LEN: usize = 64 << 20;
/// Nothing longer is read as the first message of an agent.
pub(crate) const MAX_HELLO_LEN: usize = 64 << 10;

#[derive(Clone, PartialEq, prost::Message)]
struct ReportFrame {
    #[prost(oneof = "Report", tags = "1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15")]
    report: Option<Report>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct OrderFrame {
    #[prost(
        oneof = "Order",
        tags = "1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17"
    )]
    order: Option<Order>,
}

/// A message that can be sent: one direction each.
pub(crate) trait Framed: Sized {
    /// The record.
    fn record(self) -> Vec<u8>;
    /// None for a message that this version does not know.
    fn parse(bytes: &[u8]) -> std::result::Result<Option<Self>, prost::DecodeError>;
}

impl Framed for Report {
    fn record(self) -> Vec<u8> {
        ReportFrame { report: Some(self) }.encode_to_vec()
    }
    fn parse(bytes: &[u8]) -> std::result::Result<Option<Self>, prost::DecodeError> {
        Ok(ReportFrame::decode(bytes)?.report)
    }
}

impl Framed for Order {
    fn record(self) -> Vec<u8> {
        OrderFrame { order: Some(self) }.encode_to_vec()
    }
    fn parse(bytes: &[u8]) -> std::result::Result<Option<Self>, prost::DecodeError> {
        Ok(OrderFrame::decode(bytes)?.order)
    }
}

/// A whole frame.
pub(crate) fn encode(message: impl Framed) -> Result<Vec<u8>> {
    let record = message.record();
    if record.len() > MAX_LEN {
        return Err(Error::Oversize(record.len()));
    }
    let mut frame = Vec::with_capacity(4 + record.len());
    frame.extend_from_slice(&(record.len() as u32).to_be_bytes());
    frame.extend_from_slice(&record);
    Ok(frame)
}

/// The next message; none at the end of the stream.
pub(crate) async fn read<M: Framed>(
    from: &mut (impl AsyncRead + Unpin),
    limit: usize,
) -> io::Result<Option<M>> {
    let mut length = [0; 4];
    if from.read(&mut length[..1]).await? == 0 {
        return Ok(None);
    }
    from.read_exact(&mut length[1..]).await?;
    let length = u32::from_be_bytes(length) as usize;
    let invalid = |what: String| io::Error::new(io::ErrorKind::InvalidData, what);
    if length > limit {
        return Err(invalid(format!("a message of {length} bytes is too long")));
    }
    let mut record = Vec::new();
    // Memory grows with what has come, not with what was announced.
    if from.take(length as u64).read_to_end(&mut record).await? < length {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    match M::parse(&record) {
        Ok(Some(message)) => Ok(Some(message)),
        Ok(None) => Err(invalid("an unknown message came".to_string())),
        Err(e) => Err(invalid(format!("a message cannot be decoded: {e}"))),
    }
}
