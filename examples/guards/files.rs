//! A checkpoint that belongs to other declarations, and one that is cut off.

use std::fs;

use anyhow::Result;
use candle_core::{DType, Device};
use candle_nn::{Linear, Optimizer, VarMap, linear};
use examples::run::Folder;
use l1_core::{Checkpoint, ParamsProxSgd, ProxSgd, Regularized};

use crate::{builder, mistake, refused, says};

#[derive(Regularized)]
struct Net {
    #[l1(lambda = self.lambda)]
    fc: Linear,
    lambda: f64,
}

pub(crate) fn changed_declaration(device: &Device, folder: &mut Folder) -> Result<()> {
    mistake(12, "Going on from a checkpoint under another λ, and from half a file");
    let path = folder.place("run.safetensors");
    let optimizer = |lambda: f64| -> Result<(ProxSgd, VarMap)> {
        let varmap = VarMap::new();
        let net = Net { fc: linear(6, 1, builder(&varmap, DType::F32, device).pp("fc"))?, lambda };
        Ok((ProxSgd::new(varmap.all_vars(), ParamsProxSgd::new(net.regularizer()?))?, varmap))
    };
    let (opt, varmap) = optimizer(0.01)?;
    Checkpoint::save(&path, &opt, &varmap)?;
    let (mut opt, varmap) = optimizer(0.02)?;
    says(refused(Checkpoint::load(&path, &mut opt, &varmap))?);
    let bytes = fs::read(&path)?;
    fs::write(&path, &bytes[..bytes.len() / 2])?;
    let (mut opt, varmap) = optimizer(0.01)?;
    says(refused(Checkpoint::load(&path, &mut opt, &varmap))?);
    fs::write(&path, &bytes)?;
    Ok(())
}
