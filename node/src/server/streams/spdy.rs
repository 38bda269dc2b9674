//! SPDY/3.1 as far as Kubernetes' clients use it: streams that the client opens, data in both
//! directions, pings. There is no flow control, as there is none at the other end.
//!
//! Source: the SPDY/3.1 draft, and what `moby/spdystream` sends.

use std::collections::HashMap;
use std::io;

use bytes::{BufMut, Bytes, BytesMut};
use miniz_oxide::inflate::TINFLStatus;
use miniz_oxide::inflate::core::inflate_flags::TINFL_FLAG_HAS_MORE_INPUT;
use miniz_oxide::inflate::core::{DecompressorOxide, decompress};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::sync::mpsc;

const VERSION: u16 = 3;
const SYN_STREAM: u16 = 1;
const SYN_REPLY: u16 = 2;
const RST_STREAM: u16 = 3;
const PING: u16 = 6;
const GOAWAY: u16 = 7;
const FIN: u8 = 1;
/// Tells the other end that a stream is no longer wanted.
const CANCEL: u32 = 5;

/// A frame that is larger is refused; clients send at most 32 KiB at once.
const FRAME_MAX: usize = 1 << 20;
/// The headers of a stream, unpacked.
const HEADERS_MAX: usize = 64 * 1024;
/// Streams that are open at once.
const STREAMS_MAX: usize = 1000;
/// Frames that wait for a stream's reader. When it is full the connection waits.
const WAITING_MAX: usize = 16;
/// Frames that wait to be written.
const WRITES_MAX: usize = 64;

/// A stream that the client has opened.
pub struct Stream {
    pub headers: HashMap<String, String>,
    pub reader: Reader,
    pub writer: Writer,
}

impl Stream {
    /// A header by its name in lower case; empty where it is absent.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map(String::as_str).unwrap_or_default()
    }
}

/// What comes in; ends with the client's side of the stream.
pub struct Reader(mpsc::Receiver<Bytes>);

impl Reader {
    pub async fn next(&mut self) -> Option<Bytes> {
        self.0.recv().await
    }
}

/// What goes out. Dropped without `finish`, the stream is reset.
pub struct Writer {
    id: u32,
    frames: mpsc::Sender<Bytes>,
    finished: bool,
}

impl Writer {
    /// Fails once the connection is gone.
    pub async fn write(&self, data: &[u8]) -> io::Result<()> {
        for piece in data.chunks(FRAME_MAX / 2) {
            write(&self.frames, data_frame(self.id, 0, piece)).await?;
        }
        Ok(())
    }

    /// Nothing follows.
    pub async fn finish(mut self) -> io::Result<()> {
        self.finished = true;
        write(&self.frames, data_frame(self.id, FIN, &[])).await
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        if !self.finished {
            // Where it is not heard the connection is full or gone; a full one ends soon.
            let _ = self.frames.try_send(reset_frame(self.id));
        }
    }
}

/// The server's side of a connection.
pub struct Server<R> {
    input: R,
    frames: mpsc::Sender<Bytes>,
    unpacker: Unpacker,
    packed_before: bool,
    open: HashMap<u32, mpsc::Sender<Bytes>>,
}

impl<R: AsyncRead + Unpin> Server<R> {
    /// The server, and the frames that somebody is to write.
    pub fn new(input: R) -> (Self, mpsc::Receiver<Bytes>) {
        let (frames, to_write) = mpsc::channel(WRITES_MAX);
        let server = Self {
            input,
            frames,
            unpacker: Unpacker::new(),
            packed_before: false,
            open: HashMap::new(),
        };
        (server, to_write)
    }

