//! Stopping and going on: the same bits as not having stopped, and refusals that change nothing.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
};

use candle_core::{DType, Tensor, Var};
use candle_nn::{Optimizer, VarMap};
use l1_core::{
    Charged, Checkpoint, Declarations, Error, FtrlProximal, ParamsFtrl, ParamsProxAdamW, ParamsProxSgd, ProxAdamW,
    ProxSgd, Regularized, Regularizer,
};
use proptest::prelude::*;
use tempfile::TempDir;
use tests::device;

use crate::{
    models::flat,
    training::{Model, Saved, Training, adamw, amsgrad, folder, header_of, momentum, rewrite, saved, with_copies},
};

fn going_on_is_not_having_stopped<O: Saved>(params: impl Fn(Regularizer) -> O::Config) {
    let folder = folder();
    for dtype in [DType::F32, DType::F64, DType::BF16, DType::F16] {
        let path = folder.path().join("run.safetensors");
        let mut not_stopped = Training::<O>::new(dtype, 1, &params);
        not_stopped.steps(7);
        not_stopped.opt.save(&path, &not_stopped.varmap).unwrap();
        not_stopped.steps(8);

        // From other numbers, with another rate and another scale.
        let mut resumed = Training::<O>::new(dtype, 2, &params);
        resumed.opt.set_learning_rate(1.0);
        resumed.opt.regularizer_mut().set_scale(3.0).unwrap();
        let checkpoint = resumed.opt.load(&path, &resumed.varmap).unwrap();
        assert_eq!(checkpoint.steps(), 7);
        assert_eq!(checkpoint.learning_rate(), resumed.opt.learning_rate());
        assert_eq!(checkpoint.scale(), resumed.opt.regularizer_mut().scale());
        resumed.steps(8);
        assert_eq!(resumed.weights(), not_stopped.weights(), "{dtype:?}");
        assert!(resumed.bytes(&folder) == not_stopped.bytes(&folder), "{dtype:?}: moments or numbers differ");
    }
}

#[test]
fn sgd_goes_on_as_if_it_had_not_stopped() {
    going_on_is_not_having_stopped::<ProxSgd>(ParamsProxSgd::new);
    going_on_is_not_having_stopped::<ProxSgd>(momentum);
    let nesterov = |regularizer| ParamsProxSgd { dampening: 0.0, nesterov: true, ..momentum(regularizer) };
    going_on_is_not_having_stopped::<ProxSgd>(nesterov);
    let plain = |regularizer| ParamsProxSgd { master_weights: true, ..ParamsProxSgd::new(regularizer) };
    going_on_is_not_having_stopped::<ProxSgd>(plain);
}

#[test]
fn adamw_goes_on_as_if_it_had_not_stopped() {
    going_on_is_not_having_stopped::<ProxAdamW>(adamw);
    going_on_is_not_having_stopped::<ProxAdamW>(amsgrad);
    going_on_is_not_having_stopped::<ProxAdamW>(with_copies);
    going_on_is_not_having_stopped::<ProxAdamW>(|regularizer| ParamsProxAdamW {
        master_weights: true,
        ..amsgrad(regularizer)
    });
}

#[test]
fn ftrl_goes_on_as_if_it_had_not_stopped() {
    for charged in [Charged::EachStep, Charged::Once] {
        going_on_is_not_having_stopped::<FtrlProximal>(|regularizer| ParamsFtrl {
            charged,
            ..ParamsFtrl::new(regularizer)
        });
    }
}

#[test]
fn variables_stay_the_same_ones_and_those_that_are_not_stepped_are_read_too() {
    let (_folder, path, _) = saved();
    let mut other = Training::<ProxAdamW>::new(DType::F32, 2, adamw);
    let id = other.model.first.id();
    other.opt.load(&path, &other.varmap).unwrap();
    let variables = other.varmap.data().lock().unwrap();
    assert_eq!(variables["first"].id(), id);
    assert_eq!(variables["integers"].to_vec1::<u32>().unwrap(), [1, 7]);
}

