//! What a tensor is for, told from its name and rank: for layers that hide their tensors and models that are known by names alone.

use std::collections::HashSet;

use candle_core::Tensor;

use crate::Role;

/// The roles of all tensors of a layer or model, in their order. They are asked for together because the `bias` of a normalization
/// is told from that of a linear layer by what stands beside it.
pub(crate) fn roles<'t>(tensors: impl Iterator<Item = (&'t str, &'t Tensor)> + Clone) -> Vec<Role> {
    let is_scale = |(name, tensor): &(&str, &Tensor)| is_norm_scale(last_segment(name), tensor);
    let norms: HashSet<&str> = tensors.clone().filter(is_scale).map(|(name, _)| parent(name)).collect();
    tensors.map(|(name, tensor)| role(name, tensor, norms.contains(parent(name)))).collect()
}

fn last_segment(name: &str) -> &str {
    name.rsplit('.').next().unwrap_or(name)
}

fn parent(name: &str) -> &str {
    name.rsplit_once('.').map_or("", |(parent, _)| parent)
}

fn is_norm_scale(segment: &str, tensor: &Tensor) -> bool {
    tensor.rank() == 1 && matches!(segment, "weight" | "gamma" | "scale")
}

fn is_bias(segment: &str) -> bool {
    matches!(segment, "bias" | "b")
        || segment.starts_with("bias_")
        || segment.starts_with("b_")
        || segment.ends_with("_bias")
}

fn role(name: &str, tensor: &Tensor, beside_scale: bool) -> Role {
    let segment = last_segment(name);
    let is_embedding = || {
        let name = name.to_ascii_lowercase();
        name.contains("embed") || name.split('.').any(|segment| matches!(segment, "wte" | "wpe"))
    };
    if segment.starts_with("running_") || segment == "num_batches_tracked" {
        Role::Buffer
    } else if is_norm_scale(segment, tensor) || segment == "beta" || (is_bias(segment) && beside_scale) {
        Role::Norm
    } else if is_bias(segment) {
        Role::Bias
    } else if tensor.rank() == 2 && is_embedding() {
        Role::Embedding
    } else if tensor.rank() == 2 {
        Role::Weight { output: Some(0), input: Some(1) }
    } else {
        Role::WEIGHT
    }
}
