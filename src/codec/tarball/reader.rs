use std::io::{self, BufRead, Read};

use super::header::{EntryKind, Header, has_body};
use super::pax::Pax;
use super::{BLOCK_BYTES, TarError, TarProblem, TarProblemKind};

/// Most bytes of one PAX header or GNU long name.
const EXTENSION_BYTES_MAX: u64 = 256 * 1024;
/// Most extension headers before one member; real writers need three.
const EXTENSIONS_MAX: u32 = 8;

/// One member of a tar.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Entry {
    /// Its name, all extensions applied, raw.
    pub name: Vec<u8>,
    /// What it is.
    pub kind: EntryKind,
    /// Bytes of its body; 0 for links, directories and devices.
    pub size: u64,
    /// Permission bits.
    pub mode: u32,
    /// Owner's number.
    pub uid: u64,
    /// Group's number.
    pub gid: u64,
    /// Seconds since 1970.
    pub mtime: i64,
    /// Where a link leads, raw; empty for other kinds.
    pub link_name: Vec<u8>,
    /// Offset of its header in the tar.
    pub at_byte: u64,
}

/// Reads members one after the other. The body of the current one is read through [`TarReader::body`];
/// what is left of it is skipped (and must be there).
pub struct TarReader<R> {
    input: R,
    position: u64,
    /// Body bytes of the current member not read yet, and the zeros behind them.
    body_left: u64,
    padding: u64,
    current: Option<(u64, Vec<u8>)>,
    scratch: Vec<u8>,
    ended: bool,
    failed: Option<TarProblem>,
}

impl<R: Read> TarReader<R> {
    /// Reads from the start of a tar.
    pub fn new(input: R) -> Self {
        TarReader {
            input,
            position: 0,
            body_left: 0,
            padding: 0,
            current: None,
            scratch: Vec::new(),
            ended: false,
            failed: None,
        }
    }

    /// The next member; `None` when the end mark was there and nothing but zeros followed it.
    ///
    /// # Errors
    /// The tar is damaged, or could not be read. Reading on repeats the damage.
    pub fn next_entry(&mut self) -> Result<Option<Entry>, TarError> {
        if let Some(problem) = &self.failed {
            return Err(problem.clone().into());
        }
        if self.ended {
            return Ok(None);
        }
        match self.advance() {
            Ok(entry) => {
                self.ended = entry.is_none();
                Ok(entry)
            }
            Err(error) => {
                self.failed = Some(match &error {
                    TarError::Structure(problem) => problem.clone(),
                    TarError::Read(error) => self.problem(TarProblemKind::Truncated, format!("not readable: {error}")),
                });
                Err(error)
            }
        }
    }