#[test]
fn candles_varmap_reads_the_weights_alone() {
    let (_folder, path, training) = saved();
    let mut other = Training::<ProxAdamW>::new(DType::F32, 2, adamw);
    other.varmap.load(&path).unwrap();
    assert_eq!(other.weights(), training.weights());
}

#[test]
fn a_note_comes_back_as_it_was() {
    let (_folder, path, mut training) = saved();
    assert_eq!(training.opt.load(&path, &training.varmap).unwrap().note(), "");
    let note = "epoch 3, \"quoted\"\n\u{0}\u{1f980}";
    Checkpoint::save_with_note(&path, &training.opt, &training.varmap, note).unwrap();
    assert_eq!(training.opt.load(&path, &training.varmap).unwrap().note(), note);
}

/// Finite and ≥ 0, the smallest and the largest as often as any other.
fn strength() -> impl Strategy<Value = f64> {
    use prop::num::f64::{NORMAL, POSITIVE, SUBNORMAL, ZERO};
    POSITIVE | NORMAL | SUBNORMAL | ZERO
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn learning_rate_and_scale_come_back_bit_by_bit(
        lr in strength(),
        scale in strength(),
    ) {
        let folder = folder();
        let path = folder.path().join("run.safetensors");
        let mut training = Training::<ProxSgd>::new(DType::F64, 1, ParamsProxSgd::new);
        training.opt.set_learning_rate(lr);
        training.opt.regularizer_mut().set_scale(scale).unwrap();
        training.opt.save(&path, &training.varmap).unwrap();
        let mut other = Training::<ProxSgd>::new(DType::F64, 1, ParamsProxSgd::new);
        other.opt.load(&path, &other.varmap).unwrap();
        prop_assert_eq!(other.opt.learning_rate().to_bits(), lr.to_bits());
        prop_assert_eq!(other.opt.regularizer().scale().to_bits(), scale.to_bits());
    }

    #[test]
    fn a_lambda_that_differs_in_its_last_bit_is_seen(lambda in strength().prop_filter("has a successor", |lambda| *lambda < f64::MAX)) {
        let training = |lambda| {
            let varmap = VarMap::new();
            let model = Model { lambda, ..Model::new(&varmap, DType::F64, 1) };
            Training::<ProxSgd>::of(varmap, model, ParamsProxSgd::new)
        };
        let (folder, first) = (folder(), training(lambda));
        let path = folder.path().join("run.safetensors");
        first.opt.save(&path, &first.varmap).unwrap();
        let mut same = training(lambda);
        prop_assert!(same.opt.load(&path, &same.varmap).is_ok());
        let mut other = training(lambda.next_up());
        let refused = matches!(other.opt.load(&path, &other.varmap), Err(Error::ChangedDeclarations { .. }));
        prop_assert!(refused);
    }

    #[test]
    fn a_file_with_one_byte_changed_is_read_or_refused_but_never_panics(
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
        in_the_header in any::<bool>(),
    ) {
        let (folder, path, mut training) = saved();
        let mut bytes = fs::read(&path).unwrap();
        let length = if in_the_header { header_of(&bytes).0 } else { bytes.len() };
        let index = at.index(length);
        bytes[index] = byte;
        fs::write(&path, bytes).unwrap();
        let before = training.bytes(&folder);
        if training.opt.load(&path, &training.varmap).is_err() {
            prop_assert!(training.bytes(&folder) == before);
        }
    }
}

const OTHER_DECLARATIONS: &str = "
Declare what the file says, or go on under this program's: `Checkpoint::load_with(.., Declarations::Accept)`";

const OTHER_OPTIMIZER: &str = "
Build the model and its optimizer as they were when it was saved, or begin anew from its weights alone, which `VarMap::load` reads";

const OTHER_SHAPES: &str = "
Build the model and its optimizer as they were when it was saved";

