//! Writing values into `postgresql.conf` and files like it.

/// `text` as a value in `postgresql.conf`, in quotes.
///
/// Whatever the text, the result stays on one line and ends with its own quote, so that a value can never
/// become a second setting; `GUC_scanstr` of the server turns it back into `text`. (A zero byte, which no
/// setting can hold, ends the value there.)
#[must_use]
pub fn conf_quote(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('\'');
    for c in text.chars() {
        match c {
            '\'' => quoted.push_str("''"),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\0' => quoted.push_str("\\000"),
            other => quoted.push(other),
        }
    }
    quoted.push('\'');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_in_quotes() {
        for (text, quoted) in [
            ("", "''"),
            ("cp /archive/%f %p", "'cp /archive/%f %p'"),
            ("O'Hara", "'O''Hara'"),
            (r"C:\x", r"'C:\\x'"),
            (r"\'", r"'\\'''"),
            ("a\nport = 1\r", r"'a\nport = 1\r'"),
            ("a\0b", r"'a\000b'"),
            ("é # no comment", "'é # no comment'"),
        ] {
            assert_eq!(conf_quote(text), quoted);
        }
    }
}
