//! The macro: what compiles does what it says, what makes no sense does not compile.
