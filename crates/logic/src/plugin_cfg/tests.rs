//! plugin-cfg.xml: what is read, kept, refused, judged, merged, compared, explained and written, and with which words.

mod check;
mod merge;
mod read;
mod route;
mod write;