const NEW_LAYER: &str =
    ". To add a layer to trained ones, read the weights alone with `VarMap::load` before the new layer is built";

const DAMAGED: &str = "; take an older copy of it";

fn with_other_declarations() -> Training<ProxAdamW> {
    let varmap = VarMap::new();
    let model = Model { lambda: 0.2, decay: 0.5, ..Model::new(&varmap, DType::F32, 2) };
    Training::of(varmap, model, |regularizer| ParamsProxAdamW { beta2: 0.99, ..adamw(regularizer) })
}

#[test]
fn changed_declarations_are_refused_line_by_line() {
    let (_folder, path, _) = saved();
    with_other_declarations().refuses(
        &path,
        &("FILE: the checkpoint was saved under other declarations:
  ProxAdamW: beta2 = 0.999 in the file, beta2 = 0.99 in this program
  first: lambda = 0.1 in the file, lambda = 0.2 in the model
  first: decay = 0 in the file, decay = 0.5 in the model"
            .to_owned()
            + OTHER_DECLARATIONS),
    );
}

#[test]
fn changed_declarations_can_be_accepted_and_are_the_models_then() {
    let (_folder, path, training) = saved();
    let mut other = with_other_declarations();
    let checkpoint = Checkpoint::load_with(&path, &mut other.opt, &other.varmap, Declarations::Accept).unwrap();
    assert_eq!(checkpoint.changed().len(), 3);
    assert_eq!(checkpoint.changed()[1], "first: lambda = 0.1 in the file, lambda = 0.2 in the model");
    assert_eq!(other.weights(), training.weights());
    assert_eq!(other.opt.params().beta2, 0.99);
    assert_eq!(other.opt.learning_rate(), training.opt.learning_rate());
    let penalty = *other.opt.regularizer().param("first").unwrap().decision().penalty().unwrap();
    assert_eq!(penalty.lambda(), 0.2);
    // What is saved from now on is under the new ones.
    Checkpoint::save(&path, &other.opt, &other.varmap).unwrap();
    Checkpoint::load(&path, &mut other.opt, &other.varmap).unwrap();
}

#[test]
fn fields_that_came_and_went_are_named() {
    /// The same variables, declared in another place and with another role.
    #[derive(Regularized)]
    struct Renamed {
        #[l1(lambda = 0.1, decay = 0.0)]
        front: Tensor,
        #[l1(lambda = 0.05, l2 = 0.1, role = embedding)]
        second: Tensor,
        #[l1(skip = "as it is")]
        bias: Tensor,
    }
    let (_folder, path, _) = saved();
    let varmap = VarMap::new();
    let Model { first: front, second, bias, .. } = Model::new(&varmap, DType::F32, 2);
    let renamed = Renamed { front, second, bias };
    let mut opt = ProxAdamW::new(varmap.all_vars(), adamw(renamed.regularizer().unwrap())).unwrap();
    let error = Checkpoint::load(&path, &mut opt, &varmap).unwrap_err();
    assert!(
        error.to_string().contains("\nIf only a field's name has changed, give it the old one: `#[l1(rename = "),
        "{error}"
    );
    let Error::ChangedDeclarations { differences, .. } = error else { panic!("{error}") };
    let expected = [
        "bias: not penalized (nothing declared) in the file, not penalized (skipped: as it is) in the model",
        "first: lambda = 0.1 in the file, no such parameter in the model",
        "front: no such parameter in the file, lambda = 0.1 in the model",
        "second: role weight in the file, role embedding in the model",
    ];
    assert_eq!(differences, expected);
}

#[test]
fn another_optimizer_is_refused() {
    let (_folder, path, _) = saved();
    Training::<ProxSgd>::new(DType::F32, 1, momentum).refuses(
        &path,
        &("FILE: the checkpoint does not fit the model and its optimizer:
  optimizer: ProxAdamW in the file, ProxSgd in this program"
            .to_owned()
            + OTHER_OPTIMIZER),
    );
}

