//! PostgreSQL's words as types, and the only SQL in the tree.
