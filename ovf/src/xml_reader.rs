//! Reads XML from strangers into a small tree.
//!
//! Everything is bounded before it is kept: the text by the caller, depth, elements, attributes and
//! namespaces by the constants below. Nothing outside of the text is looked at. A document type is
//! refused, so that the only entities are the five of XML itself and numeric references.

mod error;
#[cfg(test)]
mod tests;

use quick_xml::NsReader;
use quick_xml::XmlVersion;
use quick_xml::events::attributes::Attribute as RawAttribute;
use quick_xml::events::{BytesDecl, BytesRef, BytesStart, Event};
use quick_xml::name::ResolveResult;

use crate::shown::shown;
use crate::xml_writer::is_xml_char;
use error::Cause;
pub use error::XmlError;

/// Deepest nesting of elements. A descriptor has 5 levels, an environment 3.
pub const DEPTH_MAX: usize = 16;
/// Most elements. A descriptor with all properties has about 100.
pub const ELEMENTS_MAX: usize = 1024;
/// Most attributes of one element, declarations of namespaces included.
pub const ATTRIBUTES_MAX: usize = 32;
/// Longest name of a namespace, in bytes. It is kept with every element.
pub const NAMESPACE_BYTES_MAX: usize = 256;

/// An element and what is in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Element {
    /// Namespace and local name.
    pub(crate) name: Name,
    /// In the order of the text, declarations of namespaces left out; no two have one name.
    pub(crate) attributes: Vec<(Name, String)>,
    /// In the order of the text.
    pub(crate) children: Vec<Self>,
    /// All text directly inside, white space included.
    pub(crate) text: String,
}

/// A name as the namespace recommendation expands it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Name {
    /// Empty when there is none.
    pub(crate) namespace: String,
    /// The part behind the prefix.
    pub(crate) local: String,
}

impl Name {
    pub(crate) fn is(&self, namespace: &str, local: &str) -> bool {
        self.namespace == namespace && self.local == local
    }
}

impl Element {
    /// The value of an attribute.
    pub(crate) fn attribute(&self, namespace: &str, local: &str) -> Option<&str> {
        let mut all = self.attributes.iter();
        let (_, value) = all.find(|(name, _)| name.is(namespace, local))?;
        Some(value)
    }
}

/// The root element of `text`, which may have `bytes_max` bytes.
pub(crate) fn read(text: &[u8], bytes_max: usize) -> Result<Element, XmlError> {
    let bytes = text.len();
    if bytes > bytes_max {
        let cause = Cause::TooLong { bytes, bytes_max };
        return Err(XmlError { line: 1, cause });
    }
    let text = std::str::from_utf8(text).map_err(|error| XmlError {
        line: line_of(text, error.valid_up_to()),
        cause: Cause::NotText,
    })?;
    let mut xml = NsReader::from_str(text);
    let mut tree = Tree::default();
    loop {
        let at = position(&xml);
        match step(&mut xml, &mut tree) {
            Ok(true) => {}
            Ok(false) => return tree.root.ok_or_else(|| at_line(text, at, Cause::NoElement)),
            Err(cause) => return Err(at_line(text, at, cause)),
        }
    }
}

/// What has been read.
#[derive(Debug, Default)]
struct Tree {
    /// Whether anything at all was read: the declaration stands first or nowhere.
    begun: bool,
    elements: usize,
    /// The elements that are open, the root first.
    open: Vec<Element>,
    root: Option<Element>,
}

/// Reads one piece; false at the end of the text.
fn step(xml: &mut NsReader<&[u8]>, tree: &mut Tree) -> Result<bool, Cause> {
    let first = !std::mem::replace(&mut tree.begun, true);
    match xml.read_event().map_err(|error| malformed(&error))? {
        Event::Start(start) => tree.open(element(xml, &start)?)?,
        Event::Empty(start) => {
            tree.open(element(xml, &start)?)?;
            tree.close();
        }
        Event::End(_) => tree.close(),
        Event::Text(text) => tree.text(&text.xml10_content())?,
        Event::CData(text) => tree.text(&text.xml10_content())?,
        Event::GeneralRef(reference) => tree.reference(&reference)?,
        Event::Comment(_) => {}
        Event::Decl(declaration) => check_declaration(&declaration, first)?,
        Event::PI(_) => return Err(Cause::Instruction),
        Event::DocType(_) => return Err(Cause::DocumentType),
        Event::Eof => {
            if let Some(open) = tree.open.last() {
                let name = shown(&open.name.local);
                return Err(Cause::Malformed(format!("<{name}> has no end")));
            }
            return Ok(false);
        }
    }
    Ok(true)
}

impl Tree {
    fn open(&mut self, element: Element) -> Result<(), Cause> {
        if self.open.is_empty() && self.root.is_some() {
            return Err(Cause::Malformed("a second root element".to_owned()));
        }
        if self.open.len() == DEPTH_MAX {
            return Err(Cause::TooDeep);
        }
        if self.elements == ELEMENTS_MAX {
            return Err(Cause::TooManyElements);
        }
        self.elements += 1;
        self.open.push(element);
        Ok(())
    }

