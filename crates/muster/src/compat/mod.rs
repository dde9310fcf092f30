//! What Muster does so that files and scripts of other products go on working.

pub mod plugin_cfg_file;
