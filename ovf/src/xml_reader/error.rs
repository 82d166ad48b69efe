//! Why a text is refused as XML.

use std::fmt;

use super::{ATTRIBUTES_MAX, DEPTH_MAX, ELEMENTS_MAX, NAMESPACE_BYTES_MAX};
use crate::shown::escaped;

/// Most characters of the XML reader's own message that an error repeats.
const DETAIL_CHARS_MAX: usize = 200;

/// Why a text is refused as XML, and in which line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct XmlError {
    /// From 1; where the piece begins that is wrong.
    pub(super) line: usize,
    pub(super) cause: Cause,
}

/// What is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Cause {
    Character(char),
    Declaration,
    DocumentType,
    Entity(String),
    Instruction,
    Malformed(String),
    Namespace(usize),
    NoElement,
    NotText,
    Prefix(String),
    TooDeep,
    TooLong { bytes: usize, bytes_max: usize },
    TooManyAttributes,
    TooManyElements,
}

impl fmt::Display for XmlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: ", self.line)?;
        match &self.cause {
            Cause::Character(letter) => write!(
                f,
                "XML has no character U+{:04X}; remove it",
                u32::from(*letter)
            ),
            Cause::Declaration => write!(
                f,
                "the declaration must come first and say version 1.0 and encoding UTF-8; save the \
                 document so"
            ),
            Cause::DocumentType => write!(
                f,
                "a document type is not accepted, since it can define entities; remove <!DOCTYPE"
            ),
            Cause::Entity(name) => {
                write!(f, "unknown entity \"&{name};\"; write the character itself")
            }
            Cause::Instruction => write!(
                f,
                "processing instructions are not accepted; remove what is between <? and ?>"
            ),
            // The reader repeats names of the text in its message.
            Cause::Malformed(detail) => write!(
                f,
                "not well-formed XML: {}; write the document again",
                escaped(detail, DETAIL_CHARS_MAX)
            ),
            Cause::Namespace(bytes) => write!(
                f,
                "a namespace's name has {bytes} bytes; the limit is {NAMESPACE_BYTES_MAX}: this is \
                 no document of a hypervisor"
            ),
            Cause::NoElement => write!(f, "no element at all; the document may have been cut off"),
            Cause::NotText => write!(f, "not UTF-8; save the document so"),
            Cause::Prefix(prefix) => write!(
                f,
                "prefix \"{prefix}\" is used and not declared; declare it with xmlns:"
            ),
            Cause::TooDeep => write!(
                f,
                "elements are nested more than {DEPTH_MAX} deep: this is no document of a hypervisor"
            ),
            Cause::TooLong { bytes, bytes_max } => write!(
                f,
                "{bytes} bytes; the limit is {bytes_max}: this is no document of a hypervisor"
            ),
            Cause::TooManyAttributes => write!(
                f,
                "an element has more than {ATTRIBUTES_MAX} attributes: this is no document of a \
                 hypervisor"
            ),
            Cause::TooManyElements => write!(
                f,
                "more than {ELEMENTS_MAX} elements: this is no document of a hypervisor"
            ),
        }
    }
}

impl std::error::Error for XmlError {}