    fn close(&mut self) {
        let Some(element) = self.open.pop() else {
            return;
        };
        match self.open.last_mut() {
            Some(parent) => parent.children.push(element),
            None => self.root = Some(element),
        }
    }

    fn text(&mut self, text: &str) -> Result<(), Cause> {
        check_characters(text)?;
        match self.open.last_mut() {
            Some(element) => element.text.push_str(text),
            None if is_blank(text) => {}
            None => {
                return Err(Cause::Malformed(
                    "text outside of the root element".to_owned(),
                ));
            }
        }
        Ok(())
    }

    fn reference(&mut self, reference: &BytesRef<'_>) -> Result<(), Cause> {
        let number = reference.resolve_char_ref();
        let letter = match number.map_err(|error| malformed(&error))? {
            Some(letter) => letter,
            None => entity(reference).ok_or_else(|| Cause::Entity(shown(reference)))?,
        };
        match self.open.last_mut() {
            Some(element) if is_xml_char(letter) => element.text.push(letter),
            Some(_) => return Err(Cause::Character(letter)),
            None => {
                return Err(Cause::Malformed(
                    "a reference outside of the root element".to_owned(),
                ));
            }
        }
        Ok(())
    }
}

/// The element of a start tag, with nothing in it yet.
fn element(xml: &NsReader<&[u8]>, start: &BytesStart<'_>) -> Result<Element, Cause> {
    let (namespace, local) = xml.resolver().resolve_element(start.name());
    let mut attributes: Vec<(Name, String)> = Vec::new();
    for (index, attribute) in start.attributes().enumerate() {
        if index == ATTRIBUTES_MAX {
            return Err(Cause::TooManyAttributes);
        }
        let attribute = attribute.map_err(|error| Cause::Malformed(error.to_string()))?;
        if attribute.key.as_namespace_binding().is_some() {
            continue;
        }
        let (namespace, local) = xml.resolver().resolve_attribute(attribute.key);
        let name = expand(namespace, local.into_inner())?;
        if attributes.iter().any(|(known, _)| *known == name) {
            return Err(Cause::Malformed(format!(
                "two attributes {}",
                shown(&name.local)
            )));
        }
        attributes.push((name, value(&attribute)?));
    }
    Ok(Element {
        name: expand(namespace, local.into_inner())?,
        attributes,
        children: Vec::new(),
        text: String::new(),
    })
}

fn expand(namespace: ResolveResult<'_>, local: &str) -> Result<Name, Cause> {
    let namespace = match namespace {
        ResolveResult::Bound(namespace) => namespace.into_inner(),
        ResolveResult::Unbound => "",
        ResolveResult::Unknown(prefix) => return Err(Cause::Prefix(shown(&prefix))),
    };
    if namespace.len() > NAMESPACE_BYTES_MAX {
        return Err(Cause::Namespace(namespace.len()));
    }
    Ok(Name {
        namespace: namespace.to_owned(),
        local: local.to_owned(),
    })
}

fn value(attribute: &RawAttribute<'_>) -> Result<String, Cause> {
    if attribute.value.contains('<') {
        return Err(Cause::Malformed("< inside an attribute".to_owned()));
    }
    let value = attribute.normalized_value(XmlVersion::Implicit1_0);
    let value = value.map_err(|error| malformed(&error))?;
    check_characters(&value)?;
    Ok(value.into_owned())
}

fn check_declaration(declaration: &BytesDecl<'_>, first: bool) -> Result<(), Cause> {
    let version = declaration.version().map_err(|error| malformed(&error))?;
    let is_utf8 = match declaration.encoding() {
        Some(Ok(encoding)) => encoding.eq_ignore_ascii_case("utf-8"),
        Some(Err(_)) => false,
        None => true,
    };
    if first && version == "1.0" && is_utf8 {
        Ok(())
    } else {
        Err(Cause::Declaration)
    }
}

fn check_characters(text: &str) -> Result<(), Cause> {
    match text.chars().find(|letter| !is_xml_char(*letter)) {
        Some(letter) => Err(Cause::Character(letter)),
        None => Ok(()),
    }
}

/// The five entities that XML has without a document type.
fn entity(name: &str) -> Option<char> {
    Some(match name {
        "amp" => '&',
        "apos" => '\'',
        "gt" => '>',
        "lt" => '<',
        "quot" => '"',
        _ => return None,
    })
}

/// Whether a text is white space as XML has it.
pub(crate) fn is_blank(text: &str) -> bool {
    text.bytes().all(|byte| b" \t\r\n".contains(&byte))
}

fn malformed(error: &quick_xml::Error) -> Cause {
    Cause::Malformed(error.to_string())
}

fn position(xml: &NsReader<&[u8]>) -> usize {
    usize::try_from(xml.buffer_position()).unwrap_or(usize::MAX)
}

fn at_line(text: &str, at: usize, cause: Cause) -> XmlError {
    let line = line_of(text.as_bytes(), at);
    XmlError { line, cause }
}

/// The line that the byte at `at` is in, from 1.
fn line_of(text: &[u8], at: usize) -> usize {
    let before = text.iter().take(at);
    before.filter(|byte| **byte == b'\n').count() + 1
}
