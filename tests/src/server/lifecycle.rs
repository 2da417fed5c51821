//! Starting, stopping and promoting.

use std::fs;
use std::time::Duration;

use nix::sys::signal::Signal;

use super::{PATIENCE, Server, Stop};
use crate::command::{signal, tied};
use crate::wait::wait_until;

impl Server {
    /// Starts the postmaster and waits until it lets sessions in.
    ///
    /// # Panics
    ///
    /// When it does not, with its log.
    pub fn start(&mut self) {
        assert!(self.postmaster.is_none(), "the server runs already");
        let log = fs::OpenOptions::new().create(true).append(true).open(self.log.path());
        let log = log.expect("the server's log can be written");
        let mut command = tied(self.bin.join("postgres"), &self.user);
        command.arg("-D").arg(&self.data_directory);
        command.stdout(log.try_clone().expect("a second handle of the log")).stderr(log);
        let mut child = command.spawn().expect("setpriv can be started");
        // asking the socket before that would put FATAL lines into the log
        wait_until(
            &format!("the server has started; its log is {}", self.log.path().display()),
            PATIENCE,
            || {
                let gone = child.try_wait().expect("our own child").is_some();
                assert!(!gone, "the server did not start:\n{}", self.log.text());
                self.is_ready()
            },
        );
        self.postmaster = Some(child);
    }

    fn is_ready(&self) -> bool {
        let file =
            fs::read_to_string(self.data_directory.join("postmaster.pid")).unwrap_or_default();
        // the eighth line is the postmaster's status, padded with blanks
        file.lines().nth(7).is_some_and(|status| status.trim() == "ready")
    }

    /// Stops it. The sessions that a fast stop ends say so in the log, which is
    /// therefore announced.
    ///
    /// # Panics
    ///
    /// When it does not stop.
    pub fn stop(&mut self, how: Stop) {
        let signal_number = match how {
            Stop::Fast => Signal::SIGINT,
            Stop::Immediate => Signal::SIGQUIT,
        };
        self.announce_log("terminating connection due to administrator command");
        if let Some(pid) = self.postmaster_pid() {
            signal(pid, signal_number);
        }
        match self.postmaster.as_mut() {
            Some(child) => {
                wait_until("the server has stopped", PATIENCE, || {
                    child.try_wait().is_ok_and(|s| s.is_some())
                });
            }
            // one that a module started, whose parent is not us
            None => wait_until("the server has stopped", PATIENCE, || !self.is_running()),
        }
        self.postmaster = None;
    }

    /// Whether the process of its pid file runs.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.postmaster_pid().is_some_and(|pid| {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            !stat.is_empty() && !stat.contains(") Z ")
        })
    }

    /// Stops and starts.
    pub fn restart(&mut self, how: Stop) {
        self.stop(how);
        self.start();
    }

    /// Makes a standby a primary.
    ///
    /// # Panics
    ///
    /// When it does not become one.
    pub fn promote(&self) {
        self.execute("select pg_promote(wait => true)");
        wait_until("the standby is promoted", PATIENCE, || {
            self.says_true("select not pg_is_in_recovery()")
        });
    }

    /// Ends every session with that `application_name` prefix and says how many.
    ///
    /// # Panics
    ///
    /// When the server cannot be asked.
    #[must_use]
    pub fn terminate(&mut self, application_name: &str) -> usize {
        self.announce_log("terminating connection due to administrator command");
        let sql = format!(
            "select pg_terminate_backend(pid) from pg_stat_activity \
             where application_name like '{application_name}%' and pid <> pg_backend_pid()"
        );
        self.query(&sql).lines().count()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(mut child) = self.postmaster.take() {
            // what a crash would write is not the test's business
            self.log.check();
            self.log.announce("");
            if let Some(pid) = self.postmaster_pid() {
                signal(pid, Signal::SIGQUIT);
            }
            let _ = child.wait();
        } else {
            self.log.check();
            if self.is_running()
                && let Some(pid) = self.postmaster_pid()
            {
                signal(pid, Signal::SIGQUIT);
                let start = std::time::Instant::now();
                while self.is_running() && start.elapsed() < PATIENCE {
                    std::thread::sleep(Duration::from_millis(20));
                }
            }
        }
    }
}