    /// Reads until the client opens a stream; `None` at the end of the connection.
    pub async fn accept(&mut self) -> io::Result<Option<Stream>> {
        loop {
            let mut head = [0; 8];
            match self.input.read_exact(&mut head).await {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
                Err(error) => return Err(error),
            }
            let [a, b, c, d, flags, x, y, z] = head;
            let length = u32::from_be_bytes([0, x, y, z]) as usize;
            if length > FRAME_MAX {
                return Err(invalid(format!("a frame of {length} bytes")));
            }
            let mut payload = vec![0; length];
            self.input.read_exact(&mut payload).await?;
            if a & 0x80 == 0 {
                self.data(u32::from_be_bytes([a, b, c, d]), flags, payload).await;
                continue;
            }
            let version = u16::from_be_bytes([a & 0x7f, b]);
            if version != VERSION {
                return Err(invalid(format!("SPDY version {version}")));
            }
            match u16::from_be_bytes([c, d]) {
                SYN_STREAM => {
                    if let Some(stream) = self.opened(flags, &payload).await? {
                        return Ok(Some(stream));
                    }
                }
                RST_STREAM => {
                    self.open.remove(&number(&payload, 0)?);
                }
                PING => write(&self.frames, control_frame(PING, 0, &payload)).await?,
                GOAWAY => return Ok(None),
                // Settings and window updates change nothing here.
                _ => {}
            }
        }
    }

    async fn data(&mut self, id: u32, flags: u8, payload: Vec<u8>) {
        let Some(stream) = self.open.get(&id) else { return };
        let is_over = !payload.is_empty() && stream.send(payload.into()).await.is_err();
        if is_over || flags & FIN != 0 {
            self.open.remove(&id);
        }
    }

    async fn opened(&mut self, flags: u8, payload: &[u8]) -> io::Result<Option<Stream>> {
        let id = number(payload, 0)?;
        // The associated stream, the priority and the slot are of no concern.
        let packed = payload.get(10..).ok_or_else(|| invalid("a short frame".to_owned()))?;
        let headers = headers(&self.unpacker.unpack(packed)?)?;
        self.open.retain(|_, stream| !stream.is_closed());
        if self.open.len() >= STREAMS_MAX {
            write(&self.frames, reset_frame(id)).await?;
            return Ok(None);
        }
        let (sender, receiver) = mpsc::channel(WAITING_MAX);
        if flags & FIN == 0 {
            self.open.insert(id, sender);
        }
        let reply = self.reply_frame(id);
        write(&self.frames, reply).await?;
        let writer = Writer { id, frames: self.frames.clone(), finished: false };
        Ok(Some(Stream { headers, reader: Reader(receiver), writer }))
    }

    /// A reply without headers, packed as plain blocks: nothing is gained by packing nothing.
    fn reply_frame(&mut self, id: u32) -> Bytes {
        let mut payload = BytesMut::new();
        payload.put_u32(id);
        if !std::mem::replace(&mut self.packed_before, true) {
            payload.put_slice(&[0x78, 0x01]);
        }
        // A stored block with the number of headers, then an empty one, which makes readers flush.
        payload.put_slice(&[0, 4, 0, 0xfb, 0xff, 0, 0, 0, 0]);
        payload.put_slice(&[0, 0, 0, 0xff, 0xff]);
        control_frame(SYN_REPLY, 0, &payload)
    }
}

async fn write(frames: &mpsc::Sender<Bytes>, frame: Bytes) -> io::Result<()> {
    frames.send(frame).await.map_err(|_| io::ErrorKind::BrokenPipe.into())
}