#[test]
fn a_hyperparameter_that_needs_other_state_is_refused_even_where_changes_are_accepted() {
    let (_folder, path, _) = saved();
    let mut other = Training::<ProxAdamW>::new(DType::F32, 1, amsgrad);
    let message = "FILE: the checkpoint does not fit the model and its optimizer:
  ProxAdamW: keeps m, v in the file, keeps m, v, largest_v in this program
  ProxAdamW: amsgrad = false in the file, amsgrad = true in this program"
        .to_owned()
        + OTHER_OPTIMIZER;
    other.refuses(&path, &message);
    let accepted = Checkpoint::load_with(&path, &mut other.opt, &other.varmap, Declarations::Accept);
    assert_eq!(accepted.unwrap_err().to_string(), message.replace("FILE", &path.display().to_string()));
}

/// Seven steps in bf16, with f32 copies or without.
fn saved_half(params: fn(Regularizer) -> ParamsProxAdamW, folder: &TempDir) -> (PathBuf, Training<ProxAdamW>) {
    let mut training = Training::<ProxAdamW>::new(DType::BF16, 1, params);
    training.steps(7);
    let path = folder.path().join("half.safetensors");
    training.opt.save(&path, &training.varmap).unwrap();
    (path, training)
}

#[test]
fn f32_copies_in_only_one_of_file_and_program_are_a_change_that_can_be_accepted() {
    for (saved, here, [in_file, in_program]) in [
        (adamw as fn(Regularizer) -> _, with_copies as fn(Regularizer) -> _, ["false", "true"]),
        (with_copies, adamw, ["true", "false"]),
    ] {
        let folder = folder();
        let (path, not_stopped) = saved_half(saved, &folder);
        let mut other = Training::<ProxAdamW>::new(DType::BF16, 2, here);
        let line =
            format!("ProxAdamW: master_weights = {in_file} in the file, master_weights = {in_program} in this program");
        let message = format!("FILE: the checkpoint was saved under other declarations:\n  {line}");
        other.refuses(&path, &(message + OTHER_DECLARATIONS));

        let checkpoint = Checkpoint::load_with(&path, &mut other.opt, &other.varmap, Declarations::Accept).unwrap();
        assert_eq!(checkpoint.changed(), std::slice::from_ref(&line));
        assert_eq!(other.weights(), not_stopped.weights());
        // As one that was begun here: from the weights, whatever copies there were before.
        let mut again = Training::<ProxAdamW>::new(DType::BF16, 3, here);
        again.steps(2);
        Checkpoint::load_with(&path, &mut again.opt, &again.varmap, Declarations::Accept).unwrap();
        for training in [&mut other, &mut again] {
            training.steps(20);
        }
        assert!(other.bytes(&folder) == again.bytes(&folder), "{line}");
    }
}

#[test]
fn f32_copies_of_no_half_variable_are_no_change() {
    let (_folder, path, training) = saved();
    let mut other = Training::<ProxAdamW>::new(DType::F32, 2, with_copies);
    assert!(other.opt.load(&path, &other.varmap).unwrap().changed().is_empty());
    assert_eq!(other.weights(), training.weights());
}

#[test]
fn an_f32_copy_that_is_missing_is_refused() {
    let folder = folder();
    let (path, mut training) = saved_half(with_copies, &folder);
    let mut bytes = fs::read(&path).unwrap();
    let name = "l1.state/first/master";
    let at = bytes.windows(name.len()).position(|window| window == name.as_bytes()).unwrap();
    bytes[at + name.len() - 1] = b'x';
    fs::write(&path, bytes).unwrap();
    training.refuses(
        &path,
        &("FILE: the checkpoint does not fit the model and its optimizer:
  l1.state/first/master: no such tensor in the file, a variable in this program"
            .to_owned()
            + OTHER_OPTIMIZER),
    );
}

