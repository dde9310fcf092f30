//! Logs of members: rotation, bounds, and what happens when the disk says no.
