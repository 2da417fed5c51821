//! One request: from its bytes to its reply.

use std::io::Read;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use ansible::invocation::REQUEST_LIMIT;
use ansible::{Failure, Invocation, Options, Reply, asynchronous, journal};

use crate::{Executable, Module, sessions};

/// `run`.
pub(super) fn run(executable: &Executable, flags: &[&str]) -> u8 {
    let (mut file, mut job) = (None, None);
    let mut rest = flags;
    loop {
        rest = match rest {
            ["--args", path, tail @ ..] => {
                file = Some(Path::new(*path));
                tail
            }
            ["--async", id, limit, directory, tail @ ..] => {
                job = Some((*id, limit.parse().unwrap_or(0), *directory));
                tail
            }
            [] => break,
            [unknown, ..] => {
                let failure =
                    Failure::new("internal", format!("\"run\" has no argument \"{unknown}\""));
                return Reply::new(Err(failure), None, &[]).print();
            }
        };
    }
    let request = match read(file) {
        Ok(request) => request,
        Err(failure) => return Reply::new(Err(failure), None, &[]).print(),
    };
    if let Some(path) = file {
        // It may hold a password; Ansible removes its folder later.
        let _ = std::fs::remove_file(path);
    }
    let reply = match job {
        Some((id, limit, directory)) => asynchronous::start(id, limit, directory, &request)
            .unwrap_or_else(|f| Reply::new(Err(f), None, &[])),
        None => reply_to(executable, &request),
    };
    reply.print()
}

/// `FILE`.
pub(super) fn plain(executable: &Executable, file: &Path) -> u8 {
    match read(Some(file)) {
        Ok(request) => reply_to(executable, &request).print(),
        Err(failure) => Reply::new(Err(failure), None, &[]).print(),
    }
}

fn read(file: Option<&Path>) -> Result<Vec<u8>, Failure> {
    let mut bytes = vec![];
    let limit = REQUEST_LIMIT as u64 + 1;
    let result = match file {
        Some(path) => {
            std::fs::File::open(path).and_then(|file| file.take(limit).read_to_end(&mut bytes))
        }
        None => std::io::stdin().take(limit).read_to_end(&mut bytes),
    };
    result
        .map(|_| bytes)
        .map_err(|error| Failure::new("internal", format!("could not read the request: {error}")))
}

fn reply_to(executable: &Executable, request: &[u8]) -> Reply {
    let invocation = match Invocation::parse(request) {
        Ok(invocation) => invocation,
        Err(failure) => return Reply::new(Err(failure), None, &[]),
    };
    let Some(module) = executable.find(&invocation.module) else {
        let failure = Failure::invalid(format!(
            "there is no module \"{}\" in this executable",
            invocation.module
        ));
        return Reply::new(Err(failure), None, &[]);
    };
    let options = match Options::parse(&(module.options)(), &invocation.options) {
        Ok(options) => options,
        // Nothing could be taken apart, so nothing is repeated: an option in
        // the wrong place may be a secret.
        Err(failure) => return Reply::new(Err(failure), None, &[]),
    };
    once(module, &options, &invocation)
}

/// Does the work once for each request id; a repetition gets the same reply.
fn once(module: &Module, options: &Options, invocation: &Invocation) -> Reply {
    let page = match &invocation.request_id {
        Some(id) if module.changes && !invocation.check_mode => {
            // Without a place for the journal the work is still done: only the
            // protection against a repetition is missing.
            let state = sessions::default_state_directory();
            let made = durable::private_directory(&state, None, 0o711).is_ok();
            if made { journal::open(&state.join("requests"), id).ok() } else { None }
        }
        _ => None,
    };
    match page {
        Some(journal::Entry::Done(map)) => Reply::from_map(map),
        Some(journal::Entry::Fresh(page)) => {
            let reply = work(module, options, invocation);
            let _ = page.keep(&reply);
            reply
        }
        None => work(module, options, invocation),
    }
}

fn work(module: &Module, options: &Options, invocation: &Invocation) -> Reply {
    let mut secrets = options.secrets().to_vec();
    secrets.extend(std::env::var("PGPASSWORD").ok());
    let result = catch_unwind(AssertUnwindSafe(|| (module.run)(options, invocation)))
        .unwrap_or_else(|panic| {
            let said = panic.downcast_ref::<String>().cloned();
            let said = said.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
            let said = said.unwrap_or_default();
            Err(Failure::new(
                "internal",
                format!("the module \"{}\" failed in itself: {said}", module.name),
            )
            .hint("Please report this with the playbook task that caused it."))
        });
    Reply::new(result, Some(invocation), &secrets)
}