#[test]
fn other_variables_shapes_and_dtypes_are_refused() {
    let (_folder, path, _) = saved();
    let varmap = VarMap::new();
    let model = Model::with_first(&varmap, DType::F32, 2, 41);
    let half = Var::zeros(4, DType::F16, &device()).unwrap();
    let mut variables = varmap.data().lock().unwrap();
    let wrong = variables.insert("integers".to_owned(), half).unwrap();
    variables.insert("extra".to_owned(), wrong);
    variables.remove("empty").unwrap();
    drop(variables);
    Training::<ProxAdamW>::of(varmap, model, adamw).refuses(
        &path,
        &("FILE: the checkpoint does not fit the model and its optimizer:
  extra: no such tensor in the file, a variable in this program
  first: shape [40] in the file, shape [41] in the model
  integers: shape [2] in the file, shape [4] in the model
  empty: a variable in the file, no such variable in this program
  integers: not stepped by the optimizer in the file, stepped in this program"
            .to_owned()
            + OTHER_SHAPES),
    );
    let mut wide = Training::<ProxAdamW>::new(DType::F64, 1, adamw);
    let error = wide.opt.load(&path, &wide.varmap).unwrap_err().to_string();
    assert!(error.contains("\n  bias: F32 in the file, F64 in the model\n"), "{error}");
}

#[test]
fn a_long_list_of_differences_is_cut() {
    let (_folder, path, _) = saved();
    let mut other = Training::<ProxAdamW>::new(DType::F32, 1, adamw);
    for index in 10..40 {
        let extra = Var::new(&[0u32], &device()).unwrap();
        other.varmap.data().lock().unwrap().insert(format!("extra{index}"), extra);
    }
    let error = other.opt.load(&path, &other.varmap).unwrap_err().to_string();
    assert!(
        error.contains("\n  extra29: no such tensor in the file, a variable in this program\n  … and 10 more\n"),
        "{error}"
    );
    assert!(error.ends_with(&(OTHER_SHAPES.to_owned() + NEW_LAYER)), "{error}");
}

#[test]
fn state_that_is_missing_is_refused() {
    let (_folder, path, mut training) = saved();
    let bytes = fs::read(&path).unwrap();
    let text = String::from_utf8_lossy(&bytes);
    let at = text.find("l1.state/first/m").unwrap();
    let mut changed = bytes.clone();
    changed[at + "l1.state/first/".len()] = b'x';
    fs::write(&path, changed).unwrap();
    training.refuses(
        &path,
        &("FILE: the checkpoint does not fit the model and its optimizer:
  l1.state/first/m: no such tensor in the file, a variable in this program"
            .to_owned()
            + OTHER_OPTIMIZER),
    );
}

#[test]
fn a_variable_that_is_not_stepped_any_more_is_refused() {
    let (_folder, path, training) = saved();
    let stepped = [&training.model.first, &training.model.second].map(|tensor| Var::from_tensor(tensor).unwrap());
    let mut opt = ProxAdamW::new(stepped.into(), adamw(training.model.regularizer().unwrap())).unwrap();
    let error = Checkpoint::load(&path, &mut opt, &training.varmap).unwrap_err();
    let Error::CheckpointMismatch { differences, .. } = error else { panic!("{error}") };
    let expected = ["bias", "empty"]
        .map(|name| format!("{name}: stepped by the optimizer in the file, not stepped in this program"));
    assert_eq!(differences, expected);
}

#[test]
fn files_that_are_cut_off_are_refused() {
    let (_folder, path, mut training) = saved();
    let bytes = fs::read(&path).unwrap();
    for length in (0..bytes.len()).step_by(37).chain([7, 8, bytes.len() - 1]) {
        fs::write(&path, &bytes[..length]).unwrap();
        let error = training.opt.load(&path, &training.varmap).unwrap_err();
        assert!(matches!(error, Error::NotACheckpoint { cause: Some(_), .. }), "{length}: {error}");
    }
    let message = "FILE: no checkpoint of l1: it is cut off (incomplete metadata, file not fully covered)";
    training.refuses(&path, &(message.to_owned() + DAMAGED));
}