    /// The body of the member that `next_entry` gave last.
    pub fn body(&mut self) -> Body<'_, R> {
        Body { tar: self }
    }

    /// Bytes of the tar read so far.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Gives the reader below back.
    pub fn into_inner(self) -> R {
        self.input
    }

    fn advance(&mut self) -> Result<Option<Entry>, TarError> {
        let rest = self.body_left + self.padding;
        self.skip(rest)?;
        (self.body_left, self.padding) = (0, 0);
        self.current = None;

        let mut name = None;
        let mut link_name = None;
        let mut pax = Pax::default();
        for extensions in 0.. {
            let at = self.position;
            let Some(header) = self.header(extensions > 0)? else { return Ok(None) };
            if extensions >= EXTENSIONS_MAX {
                return Err(self.problem_at(at, TarProblemKind::BadExtension, "too many extensions in a row").into());
            }
            match header.flag {
                b'L' => name = Some(self.long_name(at, header.size)?),
                b'K' => link_name = Some(self.long_name(at, header.size)?),
                b'x' => pax = self.pax(at, header.size)?,
                b'g' => {
                    let global = self.pax(at, header.size)?;
                    if global != Pax::default() {
                        let message = "a global header sets names, sizes or times";
                        return Err(self.problem_at(at, TarProblemKind::Unsupported, message).into());
                    }
                }
                _ => return self.member(at, header, name, link_name, pax).map(Some),
            }
        }
        Ok(None)
    }

    /// Puts header and extensions together, and makes the body ready.
    fn member(
        &mut self,
        at: u64,
        header: Header,
        name: Option<Vec<u8>>,
        link_name: Option<Vec<u8>>,
        pax: Pax,
    ) -> Result<Entry, TarError> {
        let mut kind = header.kind();
        let long_name = pax.path.or(name);
        if header.flag == 0 && long_name.as_ref().is_some_and(|name| name.ends_with(b"/")) {
            kind = EntryKind::Directory;
        }
        let name = long_name.unwrap_or(header.name);
        self.current = Some((at, name.clone()));
        if header.flag == b'S' || pax.sparse {
            return Err(self.problem_at(at, TarProblemKind::Unsupported, "sparse members are not read").into());
        }
        let size =
            if has_body(header.flag) && kind != EntryKind::Directory { pax.size.unwrap_or(header.size) } else { 0 };
        let padding = size.wrapping_neg() % BLOCK_BYTES as u64;
        if self.position.checked_add(size).and_then(|end| end.checked_add(padding)).is_none() {
            return Err(self.problem_at(at, TarProblemKind::BadNumber, format!("a size of {size} bytes")).into());
        }
        (self.body_left, self.padding) = (size, padding);
        let link_name = match kind {
            EntryKind::Symlink | EntryKind::HardLink => pax.link_path.or(link_name).unwrap_or(header.link_name),
            _ => Vec::new(),
        };
        Ok(Entry {
            name,
            kind,
            size,
            mode: header.mode,
            uid: header.uid,
            gid: header.gid,
            mtime: pax.mtime.unwrap_or(header.mtime),
            link_name,
            at_byte: at,
        })
    }

    /// The next header; `None` at the end of the tar, when all of it was read and is right.
    fn header(&mut self, is_due: bool) -> Result<Option<Header>, TarError> {
        let at = self.position;
        let mut block = [0; BLOCK_BYTES];
        match self.fill(&mut block)? {
            BLOCK_BYTES => {}
            0 if is_due => return Err(self.problem(TarProblemKind::Truncated, "an extension without a member").into()),
            0 => return Err(self.problem(TarProblemKind::NoEndMark, "the end mark is missing").into()),
            read if block[..read].iter().all(|byte| *byte == 0) => {
                return Err(self.problem_at(at, TarProblemKind::NoEndMark, "the end mark is cut").into());
            }
            _ => return Err(self.problem_at(at, TarProblemKind::Truncated, "a header is cut").into()),
        }
        if block != [0; BLOCK_BYTES] {
            let header = Header::parse(&block);
            return header.map(Some).map_err(|(kind, message)| self.problem_at(at, kind, message).into());
        }
        if is_due {
            return Err(self.problem_at(at, TarProblemKind::BadExtension, "an extension without a member").into());
        }
        self.end_mark()?;
        Ok(None)
    }

    /// Behind the first zero block: the second, then nothing but zeros.
    fn end_mark(&mut self) -> Result<(), TarError> {
        let at = self.position;
        let mut block = [0; BLOCK_BYTES];
        let read = self.fill(&mut block)?;
        if block[..read].iter().any(|byte| *byte != 0) {
            let message = "a lone zero block, then data";
            return Err(self.problem_at(at, TarProblemKind::TrailingData, message).into());
        }
        if read < BLOCK_BYTES {
            return Err(self.problem_at(at, TarProblemKind::NoEndMark, "the second zero block is missing").into());
        }
        loop {
            let at = self.position;
            let read = self.read_scratch(u64::MAX)?;
            if read == 0 {
                return Ok(());
            }
            if let Some(data) = self.scratch[..read].iter().position(|byte| *byte != 0) {
                let message = "data behind the end mark";
                return Err(self.problem_at(at + data as u64, TarProblemKind::TrailingData, message).into());
            }
        }
    }

    fn long_name(&mut self, at: u64, size: u64) -> Result<Vec<u8>, TarError> {
        let mut name = self.extension(at, size)?;
        let end = name.iter().position(|byte| *byte == 0).unwrap_or(name.len());
        name.truncate(end);
        if name.is_empty() {
            return Err(self.problem_at(at, TarProblemKind::BadExtension, "a long name is empty").into());
        }
        Ok(name)
    }

    fn pax(&mut self, at: u64, size: u64) -> Result<Pax, TarError> {
        let bytes = self.extension(at, size)?;
        Pax::parse(&bytes).map_err(|message| self.problem_at(at, TarProblemKind::BadExtension, message).into())
    }

    /// Reads the body of an extension header, which is small.
    fn extension(&mut self, at: u64, size: u64) -> Result<Vec<u8>, TarError> {
        if size > EXTENSION_BYTES_MAX {
            let message = format!("an extension of {size} bytes");
            return Err(self.problem_at(at, TarProblemKind::ExtensionTooLarge, message).into());
        }
        // At most `EXTENSION_BYTES_MAX`, so it fits.
        let mut bytes = vec![0; size as usize];
        if self.fill(&mut bytes)? < bytes.len() {
            return Err(self.problem_at(at, TarProblemKind::Truncated, "an extension is cut").into());
        }
        self.skip(size.wrapping_neg() % BLOCK_BYTES as u64)?;
        Ok(bytes)
    }

    fn skip(&mut self, mut bytes: u64) -> Result<(), TarError> {
        while bytes > 0 {
            let read = self.read_scratch(bytes)?;
            if read == 0 {
                return Err(self.cut(bytes).into());
            }
            bytes -= read as u64;
        }
        Ok(())
    }

    /// Reads at most `bytes` into the scratch buffer.
    fn read_scratch(&mut self, bytes: u64) -> Result<usize, TarError> {
        self.scratch.resize(64 * 1024, 0);
        let most = usize::try_from(bytes).unwrap_or(usize::MAX).min(self.scratch.len());
        let read = read_retrying(&mut self.input, &mut self.scratch[..most]).map_err(TarError::Read)?;
        self.position += read as u64;
        Ok(read)
    }

    /// Fills as much as the input reaches.
    fn fill(&mut self, out: &mut [u8]) -> Result<usize, TarError> {
        let mut done = 0;
        while done < out.len() {
            match read_retrying(&mut self.input, &mut out[done..]).map_err(TarError::Read)? {
                0 => break,
                read => done += read,
            }
        }
        self.position += done as u64;
        Ok(done)
    }

    fn cut(&self, missing: u64) -> TarProblem {
        self.problem(TarProblemKind::Truncated, format!("the tar ends {missing} bytes inside a member"))
    }

    /// A problem of the current member, or here.
    fn problem(&self, kind: TarProblemKind, message: impl Into<String>) -> TarProblem {
        let at = self.current.as_ref().map_or(self.position, |(at, _)| *at);
        self.problem_at(at, kind, message)
    }

    fn problem_at(&self, at_byte: u64, kind: TarProblemKind, message: impl Into<String>) -> TarProblem {
        let member = self.current.as_ref().map(|(_, name)| name.clone());
        TarProblem { kind, at_byte, member, message: message.into() }
    }
}

