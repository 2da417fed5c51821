//! Files that are on disk before anything is said of them, and directories nobody else may plant.
