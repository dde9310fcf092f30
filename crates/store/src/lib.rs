//! One storage primitive on real engines: read, commit, watch.
