//! Programs that run where they can touch nothing: no network, no sockets of the host, no files but those given to them.