#[test]
fn files_of_other_origin_are_refused() {
    let (_folder, path, mut training) = saved();
    training.varmap.save(&path).unwrap();
    training.refuses(
        &path,
        "FILE: no checkpoint of l1: it is a safetensors file without `l1.checkpoint` in its metadata; if it holds weights \
         alone, `VarMap::load` reads them",
    );
    fs::write(&path, "epoch,loss\n1,0.25\n").unwrap();
    training.refuses(
        &path,
        "FILE: no checkpoint of l1: it is no safetensors file (header too large); checkpoints are what `Checkpoint::save` \
         writes",
    );
}

#[test]
fn other_versions_and_unreadable_texts_are_refused() {
    let (_folder, path, mut training) = saved();
    let whole = fs::read(&path).unwrap();
    let message = |why: &str| format!("FILE: no checkpoint of l1: {why}{DAMAGED}");
    rewrite(&path, |contents| contents["version"] = 2.into());
    training.refuses(
        &path,
        "FILE: no checkpoint of l1: it has version 2 of the format, and this l1-core reads version 1; read it with the l1-core \
         that wrote it, or its weights alone with `VarMap::load`",
    );
    fs::write(&path, &whole).unwrap();
    rewrite(&path, |contents| *contents = "else".into());
    training.refuses(
        &path,
        &message(
            "its text `l1.checkpoint` cannot be read \
            (invalid type: string \"else\", expected struct Head at line 1 column 6)",
        ),
    );
    fs::write(&path, &whole).unwrap();
    rewrite(&path, |contents| contents["progress"]["first"]["steps"] = "many".into());
    training.refuses(
        &path,
        &message(
            "its text `l1.checkpoint` cannot be read \
             (`first`: invalid type: string \"many\", expected i32 at line 1 column 485)",
        ),
    );
    for (key, text, column) in [("learning_rate", "NaN", 359), ("scale", "-1", 516)] {
        fs::write(&path, &whole).unwrap();
        rewrite(&path, |contents| contents[key] = text.into());
        training.refuses(
            &path,
            &message(&format!(
                "its text `l1.checkpoint` cannot be read (`{text}` (expected finite and ≥ 0) at line 1 column {column})"
            )),
        );
    }
}

#[test]
fn a_file_that_is_not_there_is_an_error_with_its_path() {
    let (folder, _, mut training) = saved();
    let path = folder.path().join("missing.safetensors");
    training.refuses(&path, "FILE: the checkpoint cannot be read: No such file or directory (os error 2)");
}

#[test]
fn variables_without_a_name_and_names_that_are_taken_are_refused() {
    let (_folder, path, mut training) = saved();
    let bias = training.varmap.data().lock().unwrap().remove("bias").unwrap();
    let error = training.opt.save(&path, &training.varmap).unwrap_err();
    assert!(error.to_string().starts_with("bias: the optimizer steps it, but it is not in the VarMap, "), "{error}");
    assert!(matches!(training.opt.load(&path, &training.varmap), Err(Error::NotInVarMap { path }) if path == "bias"));
    for name in ["__metadata__", "l1.state/bias/m"] {
        training.varmap.data().lock().unwrap().insert(name.to_owned(), bias.clone());
        let error = training.opt.save(&path, &training.varmap).unwrap_err();
        let start = format!("{name}: a checkpoint needs this name for itself ");
        assert!(error.to_string().starts_with(&start), "{error}");
        training.varmap.data().lock().unwrap().remove(name);
    }
}

#[test]
fn a_rate_that_no_step_can_be_taken_with_is_not_saved() {
    let (_folder, path, mut training) = saved();
    training.opt.set_learning_rate(f64::NAN);
    let error = training.opt.save(&path, &training.varmap).unwrap_err();
    assert_eq!(error.to_string(), "lr = NaN (expected finite and ≥ 0)");
}

