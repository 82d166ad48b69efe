//! GRUB's environment block: 1024 bytes of `key=value` lines, padded with `#`.
//!
//! GRUB 2.06 `grub-core/lib/envblk.c`. GRUB overwrites the block in place (`save_env`) and so
//! does PID 1; its fixed length means that one or two sectors change and no filesystem does.
//! Values here are printable ASCII without backslash, so GRUB's escapes never arise; a block that
//! holds anything else was not written by us or by our `grub.cfg` and is refused.

use std::fmt;

/// Length of a block, by GRUB's definition.
pub const BLOCK_BYTES: usize = 1024;
/// How every block begins.
pub const SIGNATURE: &[u8; 25] = b"# GRUB Environment Block\n";

/// The variables of a block, in the order they were first set.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct GrubEnv {
    variables: Vec<(String, String)>,
}

impl GrubEnv {
    /// A block without variables.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            variables: Vec::new(),
        }
    }

    /// The value of `key`.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&str> {
        self.variables
            .iter()
            .find(|(name, _)| name == key)
            .map(|(_, value)| value.as_str())
    }

    /// Sets `key` to `value`, keeping its place when it exists.
    ///
    /// # Errors
    /// When the key or value holds a character GRUB would escape or misread, or when the block
    /// would be longer than [`BLOCK_BYTES`]; the block is unchanged then.
    pub fn set(&mut self, key: &str, value: &str) -> Result<(), GrubEnvError> {
        check_key(key)?;
        check_value(key, value)?;
        let old = self.variables.iter().find(|(name, _)| name == key);
        let old_bytes = old.map_or(0, |(name, value)| line_bytes(name, value));
        let bytes = self.used_bytes() - old_bytes + line_bytes(key, value);
        if bytes > BLOCK_BYTES {
            return Err(GrubEnvError::Full {
                key: key.into(),
                bytes,
            });
        }
        match self.variables.iter_mut().find(|(name, _)| name == key) {
            Some((_, old)) => *old = value.into(),
            None => self.variables.push((key.into(), value.into())),
        }
        Ok(())
    }

    /// Removes `key`; nothing happens when it is not set.
    pub fn unset(&mut self, key: &str) {
        self.variables.retain(|(name, _)| name != key);
    }

    /// The block.
    #[must_use]
    pub fn emit(&self) -> [u8; BLOCK_BYTES] {
        let mut block = [b'#'; BLOCK_BYTES];
        let mut text = SIGNATURE.to_vec();
        for (key, value) in &self.variables {
            text.extend_from_slice(key.as_bytes());
            text.push(b'=');
            text.extend_from_slice(value.as_bytes());
            text.push(b'\n');
        }
        // `set` keeps the text within the block.
        block[..text.len()].copy_from_slice(&text);
        block
    }

    /// Reads the block at the start of `bytes`.
    ///
    /// # Errors
    /// When the signature is missing, a line is not `key=value` or a comment, a key appears
    /// twice, or the input is shorter than a block.
    pub fn parse(bytes: &[u8]) -> Result<Self, GrubEnvError> {
        let block = bytes
            .get(..BLOCK_BYTES)
            .ok_or(GrubEnvError::Truncated { bytes: bytes.len() })?;
        let lines = block
            .strip_prefix(SIGNATURE)
            .ok_or(GrubEnvError::Signature)?;
        let mut env = Self::new();
        let mut lines = lines.split(|byte| *byte == b'\n').enumerate().peekable();
        while let Some((index, line)) = lines.next() {
            // Comments, and the padding, which is a comment without an end. GRUB takes an empty line
            // for the beginning of the next name, so only a full block may end with one.
            let is_last = lines.peek().is_none();
            if line.starts_with(b"#") || is_last && line.is_empty() {
                continue;
            }
            if is_last {
                return Err(GrubEnvError::Line { line: index + 2 });
            }
            let malformed = || GrubEnvError::Line { line: index + 2 };
            let text = std::str::from_utf8(line).map_err(|_| malformed())?;
            let (key, value) = text.split_once('=').ok_or_else(malformed)?;
            if env.get(key).is_some() {
                return Err(GrubEnvError::Duplicate { key: key.into() });
            }
            env.set(key, value)?;
        }
        Ok(env)
    }

    /// Reads what can be read of a damaged block at the start of `bytes`, exactly as GRUB does
    /// (`grub_envblk_iterate`): a name reaches to the next `=`, even over line ends, and of a name
    /// that is set twice the last value counts. What this type cannot hold is not set.
    /// `None` when GRUB refuses the block, because the signature is missing.
    #[must_use]
    pub fn salvage(bytes: &[u8]) -> Option<Self> {
        let block = bytes.get(..BLOCK_BYTES)?;
        let mut rest = block.strip_prefix(SIGNATURE)?;
        let mut env = Self::new();
        while let Some((first, _)) = rest.split_first() {
            if *first != b'#' {
                let Some((key, value, behind)) = salvage_variable(rest) else {
                    break; // GRUB stops here as well
                };
                if env.set(&key, &value).is_err() {
                    env.unset(&key);
                }
                rest = behind;
            }
            rest = match rest.iter().position(|byte| *byte == b'\n') {
                Some(end) => &rest[end + 1..],
                None => &[],
            };
        }
        Some(env)
    }

    /// The variables in the order in which they were first set.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.variables
            .iter()
            .map(|(key, value)| (key.as_str(), value.as_str()))
    }

    /// Bytes of the block that are not padding.
    #[must_use]
    pub fn used_bytes(&self) -> usize {
        let lines = self
            .variables
            .iter()
            .map(|(key, value)| line_bytes(key, value));
        SIGNATURE.len() + lines.sum::<usize>()
    }
}

