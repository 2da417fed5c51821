//! libpq's password file: lines of `host:port:database:user:password`.
//!
//! Source: PostgreSQL's documentation, "The Password File".

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::Password;
use crate::login::{Endpoint, Login};

/// The password for this login, if the file has one. As with libpq, a file
/// that others may read is passed over.
pub(crate) fn look_up(file: &Path, login: &Login) -> Option<Password> {
    let found = std::fs::metadata(file).ok()?;
    if !found.is_file() || found.permissions().mode() & 0o077 != 0 {
        return None;
    }
    let text = std::fs::read_to_string(file).ok()?;
    text.lines().find_map(|line| matching(line, login)).map(Password::from)
}

fn matching(line: &str, login: &Login) -> Option<String> {
    if line.starts_with('#') {
        return None;
    }
    let mut fields = split(line).into_iter();
    let host = match &login.endpoint {
        Endpoint::Tcp(host) => host.clone(),
        Endpoint::Socket(directory) => directory.display().to_string(),
    };
    let is_default_socket = matches!(&login.endpoint, Endpoint::Socket(_));
    let fits = |field: &str, value: &str| field == "*" || field == value;
    let field = fields.next()?;
    let host_fits = fits(&field, &host) || (is_default_socket && field == "localhost");
    let rest_fits = [login.port.to_string().as_str(), &login.database, &login.user]
        .into_iter()
        .all(|value| fields.next().is_some_and(|field| fits(&field, value)));
    fields.next().filter(|_| host_fits && rest_fits)
}

/// Splits at colons; a backslash keeps the character behind it.
fn split(line: &str) -> Vec<String> {
    let (mut fields, mut field) = (vec![], String::new());
    let mut characters = line.chars();
    while let Some(character) = characters.next() {
        match character {
            '\\' => field.extend(characters.next()),
            // The password is the last field and may hold colons unescaped.
            ':' if fields.len() < 4 => fields.push(std::mem::take(&mut field)),
            other => field.push(other),
        }
    }
    fields.push(field);
    fields
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::login::LoginOptions;
    use std::os::unix::fs::OpenOptionsExt;

    fn login(host: Option<&str>) -> Login {
        let given = LoginOptions { host: host.map(str::to_owned), ..LoginOptions::default() };
        Login::resolve(given, &|_| None).unwrap()
    }

    #[test]
    fn the_first_line_that_fits_counts() {
        let db = login(Some("db"));
        assert_eq!(matching("db:5432:postgres:postgres:a\\:b", &db).as_deref(), Some("a:b"));
        assert_eq!(matching("*:*:*:*:x", &db).as_deref(), Some("x"));
        assert_eq!(matching("db:5433:*:*:x", &db), None);
        assert_eq!(matching("#*:*:*:*:x", &db), None);
        assert_eq!(matching("localhost:*:*:*:x", &login(None)).as_deref(), Some("x"));
    }

    #[test]
    fn a_file_that_others_may_read_is_passed_over() {
        let directory = std::env::temp_dir().join(format!("pgpass-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        for (mode, found) in [(0o600, true), (0o644, false)] {
            let file = directory.join(format!("{mode}"));
            let mut open = std::fs::OpenOptions::new();
            let mut made =
                open.create(true).truncate(true).write(true).mode(mode).open(&file).unwrap();
            std::io::Write::write_all(&mut made, b"*:*:*:*:x\n").unwrap();
            assert_eq!(look_up(&file, &login(None)).is_some(), found);
        }
        std::fs::remove_dir_all(directory).unwrap();
    }
}
