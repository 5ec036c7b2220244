//! Nothing here: this package holds tests only.
