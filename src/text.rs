//! Makes texts from outside safe for a terminal or a log: file names, holders, labels, principals. It changes only what
//! is shown. What is kept and compared stays as it was written.

use std::borrow::Cow;
use std::fmt::Write;

/// The text on one line. Every character that a terminal or a log would obey is escaped. These are control characters
/// (C1 included), line and paragraph separators, and format characters, which can reverse the reading order. A text
/// that is printable already stays as it is.
///
/// ```
/// use tidegate::internals::text::printable;
/// assert_eq!(printable("zoë"), "zoë");
/// assert_eq!(printable("a\nb\u{202e}c"), "a\\nb\\u{202e}c");
/// ```
#[must_use]
pub fn printable(text: &str) -> Cow<'_, str> {
    if is_plain(text) || !text.chars().any(needs_escape) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        match c {
            '\n' => shown.push_str("\\n"),
            '\r' => shown.push_str("\\r"),
            '\t' => shown.push_str("\\t"),
            // Writing to a string never fails.
            c if needs_escape(c) => _ = write!(shown, "\\u{{{:x}}}", u32::from(c)),
            c => shown.push(c),
        }
    }
    Cow::Owned(shown)
}

/// The same JSON on one line, with those characters as JSON escapes. No value is changed.
#[must_use]
pub fn printable_json(json: &str) -> Cow<'_, str> {
    if is_plain(json) || !json.chars().any(needs_escape) {
        return Cow::Borrowed(json);
    }
    let mut shown = String::with_capacity(json.len() + 8);
    for c in json.chars() {
        if matches!(c, '\n' | '\r' | '\t') {
            // Inside a string JSON escapes them already. Here they only separate values.
            shown.push(' ');
        } else if needs_escape(c) {
            for unit in c.encode_utf16(&mut [0; 2]) {
                _ = write!(shown, "\\u{unit:04x}");
            }
        } else {
            shown.push(c);
        }
    }
    Cow::Owned(shown)
}

/// Whether every character is printable ASCII. Most texts are, and this check is fast.
fn is_plain(text: &str) -> bool {
    text.bytes().all(|byte| matches!(byte, b' '..=b'~'))
}

/// The general categories Cc, Cf, Zl and Zp of Unicode 16.
const fn needs_escape(c: char) -> bool {
    matches!(
        c,
        '\0'..='\u{1f}'
            | '\u{7f}'..='\u{9f}'
            | '\u{ad}'
            | '\u{600}'..='\u{605}'
            | '\u{61c}'
            | '\u{6dd}'
            | '\u{70f}'
            | '\u{890}'..='\u{891}'
            | '\u{8e2}'
            | '\u{180e}'
            | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{feff}'
            | '\u{fff9}'..='\u{fffb}'
            | '\u{110bd}'
            | '\u{110cd}'
            | '\u{13430}'..='\u{1343f}'
            | '\u{1bca0}'..='\u{1bca3}'
            | '\u{1d173}'..='\u{1d17a}'
            | '\u{e0000}'..='\u{e007f}'
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_is_shown_is_obeyed() {
        let forged =
            "alice\ntidegate::audit: \u{1b}[2K\u{9b}31m\u{202e}\u{2066}\u{feff}\u{e0041}\u{85}";
        let shown = printable(forged);
        assert!(shown.is_ascii() && !shown.contains(char::is_control), "{shown}");
        // Combining marks, wide spaces and everything else that people write stay.
        for plain in [
            "Zoe\u{308}",
            "山田\u{3000}太郎",
            "it's \"quoted\"",
            "👩‍👩".replace('\u{200d}', "").as_str(),
        ] {
            assert_eq!(printable(plain), plain);
        }
    }

    /// The first and the last of each range of Cc, Cf, Zl and Zp, and the characters just outside.
    #[test]
    fn every_run_is_spelled_out_to_its_ends() {
        let obeyed = [
            0x00, 0x1f, 0x7f, 0x9f, 0xad, 0x600, 0x605, 0x61c, 0x6dd, 0x70f, 0x890, 0x891, 0x8e2,
            0x180e, 0x200b, 0x200f, 0x2028, 0x2029, 0x202a, 0x202e, 0x2060, 0x206f, 0xfeff, 0xfff9,
            0xfffb, 0x110bd, 0x110cd, 0x13430, 0x1343f, 0x1bca0, 0x1bca3, 0x1d173, 0x1d17a,
            0xe0001, 0xe0020, 0xe007f,
        ];
        let shown = [
            0x20, 0x7e, 0xa0, 0xac, 0xae, 0x5ff, 0x606, 0x61b, 0x61d, 0x6dc, 0x6de, 0x70e, 0x710,
            0x88f, 0x892, 0x8e1, 0x8e3, 0x180d, 0x180f, 0x200a, 0x2010, 0x2027, 0x202f, 0x205f,
            0x2070, 0xfefe, 0xff00, 0xfff8, 0xfffc, 0x110bc, 0x110be, 0x1342f, 0x13440, 0x1bc9f,
            0x1bca4, 0x1d172, 0x1d17b, 0xe0080,
        ];
        for (codes, is_kept) in [(&obeyed[..], false), (&shown[..], true)] {
            for code in codes {
                let text = char::from_u32(*code).expect("a character").to_string();
                assert_eq!(printable(&text) == text, is_kept, "U+{code:04X}");
                let json = serde_json::to_string(&text).expect("serializes");
                let is_ascii = *code < 0x80;
                assert_eq!(printable_json(&json).is_ascii(), !is_kept || is_ascii, "U+{code:04X}");
            }
        }
    }

    #[test]
    fn what_is_printable_stays_as_it_is() {
        let once = printable("a\n\u{202e}\\").into_owned();
        assert_eq!(printable(&once), once);
    }

    #[test]
    fn json_keeps_its_values() {
        for text in ["\u{202e}x\u{e0041}\u{9b}", "plain \u{7f}"] {
            let json =
                serde_json::to_string(&serde_json::json!({ "a": text })).expect("serializes");
            let shown = printable_json(&json);
            assert!(!shown.chars().any(needs_escape), "{shown}");
            let read: serde_json::Value = serde_json::from_str(&shown).expect("is JSON");
            assert_eq!(read["a"], text);
        }
        assert_eq!(printable_json("{\r\n\t\"a\": 1}"), "{   \"a\": 1}");
    }
}
