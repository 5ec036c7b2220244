//! The macro: what compiles does what it says, what makes no sense does not compile.

mod compile_fail;
mod containers;
mod coverage;
mod decay;
mod enums;
mod generics;
mod given;
mod inheritance;
mod keys;
mod layers;
mod names;
mod penalties;
mod refused;
mod said;
mod shapes;
mod skipping;
mod ties;
mod traced;
