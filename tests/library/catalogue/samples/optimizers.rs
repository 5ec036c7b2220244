//! While an optimizer is made: variables and numbers that it cannot step with.

use anyhow::Result;
use candle_core::{DType, Device, Var};
use candle_nn::{Optimizer, VarBuilder, VarMap};
use l1_core::{Error, Fista, ParamsFista, ParamsProxAdamW, ParamsProxSgd, ProxAdamW, ProxSgd, Regularized};
use tests::device;

use super::{Net, refused, var};

pub fn foreign_variables() -> Result<Error> {
    let (varmap, another) = (VarMap::new(), VarMap::new());
    let (net, _other) = (Net::new(&varmap)?, Net::new(&another)?);
    let error = refused(ProxAdamW::new(another.all_vars(), ParamsProxAdamW::new(net.regularizer()?)));

    let params = ParamsProxAdamW::new(net.regularizer()?);
    // ANCHOR: ForeignVariables
    let opt = ProxAdamW::new(varmap.all_vars(), params)?; // the varmap that net was built from
    // ANCHOR_END: ForeignVariables
    drop(opt);
    error
}

pub fn unknown_field() -> Result<Error> {
    let mut regularizer = Net::new(&VarMap::new())?.regularizer()?;
    let error = refused(regularizer.set_scale_of("cf", 0.5));

    // ANCHOR: UnknownField
    regularizer.set_scale_of("fc", 0.5)?;
    // ANCHOR_END: UnknownField
    assert_eq!(regularizer.scale_of("fc.weight")?, Some(0.5));
    error
}

pub fn invalid_parameter() -> Result<Error> {
    let varmap = VarMap::new();
    let params = ParamsProxSgd { nesterov: true, ..ParamsProxSgd::new(Net::new(&varmap)?.regularizer()?) };
    let error = refused(ProxSgd::new(varmap.all_vars(), params.clone()));

    // ANCHOR: InvalidParameter
    let params = ParamsProxSgd { nesterov: true, momentum: 0.9, ..params };
    // ANCHOR_END: InvalidParameter
    ProxSgd::new(varmap.all_vars(), params)?;
    error
}

pub fn unsupported_dtype() -> Result<Error> {
    let varmap = VarMap::new();
    let net = Net::new(&varmap)?;
    // Rounded on the CPU, since not every GPU can.
    let eight_bits = var(&varmap, "fc.bias")?.to_device(&Device::Cpu)?.to_dtype(DType::F8E4M3)?;
    let eight_bits = Var::from_tensor(&eight_bits.to_device(&device())?)?;
    let vars = vec![var(&varmap, "fc.weight")?, eight_bits];
    refused(ProxSgd::new(vars, ParamsProxSgd::new(net.regularizer()?)))
}

pub fn half_precision() -> Result<Error> {
    let varmap = VarMap::new();
    let vb = VarBuilder::from_varmap(&varmap, DType::BF16, &device());
    let net = Net { fc: candle_nn::linear(3, 2, vb.pp("fc"))? };
    let vars = vec![var(&varmap, "fc.weight")?];
    let error = refused(Fista::new(vars, ParamsFista::new(net.regularizer()?, || net.loss())));

    let (varmap, device) = (VarMap::new(), device());
    // ANCHOR: HalfPrecision
    let vb = VarBuilder::from_varmap(&varmap, DType::F64, &device);
    // ANCHOR_END: HalfPrecision
    let net = Net { fc: candle_nn::linear(3, 2, vb.pp("fc"))? };
    Fista::new(varmap.all_vars(), ParamsFista::new(net.regularizer()?, || net.loss()))?;
    error
}
