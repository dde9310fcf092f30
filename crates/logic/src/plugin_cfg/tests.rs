//! plugin-cfg.xml: what is read, kept, refused, and with which words.

mod read;