/// Why a block, a key or a value is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum GrubEnvError {
    /// A key appears on two lines.
    Duplicate {
        /// The key.
        key: String,
    },
    /// The variables do not fit.
    Full {
        /// The key that did not fit.
        key: String,
        /// Bytes the block would need.
        bytes: usize,
    },
    /// A key that is empty or holds something other than letters, digits and `_`.
    Key {
        /// The key.
        key: String,
    },
    /// A line that is neither `key=value` nor a comment.
    Line {
        /// Its number, from 1.
        line: usize,
    },
    /// The block does not begin with GRUB's signature.
    Signature,
    /// Input shorter than a block.
    Truncated {
        /// Its length.
        bytes: usize,
    },
    /// A value with a character outside printable ASCII, or a backslash.
    Value {
        /// The key.
        key: String,
    },
}

impl fmt::Display for GrubEnvError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Duplicate { key } => write!(f, "environment block sets {key:?} twice"),
            Self::Full { key, bytes } => write!(
                f,
                "environment block would need {bytes} bytes with {key:?}; it has {BLOCK_BYTES}"
            ),
            Self::Key { key } => {
                write!(
                    f,
                    "environment key {key:?} must be letters, digits and underscores"
                )
            }
            Self::Line { line } => {
                write!(
                    f,
                    "environment block line {line} is neither key=value nor a comment"
                )
            }
            Self::Signature => write!(f, "no GRUB environment block: the signature is missing"),
            Self::Truncated { bytes } => {
                write!(
                    f,
                    "{bytes} bytes are no environment block; it has {BLOCK_BYTES}"
                )
            }
            Self::Value { key } => write!(
                f,
                "the value of environment key {key:?} must be printable ASCII without backslash"
            ),
        }
    }
}

impl std::error::Error for GrubEnvError {}

/// Fuzz body: the reader never panics, what it accepts survives a round trip, and salvaging a whole
/// block yields the same.
pub fn fuzz_grubenv(data: &[u8]) {
    let salvaged = GrubEnv::salvage(data);
    if let Ok(env) = GrubEnv::parse(data) {
        assert_eq!(salvaged.as_ref(), Some(&env));
        assert_eq!(GrubEnv::parse(&env.emit()), Ok(env));
    }
}

/// The name and value at the start of `text`, and what follows from the value's line end on. Bytes
/// that are no text become characters that no key or value may have.
fn salvage_variable(text: &[u8]) -> Option<(String, String, &[u8])> {
    let equals = text.iter().position(|byte| *byte == b'=')?;
    let (key, value) = (&text[..equals], &text[equals + 1..]);
    let mut end = 0;
    while *value.get(end)? != b'\n' {
        // An escaped character, a line end for one, does not end the value.
        end += if value[end] == b'\\' { 2 } else { 1 };
    }
    let lossy = |bytes| String::from_utf8_lossy(bytes).into_owned();
    Some((lossy(key), lossy(&value[..end]), &value[end..]))
}

fn check_key(key: &str) -> Result<(), GrubEnvError> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    if key.is_empty() || !key.bytes().all(allowed) {
        return Err(GrubEnvError::Key { key: key.into() });
    }
    Ok(())
}

fn check_value(key: &str, value: &str) -> Result<(), GrubEnvError> {
    let allowed = |byte: u8| (b' '..=b'~').contains(&byte) && byte != b'\\';
    if !value.bytes().all(allowed) {
        return Err(GrubEnvError::Value { key: key.into() });
    }
    Ok(())
}

fn line_bytes(key: &str, value: &str) -> usize {
    key.len() + "=".len() + value.len() + "\n".len()
}

#[cfg(test)]
mod tests;
