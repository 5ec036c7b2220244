//! The library as a downstream crate sees it, against other programs and against its own promises.

mod bad_input;
mod certificate;
mod certificate_peers;
mod checkpoint;
mod clipping;
mod composed;
mod concurrent;
mod duality;
mod every_optimizer;
mod fista;
mod four_solvers;
mod ftrl;
mod guard;
mod huge;
mod in_the_loss;
mod kernels;
mod models;
mod penalties;
mod plain_optimizers;
mod prox;
mod proximal_steps;
mod pytorch;
mod report;
mod scikit_learn;
mod stationary;
mod threads;
