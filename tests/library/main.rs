//! The library as a downstream crate sees it, against other programs and against its own promises.
