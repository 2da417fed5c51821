//! From a backup to a running server.
