//! Checkpoints: files that cannot be written, and files that go with another program.

use std::{fs, path::Path};

use anyhow::Result;
use candle_core::{DType, Var};
use candle_nn::{Linear, Optimizer, VarMap, linear};
use l1_core::{
    Checkpoint, Declarations, Error, ParamsProxAdamW, ParamsProxSgd, ProxAdamW, ProxSgd, Regularized, Regularizer,
};
use tests::device;

use super::{Net, builder, refused};

fn adamw(regularizer: Regularizer, varmap: &VarMap) -> candle_core::Result<ProxAdamW> {
    ProxAdamW::new(varmap.all_vars(), ParamsProxAdamW::new(regularizer))
}

/// A folder with a checkpoint of a `Net`, `run.safetensors`.
fn saved() -> Result<tempfile::TempDir> {
    let folder = tempfile::tempdir()?;
    let varmap = VarMap::new();
    let opt = adamw(Net::new(&varmap)?.regularizer()?, &varmap)?;
    Checkpoint::save(folder.path().join("run.safetensors"), &opt, &varmap)?;
    Ok(folder)
}

/// The error as it is in the folder of the file, so that every run prints the same.
fn from_its_folder(mut error: Error) -> Error {
    if let Error::NotACheckpoint { path, .. }
    | Error::CheckpointMismatch { path, .. }
    | Error::ChangedDeclarations { path, .. } = &mut error
    {
        *path = path.file_name().expect("it is a file").into();
    }
    error
}

pub fn checkpoint_io() -> Result<Error> {
    let varmap = VarMap::new();
    let opt = adamw(Net::new(&varmap)?.regularizer()?, &varmap)?;
    let error = refused(Checkpoint::save("runs/today/run.safetensors", &opt, &varmap));

    let folder = tempfile::tempdir()?;
    let path = &folder.path().join("runs/today/run.safetensors");
    let folder = path.parent().expect("it lies in a folder");
    // ANCHOR: CheckpointIo
    fs::create_dir_all(folder)?;
    Checkpoint::save(path, &opt, &varmap)?;
    // ANCHOR_END: CheckpointIo
    error
}

pub fn not_a_checkpoint() -> Result<Error> {
    let folder = tempfile::tempdir()?;
    let path = &folder.path().join("weights.safetensors");
    let mut varmap = VarMap::new();
    let mut opt = adamw(Net::new(&varmap)?.regularizer()?, &varmap)?;
    varmap.save(path)?;
    let error = refused(Checkpoint::load(path, &mut opt, &varmap)).map(from_its_folder);

    // ANCHOR: NotACheckpoint
    varmap.load(path)?; // the weights; the optimizer begins anew
    // ANCHOR_END: NotACheckpoint
    error
}

pub fn checkpoint_mismatch() -> Result<Error> {
    let folder = saved()?;
    let varmap = VarMap::new();
    let params = ParamsProxSgd::new(Net::new(&varmap)?.regularizer()?);
    let mut opt = ProxSgd::new(varmap.all_vars(), params)?;
    refused(Checkpoint::load(folder.path().join("run.safetensors"), &mut opt, &varmap)).map(from_its_folder)
}

pub fn changed_declarations() -> Result<Error> {
    #[derive(Regularized)]
    struct Stronger {
        #[l1(lambda = 0.02)]
        fc: Linear,
    }
    let folder = saved()?;
    let path: &Path = &folder.path().join("run.safetensors");
    let varmap = VarMap::new();
    let net = Stronger { fc: linear(3, 2, builder(&varmap).pp("fc"))? };
    let mut opt = adamw(net.regularizer()?, &varmap)?;
    let error = refused(Checkpoint::load(path, &mut opt, &varmap)).map(from_its_folder);

    // ANCHOR: ChangedDeclarations
    let checkpoint = Checkpoint::load_with(path, &mut opt, &varmap, Declarations::Accept)?;
    println!("changed since: {:?}", checkpoint.changed());
    // ANCHOR_END: ChangedDeclarations
    error
}

pub fn not_in_var_map() -> Result<Error> {
    let varmap = VarMap::new();
    let net = Net::new(&varmap)?;
    let temperature = Var::zeros((), DType::F32, &device())?;
    let vars = varmap.all_vars().into_iter().chain([temperature.clone()]).collect();
    let opt = ProxAdamW::new(vars, ParamsProxAdamW::new(net.regularizer()?))?;
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("run.safetensors");
    let error = refused(Checkpoint::save(&path, &opt, &varmap));

    // ANCHOR: NotInVarMap
    varmap.data().lock().unwrap().insert("temperature".to_owned(), temperature);
    // ANCHOR_END: NotInVarMap
    Checkpoint::save(path, &opt, &varmap)?;
    error
}

pub fn reserved_name() -> Result<Error> {
    let varmap = VarMap::new();
    let opt = adamw(Net::new(&varmap)?.regularizer()?, &varmap)?;
    let moment = Var::zeros((2, 3), DType::F32, &device())?;
    varmap.data().lock().unwrap().insert("l1.state/fc.weight/m".to_owned(), moment);
    refused(Checkpoint::save("run.safetensors", &opt, &varmap))
}
