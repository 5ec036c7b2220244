//! The library as a downstream crate sees it, against other programs and against its own promises.

mod bad_input;
mod checkpoint;
mod clipping;
mod composed;
mod fista;
mod in_the_loss;
mod models;
mod prox;
mod proximal_steps;
mod pytorch;
mod report;
mod scikit_learn;
mod threads;
