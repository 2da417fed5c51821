//! An executable and its modules, as a table.

use ansible::{Failure, Invocation, OptionSpec, Options, Returns};

/// One Ansible module.
#[derive(Debug, Clone, Copy)]
pub struct Module {
    /// Its name without the collection.
    pub name: &'static str,
    /// Whether it can change anything, so that a repeated request matters.
    pub changes: bool,
    /// Its options.
    pub options: fn() -> Vec<OptionSpec>,
    /// Runs it.
    pub run: fn(&Options, &Invocation) -> Result<Returns, Failure>,
}

/// What a command of an executable's own does with the words that follow it; the result is the exit status.
pub type Act = fn(&[&str]) -> u8;

/// One executable of the collection.
#[derive(Debug, Clone, Copy)]
pub struct Executable {
    /// Its name: `backstay`, ….
    pub name: &'static str,
    /// Its modules.
    pub modules: &'static [Module],
    /// Commands of its own: the first argument and what it does.
    pub commands: &'static [(&'static str, Act)],
}

impl Executable {
    /// The module of this name.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<&'static Module> {
        self.modules.iter().find(|module| module.name == name)
    }
}