/// The body of the current member.
pub struct Body<'t, R> {
    tar: &'t mut TarReader<R>,
}

impl<R: Read> Read for Body<'_, R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let tar = &mut *self.tar;
        if let Some(problem) = &tar.failed {
            return Err(TarError::Structure(problem.clone()).into());
        }
        let most = usize::try_from(tar.body_left).unwrap_or(usize::MAX).min(out.len());
        if most == 0 {
            return Ok(0);
        }
        let read = read_retrying(&mut tar.input, &mut out[..most])?;
        if read == 0 {
            let problem = tar.cut(tar.body_left);
            tar.failed = Some(problem.clone());
            return Err(TarError::Structure(problem).into());
        }
        tar.position += read as u64;
        tar.body_left -= read as u64;
        Ok(read)
    }
}

/// Gives the body where it lies, without a copy.
impl<R: BufRead> BufRead for Body<'_, R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        let tar = &mut *self.tar;
        if let Some(problem) = &tar.failed {
            return Err(TarError::Structure(problem.clone()).into());
        }
        if tar.body_left == 0 {
            return Ok(&[]);
        }
        let there = loop {
            match tar.input.fill_buf() {
                Ok(bytes) => break bytes.len(),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        };
        if there == 0 {
            let problem = tar.cut(tar.body_left);
            tar.failed = Some(problem.clone());
            return Err(TarError::Structure(problem).into());
        }
        let most = usize::try_from(tar.body_left).unwrap_or(usize::MAX).min(there);
        Ok(&tar.input.fill_buf()?[..most])
    }

    fn consume(&mut self, bytes: usize) {
        let tar = &mut *self.tar;
        debug_assert!(bytes as u64 <= tar.body_left);
        tar.input.consume(bytes);
        tar.position += bytes as u64;
        tar.body_left = tar.body_left.saturating_sub(bytes as u64);
    }
}

fn read_retrying(reader: &mut impl Read, out: &mut [u8]) -> io::Result<usize> {
    loop {
        match reader.read(out) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            done => return done,
        }
    }
}
