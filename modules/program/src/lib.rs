//! Runs other programs: clean environment, deadline, standard error kept.
