//! Writes XML with an indent of two spaces, every foreign text escaped.

/// A document in the making. Names of elements and attributes are ours; texts and values may be
/// anybody's.
#[derive(Debug)]
pub(crate) struct XmlWriter {
    text: String,
    open: Vec<&'static str>,
}

/// Name and value of an attribute.
pub(crate) type Attribute<'a> = (&'static str, &'a str);

impl XmlWriter {
    pub(crate) fn new() -> Self {
        Self {
            text: "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n".to_owned(),
            open: Vec::new(),
        }
    }

    /// Begins an element; what follows is inside it until [`Self::close`].
    pub(crate) fn open(&mut self, name: &'static str, attributes: &[Attribute<'_>]) {
        self.tag(name, attributes);
        self.text.push_str(">\n");
        self.open.push(name);
    }

    /// Ends the element that was begun last.
    pub(crate) fn close(&mut self) {
        if let Some(name) = self.open.pop() {
            self.indent();
            self.text.extend(["</", name, ">\n"]);
        }
    }

    /// An element with a text alone.
    pub(crate) fn leaf(&mut self, name: &'static str, text: &str) {
        self.tag(name, &[]);
        self.text.push('>');
        self.escaped(text);
        self.text.extend(["</", name, ">\n"]);
    }

    /// An element without content.
    pub(crate) fn empty(&mut self, name: &'static str, attributes: &[Attribute<'_>]) {
        self.tag(name, attributes);
        self.text.push_str("/>\n");
    }

    /// The document, with every element ended.
    pub(crate) fn finish(mut self) -> String {
        while !self.open.is_empty() {
            self.close();
        }
        self.text
    }

    fn tag(&mut self, name: &str, attributes: &[Attribute<'_>]) {
        self.indent();
        self.text.extend(["<", name]);
        for (name, value) in attributes {
            self.text.extend([" ", name, "=\""]);
            self.escaped(value);
            self.text.push('"');
        }
    }

    fn indent(&mut self) {
        self.text.extend(self.open.iter().map(|_| "  "));
    }

    /// `text` so that a reader gets it back unchanged, in an element as in an attribute: white
    /// space other than blanks as references, since readers rewrite it; what XML 1.0 cannot say at
    /// all as U+FFFD.
    fn escaped(&mut self, text: &str) {
        for letter in text.chars() {
            match letter {
                '&' => self.text.push_str("&amp;"),
                '<' => self.text.push_str("&lt;"),
                '>' => self.text.push_str("&gt;"),
                '"' => self.text.push_str("&quot;"),
                '\t' => self.text.push_str("&#9;"),
                '\n' => self.text.push_str("&#10;"),
                '\r' => self.text.push_str("&#13;"),
                _ if is_xml_char(letter) => self.text.push(letter),
                _ => self.text.push(char::REPLACEMENT_CHARACTER),
            }
        }
    }
}

/// Whether XML 1.0 has this character at all (production 2, "Char").
pub(crate) const fn is_xml_char(letter: char) -> bool {
    matches!(letter, '\t' | '\n' | '\r' | ' '..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_foreign_text_stays_a_text() {
        let mut xml = XmlWriter::new();
        xml.open("a", &[("b", "\"><x y='1'\n")]);
        xml.leaf("c", "</c>&amp;]]>\t\r\0\u{ffff}é");
        xml.empty("d", &[]);
        let golden = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
            <a b=\"&quot;&gt;&lt;x y='1'&#10;\">\n  \
            <c>&lt;/c&gt;&amp;amp;]]&gt;&#9;&#13;\u{fffd}\u{fffd}é</c>\n  \
            <d/>\n\
            </a>\n";
        assert_eq!(xml.finish(), golden);
    }
}
