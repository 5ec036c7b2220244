//! The macro: what compiles does what it says, what makes no sense does not compile; and what is asked of models that it is put on:
//! coverage, rules for names, ties.

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
