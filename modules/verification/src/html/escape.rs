//! Text of a report in HTML.

/// The text as it reads, in an element or an attribute. What would not be seen, or would have other text read in
/// another order (a table may have any name), is written out.
pub(super) fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len() + text.len() / 8);
    for c in text.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            '\n' | '\t' => safe.push(c),
            _ if c.is_control() || reorders(c) => safe.extend(c.escape_unicode()),
            _ => safe.push(c),
        }
    }
    safe
}

/// The same as code.
pub(super) fn code(text: &str) -> String {
    format!("<code>{}</code>", escape(text))
}

/// Whether it changes the direction of what follows.
fn reorders(c: char) -> bool {
    matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_of_a_text_is_markup() {
        assert_eq!(
            escape("<script a=\"b\" c='d'>&amp;\n\u{1b}[0m\u{202e}ä"),
            "&lt;script a=&quot;b&quot; c=&#39;d&#39;&gt;&amp;amp;\n\\u{1b}[0m\\u{202e}ä"
        );
        assert_eq!(code("<b>"), "<code>&lt;b&gt;</code>");
    }
}
