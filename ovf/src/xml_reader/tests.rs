//! What is read as XML, and what is not.

use super::*;

fn root(text: &str) -> Element {
    read(text.as_bytes(), 64 * 1024).unwrap()
}

fn refusal(text: &str) -> String {
    read(text.as_bytes(), 64 * 1024).unwrap_err().to_string()
}

#[test]
fn names_are_compared_by_namespace_and_not_by_prefix() {
    let a = root("<a xmlns='urn:x' xmlns:p='urn:y' p:k='1' k='2'><p:b/></a>");
    let b = root("<q:a xmlns:q='urn:x' xmlns:y='urn:y' y:k='1' k='2'><b xmlns='urn:y'/></q:a>");
    assert_eq!(a, b);
    assert!(a.name.is("urn:x", "a") && a.children[0].name.is("urn:y", "b"));
    assert_eq!(a.attribute("urn:y", "k"), Some("1"));
    assert_eq!(
        a.attribute("", "k"),
        Some("2"),
        "a default namespace is not for attributes"
    );
    assert_eq!(a.attribute("urn:x", "k"), None);
}

#[test]
fn the_five_entities_and_numbers_are_what_they_stand_for() {
    let a = root(
        "<a b='&amp;&lt;&gt;&quot;&apos;&#65;&#x42;&#10;'>&amp;&lt;&gt;&quot;&apos;&#65;&#x42;</a>",
    );
    assert_eq!(a.attribute("", "b"), Some("&<>\"'AB\n"));
    assert_eq!(a.text, "&<>\"'AB");
}

#[test]
fn white_space_is_read_as_the_standard_says() {
    let a = root("<a b='1\n2\t3'>1\r\n2\r3</a>");
    assert_eq!(a.attribute("", "b"), Some("1 2 3"));
    assert_eq!(a.text, "1\n2\n3");
}

#[test]
fn comments_are_passed_over_and_character_data_is_text() {
    let a = root(
        "<?xml version='1.0' encoding='utf-8'?>\n<!-- x --><a>1<!-- 2 -->3<![CDATA[<4>]]></a>\n",
    );
    assert_eq!(a.text, "13<4>");
}

#[test]
fn what_could_expand_or_reach_outside_is_refused() {
    let bomb = "<!DOCTYPE a [<!ENTITY b \"cccc\"><!ENTITY d \"&b;&b;\">]><a>&d;</a>";
    assert!(refusal(bomb).contains("a document type is not accepted"));
    assert!(refusal("<!DOCTYPE a SYSTEM 'file:///etc/passwd'><a/>").contains("document type"));
    assert!(refusal("<a>&b;</a>").contains("unknown entity \"&b;\""));
    assert!(refusal("<a b='&c;'/>").contains("line 1: not well-formed"));
    assert!(refusal("<a><?php ?></a>").contains("processing instructions"));
}

#[test]
fn a_character_that_xml_has_not_is_refused_however_it_is_written() {
    for text in [
        "<a>\u{1}</a>",
        "<a b='\u{1}'/>",
        "<a>&#1;</a>",
        "<a b='&#1;'/>",
    ] {
        assert!(
            refusal(text).contains("XML has no character U+0001"),
            "{text}"
        );
    }
    for text in [
        "<a>&#xD800;</a>",
        "<a>&#x110000;</a>",
        "<a>&#0;</a>",
        "<a>&#;</a>",
        "<a>&;</a>",
        "<a>&</a>",
    ] {
        assert!(refusal(text).starts_with("line 1: "), "{text}");
    }
}

#[test]
fn what_is_not_well_formed_is_refused() {
    for text in [
        "",
        " ",
        "x",
        "<a>",
        "<a></b>",
        "</a>",
        "<a/><b/>",
        "<a/>x",
        "x<a/>",
        "<a b=1/>",
        "<a b/>",
        "<a b='1' b='2'/>",
        "<a b='<'/>",
        "<p:a/>",
        "<a p:b=''/>",
        "<a",
        "<a b='",
        "<!--",
        "<a/>&amp;",
        "<a xmlns:p='u' xmlns:q='u' p:b='' q:b=''/>",
        "<a/><?xml version='1.0'?>",
        "<?xml version='1.1'?><a/>",
        "<?xml version='1.0' encoding='latin1'?><a/>",
        " <?xml version='1.0'?><a/>",
    ] {
        assert!(read(text.as_bytes(), 100).is_err(), "{text}");
    }
    assert!(read(b"<a>\xff</a>", 100).is_err());
}

#[test]
fn an_error_names_the_line() {
    assert!(refusal("<a>\n\n&b;</a>").starts_with("line 3: "));
    assert_eq!(read(b"<a>\n\xff</a>", 100).unwrap_err().line, 2);
}

#[test]
fn every_dimension_is_bounded() {
    let nested = |depth| ["<a>".repeat(depth), "</a>".repeat(depth)].concat();
    assert_eq!(root(&nested(DEPTH_MAX)).children.len(), 1);
    assert!(refusal(&nested(DEPTH_MAX + 1)).contains("more than 16 deep"));
    let brothers = |count| format!("<a>{}</a>", "<b/>".repeat(count));
    assert_eq!(
        root(&brothers(ELEMENTS_MAX - 1)).children.len(),
        ELEMENTS_MAX - 1
    );
    assert!(refusal(&brothers(ELEMENTS_MAX)).contains("more than 1024 elements"));
    let attributes = |count| {
        let all: String = (0..count).map(|index| format!(" a{index}=''")).collect();
        format!("<a{all}/>")
    };
    assert_eq!(
        root(&attributes(ATTRIBUTES_MAX)).attributes.len(),
        ATTRIBUTES_MAX
    );
    assert!(refusal(&attributes(ATTRIBUTES_MAX + 1)).contains("more than 32 attributes"));
    let namespace = format!("<a xmlns='{}'/>", "u".repeat(NAMESPACE_BYTES_MAX + 1));
    assert!(refusal(&namespace).contains("has 257 bytes; the limit is 256"));
    let error = read(b"<a></a>", 6).unwrap_err().to_string();
    assert!(error.contains("7 bytes; the limit is 6"), "{error}");
}
