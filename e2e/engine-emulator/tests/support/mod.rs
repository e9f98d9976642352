//! The real binary in a process of its own, and a client that sees every byte.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// How long anything may take on a busy machine.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);

pub(crate) struct Engine {
    child: Child,
    pub(crate) port: u16,
}

impl Engine {
    /// Starts an engine and waits until it answers.
    pub(crate) fn start(flags: &str) -> Self {
        let engine = Self::launch(Command::new(env!("CARGO_BIN_EXE_engine-emulator")), flags);
        engine.wait_until_ready();
        engine
    }

    /// Starts `program` with `serve` and the flags, in dev mode; does not wait.
    pub(crate) fn launch(mut program: Command, flags: &str) -> Self {
        let port = testkit::free_port().expect("a free port");
        let child = program
            .args(["serve", "./tiny", "--served-model-name", "tiny", "--host", "127.0.0.1"])
            .args(["--port", &port.to_string()])
            .args(flags.split_whitespace())
            .env("VLLM_SERVER_DEV_MODE", "1")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the emulator starts");
        Self { child, port }
    }

    pub(crate) fn wait_until_ready(&self) {
        eventually("the engine is ready", || self.try_connect().map(|_| ()));
    }

    pub(crate) fn try_connect(&self) -> Option<TcpStream> {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).ok()?;
        stream.set_read_timeout(Some(DEADLINE)).ok()?;
        Some(stream)
    }

    pub(crate) fn connect(&self) -> TcpStream {
        self.try_connect().expect("connection")
    }

    pub(crate) fn signal(&self, name: &str) {
        let status = Command::new("kill").args([name, &self.child.id().to_string()]).status().expect("kill runs");
        assert!(status.success());
    }

    pub(crate) fn wait_for_exit(&mut self) -> Option<i32> {
        eventually("the engine ends", || self.child.try_wait().expect("wait")).code()
    }

    pub(crate) fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("wait").is_none()
    }

    pub(crate) fn get(&self, path: &str) -> Answer {
        self.exchange("GET", path, "", &[])
    }

    pub(crate) fn post(&self, path: &str, body: &str) -> Answer {
        self.exchange("POST", path, body, &[])
    }

    pub(crate) fn exchange(&self, method: &str, path: &str, body: &str, headers: &[(&str, &str)]) -> Answer {
        let mut stream = self.connect();
        write_request(&mut stream, method, path, body, headers);
        read_answer(stream)
    }

    pub(crate) fn chat(&self, body: &str) -> Answer {
        self.post("/v1/chat/completions", body)
    }

    /// Opens a streamed chat without reading its answer.
    pub(crate) fn open_chat(&self, body: &str) -> TcpStream {
        let mut stream = self.connect();
        write_request(&mut stream, "POST", "/v1/chat/completions", body, &[]);
        stream
    }

    pub(crate) fn metrics(&self) -> String {
        self.get("/metrics").body
    }

    /// The value of one sample.
    pub(crate) fn metric(&self, sample: &str) -> f64 {
        value(&self.metrics(), sample)
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        // Already ended, or ended by this.
        self.child.kill().unwrap_or_default();
        self.child.wait().expect("reaped");
    }
}

#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The events of a stream, without `data: `.
    pub(crate) fn events(&self) -> Vec<&str> {
        self.body.split("\n\n").filter_map(|event| event.strip_prefix("data: ")).collect()
    }
}

/// The value of the sample in a page of metrics; labels as `name="value"` pieces may be left out from the end.
pub(crate) fn value(page: &str, sample: &str) -> f64 {
    let line = page.lines().find(|line| line.starts_with(sample)).unwrap_or_else(|| panic!("no {sample}"));
    line.rsplit(' ').next().and_then(|value| value.parse().ok()).expect("a number")
}

pub(crate) fn eventually<T>(what: &str, mut check: impl FnMut() -> Option<T>) -> T {
    const PAUSE: Duration = Duration::from_millis(10);
    for _ in 0..DEADLINE.as_millis() / PAUSE.as_millis() {
        if let Some(found) = check() {
            return found;
        }
        std::thread::sleep(PAUSE);
    }
    panic!("waited too long until {what}");
}

pub(crate) fn write_request(stream: &mut TcpStream, method: &str, path: &str, body: &str, headers: &[(&str, &str)]) {
    let mut request = format!("{method} {path} HTTP/1.1\r\nHost: engine\r\nConnection: close\r\n");
    for (name, value) in headers {
        request.push_str(&format!("{name}: {value}\r\n"));
    }
    if method == "POST" {
        request.push_str(&format!("Content-Type: application/json\r\nContent-Length: {}\r\n", body.len()));
    }
    request.push_str("\r\n");
    request.push_str(body);
    stream.write_all(request.as_bytes()).expect("request is sent");
}

/// Reads an answer to its end.
pub(crate) fn read_answer(stream: TcpStream) -> Answer {
    let mut reader = BufReader::new(stream);
    let (status, headers) = read_head(&mut reader);
    let mut rest = Vec::new();
    reader.read_to_end(&mut rest).expect("body");
    let chunked = headers.iter().any(|(name, value)| name == "transfer-encoding" && value == "chunked");
    let bytes = if chunked { dechunk(&rest) } else { rest };
    Answer { status, headers, body: String::from_utf8(bytes).expect("text") }
}

pub(crate) fn read_head(reader: &mut BufReader<TcpStream>) -> (u16, Vec<(String, String)>) {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).expect("head");
        let line = line.trim_end().to_owned();
        if line.is_empty() {
            break;
        }
        lines.push(line);
    }
    let status = lines.first().and_then(|line| line.split(' ').nth(1)).and_then(|code| code.parse().ok());
    let headers = lines.iter().skip(1).filter_map(|line| line.split_once(": "));
    (
        status.expect("a status line"),
        headers.map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned())).collect(),
    )
}

fn dechunk(mut bytes: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    loop {
        let end = bytes.windows(2).position(|pair| pair == b"\r\n").expect("a chunk's size");
        let size = std::str::from_utf8(&bytes[..end]).ok().and_then(|size| usize::from_str_radix(size, 16).ok());
        let size = size.expect("a hexadecimal size");
        if size == 0 {
            return body;
        }
        body.extend_from_slice(&bytes[end + 2..end + 2 + size]);
        bytes = &bytes[end + 4 + size..];
    }
}