#[test]
fn one_variable_under_two_names_is_saved_under_both() {
    let (_folder, path, mut training) = saved();
    let first = training.varmap.data().lock().unwrap()["first"].clone();
    training.varmap.data().lock().unwrap().insert("alias".to_owned(), first);
    training.opt.save(&path, &training.varmap).unwrap();
    training.opt.load(&path, &training.varmap).unwrap();
    let tensors = candle_core::safetensors::load(&path, &device()).unwrap();
    assert_eq!(flat(&tensors["alias"]), flat(&tensors["first"]));
}

fn names(folder: &Path) -> Vec<String> {
    let names = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = names.collect();
    names.sort_unstable();
    names
}

#[test]
fn places_that_cannot_be_written_are_errors_with_their_path() {
    let (folder, path, training) = saved();
    let missing = folder.path().join("missing").join("run.safetensors");
    let error = training.opt.save(&missing, &training.varmap).unwrap_err();
    let Error::CheckpointIo { path: found, action: "written", cause } = &error else { panic!("{error}") };
    assert_eq!(*found, missing);
    assert_eq!(cause.kind(), std::io::ErrorKind::NotFound);
    let (file, parent) = (missing.display(), folder.path().join("missing"));
    let message = format!("{file}: the checkpoint cannot be written: the folder {} does not exist", parent.display());
    assert_eq!(error.to_string(), message);
    // Its cause is in the message and is not told again by those who print the sources.
    assert!(std::error::Error::source(&error).is_none());

    let occupied = folder.path().join("folder");
    fs::create_dir(&occupied).unwrap();
    assert!(matches!(training.opt.save(&occupied, &training.varmap), Err(Error::CheckpointIo { .. })));
    assert!(matches!(training.opt.save(Path::new("/"), &training.varmap), Err(Error::CheckpointIo { .. })));
    assert_eq!(names(folder.path()), ["folder", "run.safetensors"]);

    let mut permissions = fs::metadata(folder.path()).unwrap().permissions();
    let before = permissions.clone();
    permissions.set_readonly(true);
    fs::set_permissions(folder.path(), permissions).unwrap();
    let old = fs::read(&path).unwrap();
    // The superuser may write everywhere.
    if File::create(folder.path().join("probe")).is_err() {
        assert!(matches!(training.opt.save(&path, &training.varmap), Err(Error::CheckpointIo { .. })));
        assert_eq!(fs::read(&path).unwrap(), old);
    }
    fs::set_permissions(folder.path(), before).unwrap();
}

#[test]
fn what_a_killed_save_left_is_removed_but_not_what_is_in_use_or_of_others() {
    let (folder, path, training) = saved();
    let make = |name: &str| File::create(folder.path().join(name)).unwrap();
    make(".run.safetensors.aB3xYz.tmp");
    let in_use = make(".run.safetensors.inUse1.tmp");
    in_use.lock().unwrap();
    make(".other.safetensors.aB3xYz.tmp");
    make(".run.safetensors.backup.of.mine.tmp");
    training.opt.save(&path, &training.varmap).unwrap();
    let expected = [
        ".other.safetensors.aB3xYz.tmp",
        ".run.safetensors.backup.of.mine.tmp",
        ".run.safetensors.inUse1.tmp",
        "run.safetensors",
    ];
    assert_eq!(names(folder.path()), expected);
}

#[cfg(unix)]
#[test]
fn the_file_has_the_permissions_of_any_new_file() {
    use std::os::unix::fs::PermissionsExt;
    let (folder, path, _) = saved();
    File::create(folder.path().join("any")).unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode();
    assert_eq!(mode(&path), mode(&folder.path().join("any")));
}

#[test]
fn a_path_without_a_folder_is_in_the_current_one() {
    let (_folder, _, training) = saved();
    let path = Path::new("checkpoint-in-the-current-folder.safetensors");
    training.opt.save(path, &training.varmap).unwrap();
    fs::remove_file(path).unwrap();
}
