//! The commands a person runs.

use std::io::Write;

use serde_json::{Map, Value};

use crate::Executable;

fn print(text: &str) -> u8 {
    u8::from(writeln!(std::io::stdout(), "{text}").is_err())
}

/// The version; also how a freshly copied executable proves that it runs here.
pub(super) fn version() -> u8 {
    print(env!("CARGO_PKG_VERSION"))
}

/// Every module's options as JSON.
pub(super) fn specs(executable: &Executable) -> u8 {
    let mut all = Map::new();
    for module in executable.modules {
        let options = (module.options)();
        let described =
            options.iter().map(|spec| (spec.name.to_owned(), spec.describe())).collect();
        all.insert(module.name.to_owned(), Value::Object(described));
    }
    print(&Value::Object(all).to_string())
}

/// How to call it.
pub(super) fn usage(executable: &Executable) -> u8 {
    let name = executable.name;
    print(&format!(
        "\
usage: {name} run [--args FILE] [--async JOB LIMIT DIRECTORY]
       {name} FILE
       {name} version
       {name} specs
This is an executable behind the Ansible collection backstay.postgresql; playbooks run it."
    ));
    2
}