fn invalid(why: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

fn number(bytes: &[u8], at: usize) -> io::Result<u32> {
    let four = bytes.get(at..at + 4).and_then(|four| <[u8; 4]>::try_from(four).ok());
    four.map(u32::from_be_bytes).ok_or_else(|| invalid("a short frame".to_owned()))
}

fn frame(head: u32, flags: u8, payload: &[u8]) -> Bytes {
    let mut frame = BytesMut::with_capacity(8 + payload.len());
    frame.put_u32(head);
    // No payload of ours is longer than three bytes can say.
    let length = u32::try_from(payload.len()).unwrap_or(0) & 0x00ff_ffff;
    frame.put_u32(u32::from(flags) << 24 | length);
    frame.put_slice(payload);
    frame.freeze()
}

fn control_frame(kind: u16, flags: u8, payload: &[u8]) -> Bytes {
    frame(0x8000_0000 | u32::from(VERSION) << 16 | u32::from(kind), flags, payload)
}

fn data_frame(id: u32, flags: u8, payload: &[u8]) -> Bytes {
    frame(id & 0x7fff_ffff, flags, payload)
}

fn reset_frame(id: u32) -> Bytes {
    let mut payload = BytesMut::new();
    payload.put_u32(id);
    payload.put_u32(CANCEL);
    control_frame(RST_STREAM, 0, &payload)
}

/// Names, in lower case, and values.
fn headers(block: &[u8]) -> io::Result<HashMap<String, String>> {
    let mut at = 4;
    let mut text = || -> io::Result<String> {
        let length = number(block, at)? as usize;
        at += 4;
        let bytes = block.get(at..at.saturating_add(length));
        let bytes = bytes.ok_or_else(|| invalid("a short block of headers".to_owned()))?;
        at += length;
        Ok(String::from_utf8_lossy(bytes).into_owned())
    };
    let count = number(block, 0)?;
    let mut found = HashMap::new();
    for _ in 0..count {
        let name = text()?.to_ascii_lowercase();
        found.insert(name, text()?);
    }
    Ok(found)
}

/// Unpacks the blocks of headers, which all belong to one zlib stream that begins with a dictionary
/// both ends know.
struct Unpacker {
    state: Box<DecompressorOxide>,
    /// The last 32 KiB that were unpacked, in a ring.
    window: Box<[u8]>,
    at: usize,
    begun: bool,
}

const WINDOW: usize = 32 * 1024;

impl Unpacker {
    fn new() -> Self {
        let dictionary = dictionary();
        let mut window = vec![0; WINDOW].into_boxed_slice();
        window[..dictionary.len()].copy_from_slice(&dictionary);
        Self { state: Box::default(), window, at: dictionary.len(), begun: false }
    }

    fn unpack(&mut self, mut packed: &[u8]) -> io::Result<Vec<u8>> {
        let broken = || invalid("headers that cannot be unpacked".to_owned());
        if !std::mem::replace(&mut self.begun, true) {
            // The zlib header, and which dictionary it is: there is but one.
            let names_dictionary = packed.get(1).ok_or_else(broken)? & 0x20 != 0;
            packed = packed.get(if names_dictionary { 6 } else { 2 }..).ok_or_else(broken)?;
        }
        let mut out = Vec::new();
        loop {
            let (status, read, written) = decompress(
                &mut self.state,
                packed,
                &mut self.window,
                self.at,
                TINFL_FLAG_HAS_MORE_INPUT,
            );
            out.extend_from_slice(&self.window[self.at..self.at + written]);
            self.at = (self.at + written) % WINDOW;
            packed = &packed[read..];
            if out.len() > HEADERS_MAX {
                return Err(invalid("too many headers".to_owned()));
            }
            match status {
                TINFLStatus::HasMoreOutput => {}
                TINFLStatus::NeedsMoreInput | TINFLStatus::Done => return Ok(out),
                _ => return Err(broken()),
            }
        }
    }
}

/// The dictionary of SPDY/3: words with their lengths, then words without.
fn dictionary() -> Vec<u8> {
    const WORDS: &str = "options head post put delete trace accept accept-charset accept-encoding \
        accept-language accept-ranges age allow authorization cache-control connection \
        content-base content-encoding content-language content-length content-location \
        content-md5 content-range content-type date etag expect expires from host if-match \
        if-modified-since if-none-match if-range if-unmodified-since last-modified location \
        max-forwards pragma proxy-authenticate proxy-authorization range referer retry-after \
        server te trailer transfer-encoding upgrade user-agent vary via warning \
        www-authenticate method get status";
    const MORE: [&str; 8] =
        ["200 OK", "version", "HTTP/1.1", "url", "public", "set-cookie", "keep-alive", "origin"];
    const REST: &str = "100101201202205206300302303304305306307402405406407408409410411412413414\
        415416417502504505203 Non-Authoritative Information204 No Content301 Moved Permanently\
        400 Bad Request401 Unauthorized403 Forbidden404 Not Found500 Internal Server Error\
        501 Not Implemented503 Service UnavailableJan Feb Mar Apr May Jun Jul Aug Sept Oct Nov \
        Dec 00:00:00 Mon, Tue, Wed, Thu, Fri, Sat, Sun, GMTchunked,text/html,image/png,image/jpg,\
        image/gif,application/xml,application/xhtml+xml,text/plain,text/javascript,public\
        privatemax-age=gzip,deflate,sdchcharset=utf-8charset=iso-8859-1,utf-,*,enq=0.";
    let mut out = Vec::new();
    for word in WORDS.split_whitespace().chain(MORE) {
        out.put_u32(u32::try_from(word.len()).unwrap_or(0));
        out.put_slice(word.as_bytes());
    }
    out.put_slice(REST.as_bytes());
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two blocks of headers, packed by zlib with the dictionary.
    const FIRST: &str = "78f9e3c6a7c202253a703a2b294a4dcc851625aca9a0808614cb45e01c6061606100a4398b20d198094ade8c0600000000ffff";
    const SECOND: &str = "c2aa19540e2512d60b000000ffff";

    fn bytes(hex: &str) -> Vec<u8> {
        let digits = (0..hex.len()).step_by(2);
        digits.map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
    }

    #[test]
    fn the_dictionary_is_that_of_the_draft() {
        let (mut a, mut b) = (1_u32, 0_u32);
        for byte in dictionary() {
            a = (a + u32::from(byte)) % 65521;
            b = (b + a) % 65521;
        }
        assert_eq!((dictionary().len(), b << 16 | a), (1423, 0xe3c6_a7c2));
    }

    fn syn_stream(id: u32, flags: u8, packed: &str) -> Bytes {
        let mut payload = BytesMut::new();
        payload.put_u32(id);
        payload.put_slice(&[0; 6]);
        payload.put_slice(&bytes(packed));
        control_frame(SYN_STREAM, flags, &payload)
    }

    #[tokio::test]
    async fn a_client_opens_streams_and_speaks_on_them() {
        let input = [
            syn_stream(1, FIN, FIRST),
            control_frame(PING, 0, &[0, 0, 0, 1]),
            syn_stream(3, 0, SECOND),
            data_frame(3, 0, b"hello"),
            data_frame(3, FIN, b""),
            data_frame(9, 0, b"to nobody"),
        ];
        let input: Vec<u8> = input.concat();
        let (mut server, mut frames) = Server::new(&input[..]);
        let error = server.accept().await.unwrap().expect("a stream");
        assert_eq!(
            (error.header("streamtype"), error.header("port"), error.header("requestid")),
            ("error", "8080", "0")
        );
        let mut data = server.accept().await.unwrap().expect("another");
        assert_eq!(data.header("streamtype"), "data");
        assert!(server.accept().await.unwrap().is_none());
        assert_eq!(data.reader.next().await.as_deref(), Some(&b"hello"[..]));
        assert_eq!(data.reader.next().await, None);
        data.writer.write(b"hi").await.unwrap();
        data.writer.finish().await.unwrap();
        drop((server, error));
        let mut written = Vec::new();
        while let Some(frame) = frames.recv().await {
            written.push(frame);
        }
        assert_eq!(written.len(), 6);
        // The reply's zlib header comes once.
        assert_eq!((written[0].len(), written[2].len()), (28, 26));
        assert_eq!(written[1], control_frame(PING, 0, &[0, 0, 0, 1]));
        assert_eq!(written[3], data_frame(3, 0, b"hi"));
        assert_eq!(written[4], data_frame(3, FIN, b""));
        assert_eq!(written[5], reset_frame(1));
    }

    #[tokio::test]
    async fn nonsense_is_refused() {
        for input in [
            &b"GET / HTTP/1.1\r\n"[..],
            &[0x80, 2, 0, 1, 0, 0, 0, 0],
            &[0x80, 3, 0, 1, 0, 0, 0, 0],
            &[0x80, 3, 0, 1, 0, 0, 0, 14, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0x78, 1, 7, 7],
        ] {
            let (mut server, _frames) = Server::new(input);
            assert!(server.accept().await.is_err(), "{input:?}");
        }
    }
}
