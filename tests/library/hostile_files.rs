//! Files that are damaged or made to harm: an error that names the file, nothing changed, no panic; or all of what they say.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    path::PathBuf,
};

use candle_core::DType;
use candle_nn::Optimizer;
use l1_core::{Checkpoint, Declarations, Error, FtrlProximal, ParamsFtrl, ProxAdamW, ProxSgd, Result};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::training::{Saved, Training, folder, header_of, momentum, saved};

/// A training that is offered one file after the other, and what it was like before.
struct Offered<O> {
    folder: TempDir,
    path: PathBuf,
    training: Training<O>,
    /// A checkpoint of it.
    good: Vec<u8>,
}

impl Offered<ProxAdamW> {
    fn new() -> Self {
        let (folder, path, training) = saved();
        Self::of(folder, path, training)
    }
}

impl<O: Saved> Offered<O> {
    fn of(folder: TempDir, path: PathBuf, training: Training<O>) -> Self {
        let good = fs::read(&path).unwrap();
        Self { folder, path, training, good }
    }

    fn offer(&mut self, file: &[u8]) -> Result<Checkpoint> {
        fs::write(&self.path, file).unwrap();
        self.training.opt.load(&self.path, &self.training.varmap)
    }

    /// Weights, steps, learning rate and scale: what can be looked at without a file.
    fn seen(&mut self) -> (Vec<Vec<u64>>, Vec<u32>, u64, [u64; 2]) {
        let integers = self.training.varmap.data().lock().unwrap()["integers"].to_vec1().unwrap();
        let opt = &mut self.training.opt;
        let numbers = [opt.learning_rate(), opt.regularizer_mut().scale()].map(f64::to_bits);
        (self.training.weights(), integers, self.training.opt.steps(), numbers)
    }

    /// Whether the optimizer's state is what it was too, which only a file can say.
    #[track_caller]
    fn is_as_before(&self) {
        assert!(self.training.bytes(&self.folder) == self.good, "a refused load has changed something");
    }

    /// Fails unless the file is refused with an error that names it and says what to do.
    #[track_caller]
    fn refuses(&mut self, file: &[u8], what: &str) -> Error {
        let before = self.seen();
        let Err(error) = self.offer(file) else { panic!("{what} was loaded") };
        assert!(self.seen() == before, "{what}: {error}, and something has changed");
        let message = error.to_string();
        assert!(message.starts_with(&format!("{}: ", self.path.display())), "{what}: {message}");
        let says_what_to_do = match &error {
            Error::NotACheckpoint { why, .. } => why.contains("; "),
            Error::CheckpointMismatch { way_out, differences, .. } => !way_out.is_empty() && !differences.is_empty(),
            Error::ChangedDeclarations { differences, .. } => !differences.is_empty(),
            _ => false,
        };
        assert!(says_what_to_do, "{what}: {message}");
        error
    }

    #[track_caller]
    fn is_no_checkpoint(&mut self, file: &[u8], what: &str) {
        let error = self.refuses(file, what);
        assert!(matches!(error, Error::NotACheckpoint { .. }), "{what}: {error}");
    }

    #[track_caller]
    fn does_not_fit(&mut self, file: &[u8], what: &str) {
        let error = self.refuses(file, what);
        assert!(matches!(error, Error::CheckpointMismatch { .. }), "{what}: {error}");
    }

    /// Fails unless the file is refused or loaded as a whole; returns whether it was loaded, and is as before then.
    #[track_caller]
    fn refuses_or_loads_all(&mut self, file: &[u8], what: &str) -> bool {
        let before = self.seen();
        if let Err(error) = self.offer(file) {
            assert!(self.seen() == before, "{what}: {error}, and something has changed");
            return false;
        }
        let loaded = self.training.bytes(&self.folder);
        assert!(Said::by(&loaded) == Said::by(file), "{what}: something else was loaded than the file says");
        let good = self.good.clone();
        self.offer(&good).unwrap();
        true
    }
}

/// All that a checkpoint says, however it is written down.
#[derive(PartialEq)]
struct Said {
    text: Value,
    tensors: BTreeMap<String, (Value, Value, Vec<u8>)>,
}

impl Said {
    fn by(file: &[u8]) -> Self {
        let (start, mut header) = header_of(file);
        let mut text: Value = serde_json::from_str(header["__metadata__"]["l1.checkpoint"].as_str().unwrap()).unwrap();
        for number in ["learning_rate", "scale"] {
            // One number has many texts.
            text[number] = text[number].as_str().unwrap().parse::<f64>().unwrap().to_bits().into();
        }
        header.as_object_mut().unwrap().remove("__metadata__");
        let tensor = |(name, info): (&String, &Value)| {
            let offset = |index: usize| start + info["data_offsets"][index].as_u64().unwrap() as usize;
            (name.clone(), (info["dtype"].clone(), info["shape"].clone(), file[offset(0)..offset(1)].to_vec()))
        };
        Self { text, tensors: header.as_object().unwrap().iter().map(tensor).collect() }
    }
}

/// A safetensors file.
fn file(header: impl AsRef<[u8]>, data: &[u8]) -> Vec<u8> {
    let header = header.as_ref();
    [&(header.len() as u64).to_le_bytes()[..], header, data].concat()
}

/// The file with its header changed.
fn with_header(good: &[u8], change: impl FnOnce(&mut Value)) -> Vec<u8> {
    let (start, mut header) = header_of(good);
    change(&mut header);
    file(header.to_string(), &good[start..])
}

/// The file with another text of ours.
fn with_raw_text(good: &[u8], change: impl FnOnce(&str) -> String) -> Vec<u8> {
    with_header(good, |header| {
        let text = &mut header["__metadata__"]["l1.checkpoint"];
        *text = change(text.as_str().unwrap()).into();
    })
}

fn with_text(good: &[u8], change: impl FnOnce(&mut Value)) -> Vec<u8> {
    with_raw_text(good, |text| {
        let mut contents = serde_json::from_str(text).unwrap();
        change(&mut contents);
        contents.to_string()
    })
}

#[test]
fn a_file_cut_off_at_any_length_is_refused() {
    let mut offered = Offered::new();
    let good = offered.good.clone();
    for length in 0..good.len() {
        offered.is_no_checkpoint(&good[..length], &format!("{length} bytes"));
    }
    offered.is_no_checkpoint(&[&good[..], &[0]].concat(), "one byte more");
    offered.is_as_before();
}

#[test]
fn a_header_with_any_bit_flipped_is_refused_or_loaded_as_a_whole() {
    let mut offered = Offered::new();
    let good = offered.good.clone();
    let mut loaded = 0;
    for bit in 0..8 * header_of(&good).0 {
        let mut flipped = good.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        loaded += usize::from(offered.refuses_or_loads_all(&flipped, &format!("bit {bit}")));
    }
    // Digits of the learning rate, of the scale and of counts.
    assert!((20..400).contains(&loaded), "{loaded} were loaded");
    offered.is_as_before();
}

#[test]
fn data_with_a_bit_flipped_are_loaded_as_they_are() {
    let mut offered = Offered::new();
    let good = offered.good.clone();
    // Every bit of a byte is met, and nearly every byte.
    for bit in (8 * header_of(&good).0..8 * good.len()).step_by(11) {
        let mut flipped = good.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert!(offered.refuses_or_loads_all(&flipped, &format!("bit {bit}")), "bit {bit} was refused");
    }
    offered.is_as_before();
}

#[test]
fn lengths_of_the_header_that_are_not_there_are_refused() {
    let mut offered = Offered::new();
    let good = offered.good.clone();
    let whole = good.len() as u64;
    for length in
        [0, 1, whole - 8, whole - 7, whole, 100_000_000, 100_000_001, 1 << 32, 1 << 63, u64::MAX - 7, u64::MAX]
    {
        let mut file = good.clone();
        file[..8].copy_from_slice(&length.to_le_bytes());
        offered.is_no_checkpoint(&file, &format!("a header of {length} bytes"));
        offered.is_no_checkpoint(&length.to_le_bytes(), &format!("nothing but a header's length of {length}"));
    }
    offered.is_as_before();
}

#[test]
fn headers_that_are_no_headers_are_refused() {
    let mut offered = Offered::new();
    let deep = 200_000;
    let nested = |open: &str, close: &str| open.repeat(deep) + &close.repeat(deep);
    let tensor =
        |name: &str, more: &str| format!(r#"{{"{name}":{{"dtype":"U8","shape":[0],"data_offsets":[0,0]{more}}}}}"#);
    let headers = [
        "".to_owned(),
        " ".to_owned(),
        "{".to_owned(),
        "null".to_owned(),
        "1".to_owned(),
        "[]".to_owned(),
        "\"a\"".to_owned(),
        "{} {}".to_owned(),
        "{}\0".to_owned(),
        "{\"a\"}".to_owned(),
        "{\"a\":1}".to_owned(),
        "{1:2}".to_owned(),
        nested("[", "]"),
        nested("[", ""),
        nested("{\"a\":", "}"),
        format!("{{\"a\":{}}}", nested("[", "]")),
        format!("{{\"__metadata__\":{}}}", nested("{\"l1.checkpoint\":", "}")),
        tensor("\\ud800", ""),
        tensor("a", ",\"dtype\":\"U8\""),
        tensor("a", ",\"shape\":[0]"),
        // What else stands beside a tensor is passed over, however deep it is, and then our text is missed.
        tensor("a", &format!(",\"more\":{}", nested("[", "]"))),
        tensor("", ""),
        "{}".to_owned(),
        r#"{"__metadata__":null}"#.to_owned(),
        r#"{"__metadata__":{}}"#.to_owned(),
        r#"{"__metadata__":[]}"#.to_owned(),
        r#"{"__metadata__":{"l1.checkpoint":1}}"#.to_owned(),
        r#"{"__metadata__":{"l1.checkpoint":{}}}"#.to_owned(),
        r#"{"__metadata__":{},"__metadata__":{}}"#.to_owned(),
        r#"{"__metadata__":null,"__metadata__":null}"#.to_owned(),
        r#"{"__metadata__":{"l1.checkpoint":"a","l1.checkpoint":"b"}}"#.to_owned(),
    ];
    for header in headers {
        offered.is_no_checkpoint(&file(&header, &[]), &header[..header.len().min(80)]);
    }
    offered.is_no_checkpoint(&file([b'{', 0xff, 0xfe, b'}'], &[]), "no text");
    offered.is_no_checkpoint(&file(b"{\"\xc3\x28\":1}", &[]), "no UTF-8 in a name");
    offered.is_as_before();
}

#[test]
fn tensors_that_cannot_lie_where_they_are_said_to_are_refused() {
    let mut offered = Offered::new();
    let good = offered.good.clone();
    let end = good.len() - header_of(&good).0;
    let far = u64::MAX;
    let places = [
        json!([]),
        json!([0]),
        json!([0, 160, 160]),
        json!([160, 0]),
        json!([-1, 159]),
        json!([0.0, 160.0]),
        json!(["0", "160"]),
        json!(null),
        json!([0, end + 1]),
        json!([end, end + 160]),
        json!([1, 161]),
        json!([far, far]),
        json!([far - 160, far]),
        json!([far, 0]),
        json!([0, far]),
    ];
    let shapes = [
        json!(null),
        json!(40),
        json!([-40]),
        json!([40.0]),
        json!(["40"]),
        json!([[40]]),
        json!([far]),
        json!([1_u64 << 32, 1_u64 << 32]),
        json!([1_u64 << 61, 8]),
        json!([far, far, far]),
        json!([0, 40]),
        json!([39]),
        json!([41]),
        json!([40, 40]),
    ];
    let dtypes = [json!("f32"), json!("F33"), json!(""), json!(null), json!(1), json!({}), json!("F64"), json!("F4")];
    for (key, values) in [("data_offsets", &places[..]), ("shape", &shapes), ("dtype", &dtypes)] {
        for value in values {
            let file = with_header(&good, |header| header["first"][key] = value.clone());
            offered.is_no_checkpoint(&file, &format!("first with {key} = {value}"));
        }
        let file = with_header(&good, |header| drop(header["first"].as_object_mut().unwrap().remove(key)));
        offered.is_no_checkpoint(&file, &format!("first without {key}"));
    }
    // Two tensors on one another, and one over the place of both.
    let lie = |header: &mut Value, name: &str, other: &str| {
        header[name]["data_offsets"] = header[other]["data_offsets"].clone()
    };
    offered.is_no_checkpoint(
        &with_header(&good, |header| lie(header, "l1.state/first/m", "l1.state/first/v")),
        "two in one place",
    );
    offered.is_no_checkpoint(
        &with_header(&good, |header| lie(header, "empty", "first")),
        "nothing in a place of 160 bytes",
    );
    // Each is possible; together they end at 2⁶⁴ − 8, and a header of 8 bytes more overflows.
    let size = (1_u64 << 61) - 1;
    let header: serde_json::Map<_, _> = (0..8)
        .map(|index| {
            let offsets = [index * size, (index + 1) * size];
            (format!("tensor{index}"), json!({"dtype": "U8", "shape": [size], "data_offsets": offsets}))
        })
        .collect();
    offered.is_no_checkpoint(&file(Value::from(header).to_string(), &[]), "offsets that overflow");
    offered.is_as_before();
}

#[test]
fn tensors_of_one_name_are_refused() {
    let mut offered = Offered::new();
    let good = offered.good.clone();
    let (start, header) = header_of(&good);
    let text = header.to_string();
    for name in ["first", "empty", "l1.state/first/m"] {
        let entry = format!("{}:{}", json!(name), header[name]);
        assert!(text.contains(&entry));
        let twice = file(text.replace(&entry, &format!("{entry},{entry}")), &good[start..]);
        let error = offered.refuses(&twice, name).to_string();
        assert!(error.contains(&format!("`{name}` stands there twice")), "{error}");
    }
    offered.is_as_before();
}

#[test]
fn tensors_that_nothing_asks_for_are_refused_whatever_they_are_called() {
    let mut offered = Offered::new();
    let good = offered.good.clone();
    let end = good.len() - header_of(&good).0;
    let long = "x".repeat(1 << 20);
    let names = [
        "",
        " ",
        "\0",
        "\n  first: F64",
        "\u{202e}tsrif",
        "../../../etc/passwd",
        "First",
        "first ",
        "first\u{301}",
        "__metadata",
        "l1.checkpoint",
        "l1.state/",
        "l1.state//m",
        "l1.state/first",
        "l1.state/first/",
        "l1.state/first/w",
        "l1.state/first/m/",
        "l1.state/other/m",
        &long,
    ];
    for name in names {
        let what = &name[..name.len().min(40)];
        let empty = json!({"dtype": "F32", "shape": [0], "data_offsets": [end, end]});
        offered.does_not_fit(&with_header(&good, |header| header[name] = empty), what);
        let mut long = with_header(&good, |header| {
            header[name] = json!({"dtype": "U8", "shape": [9], "data_offsets": [end, end + 9]})
        });
        long.extend([7; 9]);
        offered.does_not_fit(&long, what);
    }
    offered.is_as_before();
}

#[test]
fn tensors_of_another_dtype_or_shape_are_refused() {
    let mut offered = Offered::new();
    let good = offered.good.clone();
    let names: Vec<String> =
        header_of(&good).1.as_object().unwrap().keys().filter(|name| *name != "__metadata__").cloned().collect();
    assert_eq!(names.len(), 5 + 2 * 4);
    let same_size = [("F32", "I32"), ("F32", "U32"), ("U32", "F32"), ("U32", "I32")];
    for name in &names {
        for (from, to) in same_size {
            let file = with_header(&good, |header| {
                let dtype = &mut header[name]["dtype"];
                if *dtype == from {
                    *dtype = to.into();
                }
            });
            if file != with_header(&good, |_| {}) {
                offered.does_not_fit(&file, &format!("{name} as {to}"));
            }
        }
        let file = with_header(&good, |header| {
            let shape = header[name]["shape"].as_array_mut().unwrap();
            shape.insert(0, 1.into());
        });
        offered.does_not_fit(&file, &format!("{name} in a shape of more dimensions"));
        let file = with_header(&good, |header| {
            let shape = header[name]["shape"].as_array_mut().unwrap();
            shape.extend(vec![Value::from(1); 10_000]);
        });
        offered.does_not_fit(&file, &format!("{name} in ten thousand dimensions"));
    }
    let file = with_header(&good, |header| header["second"]["shape"] = json!([4, 5]));
    offered.does_not_fit(&file, "second, transposed");
    // Of no entries there may be as many as a number can say.
    let file = with_header(&good, |header| header["empty"]["shape"] = json!([0, u64::MAX]));
    offered.does_not_fit(&file, "empty, and wide");
    offered.is_as_before();
}

/// Numbers in text that no training has.
const NO_NUMBERS: [&str; 14] =
    ["NaN", "nan", "inf", "-inf", "infinity", "1e999", "-1", "-1e-300", "", " 1", "0x1", "1,5", "one", "1e"];

#[test]
fn texts_that_are_no_texts_of_ours_are_refused() {
    let mut offered = Offered::new();
    let good = offered.good.clone();
    let deep = 200_000;
    let raw = [
        "",
        " ",
        "{",
        "null",
        "[]",
        "1",
        "\"{}\"",
        "{}",
        "{\"version\":1}",
        "{\"version\":1,\"optimizer\":\"ProxAdamW\"}",
    ];
    for text in raw {
        offered.is_no_checkpoint(&with_raw_text(&good, |_| text.to_owned()), text);
    }
    for (open, close) in [("[", "]"), ("{\"version\":", "}"), ("{\"progress\":", "}")] {
        offered.is_no_checkpoint(&with_raw_text(&good, |_| open.repeat(deep) + &close.repeat(deep)), open);
    }
    offered.is_no_checkpoint(&with_raw_text(&good, |text| format!("{text} {text}")), "two texts");
    for key in [
        "version",
        "optimizer",
        "steps",
        "learning_rate",
        "scale",
        "hyperparameters",
        "state",
        "progress",
        "declarations",
        "note",
    ] {
        let without = with_text(&good, |text| drop(text.as_object_mut().unwrap().remove(key)));
        offered.is_no_checkpoint(&without, &format!("no {key}"));
        for wrong in [json!(null), json!([[]]), json!({"a": {"b": "c"}}), json!(-1), json!(0.5), json!(true)] {
            offered.is_no_checkpoint(&with_text(&good, |text| text[key] = wrong.clone()), &format!("{key} = {wrong}"));
        }
        let nested = "[".repeat(deep) + &"]".repeat(deep);
        let nested = with_raw_text(&good, |text| {
            text.replacen(&format!("\"{key}\":"), &format!("\"{key}\":{nested},\"{key}\":"), 1)
        });
        offered.is_no_checkpoint(&nested, &format!("a deep {key}"));
    }
    offered.is_no_checkpoint(&with_text(&good, |text| text["more"] = 1.into()), "a key of another version");
    offered.is_as_before();
}

#[test]
fn names_that_stand_twice_in_our_text_are_refused() {
    let mut offered = Offered::new();
    let good = offered.good.clone();
    let entries = [
        ("\"steps\":7,\"l", "\"steps\":7,\"steps\":8,\"l"),
        ("\"scale\":", "\"scale\":\"1\",\"scale\":"),
        ("\"beta1\":", "\"beta1\":\"0.9\",\"beta1\":"),
        ("\"first\":{\"steps\"", "\"first\":{\"steps\":1},\"first\":{\"steps\""),
        ("\"first\":{\"steps\":7", "\"first\":{\"steps\":7,\"steps\":7"),
        ("\"first\":{\"role\"", "\"first\":{\"role\":null,\"rule\":\"\",\"decay\":null},\"first\":{\"role\""),
        ("\"decay\":null", "\"decay\":null,\"decay\":null"),
    ];
    for (once, twice) in entries {
        let file = with_raw_text(&good, |text| {
            assert!(text.contains(once), "{once} in {text}");
            text.replacen(once, twice, 1)
        });
        offered.is_no_checkpoint(&file, twice);
    }
    offered.is_as_before();
}

#[test]
fn numbers_that_no_training_has_are_refused() {
    let mut offered = Offered::new();
    let good = offered.good.clone();
    for key in ["learning_rate", "scale"] {
        for text in NO_NUMBERS {
            offered.is_no_checkpoint(
                &with_text(&good, |contents| contents[key] = text.into()),
                &format!("{key} = {text}"),
            );
        }
    }
    // In range, but not with what else is declared: a decay of 0.01, and λ times the scale.
    for (key, text) in [("learning_rate", "100.1"), ("learning_rate", "1e308"), ("scale", "1e308")] {
        offered.is_no_checkpoint(&with_text(&good, |contents| contents[key] = text.into()), &format!("{key} = {text}"));
    }
    for steps in [json!(u64::MAX), json!(u64::MAX / 2 + 1), json!(1e3), json!(1e300), json!("7")] {
        offered.is_no_checkpoint(&with_text(&good, |text| text["steps"] = steps.clone()), &format!("steps = {steps}"));
    }
    offered
        .is_no_checkpoint(&with_raw_text(&good, |text| text.replacen(":7", ":18446744073709551616", 1)), "2⁶⁴ steps");
    for version in [json!(0), json!(2), json!(u64::MAX), json!("1")] {
        offered.is_no_checkpoint(
            &with_text(&good, |text| text["version"] = version.clone()),
            &format!("version = {version}"),
        );
    }
    offered.is_as_before();

    // As many steps as are believed can be counted on.
    offered.offer(&with_text(&good, |text| text["steps"] = (u64::MAX / 2).into())).unwrap();
    offered.training.opt.backward_step(&offered.training.model.loss(0)).unwrap();
    assert_eq!(offered.training.opt.steps(), u64::MAX / 2 + 1);
}

#[test]
fn progress_that_no_variable_has_made_is_refused() {
    let mut offered = Offered::new();
    let good = offered.good.clone();
    let steps = |steps: Value| with_text(&good, |text| text["progress"]["first"]["steps"] = steps);
    for wrong in [
        json!(-1),
        json!(i32::MIN),
        json!(1_u64 << 31),
        json!(u64::MAX),
        json!(1.5),
        json!("7"),
        json!(null),
        json!([7]),
    ] {
        offered.is_no_checkpoint(&steps(wrong.clone()), &format!("steps = {wrong}"));
    }
    for wrong in [json!(null), json!([]), json!([1, 2]), json!({}), json!(7)] {
        let file = with_text(&good, |text| text["progress"]["first"] = wrong.clone());
        offered.is_no_checkpoint(&file, &format!("first = {wrong}"));
    }
    let progress = |change: fn(&mut serde_json::Map<String, Value>)| {
        with_text(&good, |text| change(text["progress"].as_object_mut().unwrap()))
    };
    offered.does_not_fit(&progress(|progress| progress.clear()), "no progress");
    offered.does_not_fit(&progress(|progress| drop(progress.remove("first"))), "no progress of one");
    for name in ["ghost", "", "integers", "first "] {
        let file = with_text(&good, |text| text["progress"][name] = json!({"steps": 7}));
        offered.does_not_fit(&file, &format!("progress of `{name}`"));
    }
    for state in [json!([]), json!(["m"]), json!(["v", "m"]), json!(["m", "v", "v"]), json!(["m", "v", "largest_v"])] {
        offered.does_not_fit(&with_text(&good, |text| text["state"] = state.clone()), &format!("state = {state}"));
    }
    offered.is_as_before();

    // As many as can be counted: the next step is a step.
    offered.offer(&steps(i32::MAX.into())).unwrap();
    offered.training.opt.backward_step(&offered.training.model.loss(0)).unwrap();
    assert!(crate::models::flat(&offered.training.model.first).iter().all(|w| w.is_finite()));
}

#[test]
fn sums_that_no_variable_has_are_refused() {
    fn each<O: Saved>(training: Training<O>, sums: &[&str]) {
        let folder = folder();
        let path = folder.path().join("run.safetensors");
        let mut offered = { training }.after_steps(folder, path);
        let good = offered.good.clone();
        for sum in sums {
            for text in NO_NUMBERS {
                let file = with_text(&good, |contents| contents["progress"]["second"][sum] = text.into());
                offered.is_no_checkpoint(&file, &format!("{sum} = {text}"));
            }
            let file = with_text(&good, |contents| contents["progress"]["second"][sum] = 1.into());
            offered.is_no_checkpoint(&file, &format!("{sum} without quotes"));
        }
        offered.is_as_before();
    }
    each(Training::<ProxSgd>::new(DType::F32, 1, momentum), &["total_weight"]);
    each(Training::<FtrlProximal>::new(DType::F32, 1, ParamsFtrl::new), &["lambda", "l2", "element", "inverse_lr"]);
}

impl<O: Saved> Training<O> {
    /// Takes three steps and saves them.
    fn after_steps(mut self, folder: TempDir, path: PathBuf) -> Offered<O> {
        self.steps(3);
        self.opt.save(&path, &self.varmap).unwrap();
        Offered::of(folder, path, self)
    }
}

#[test]
fn declarations_that_are_no_declarations_are_refused() {
    let mut offered = Offered::new();
    let good = offered.good.clone();
    let declared = |change: fn(&mut Value)| with_text(&good, |text| change(&mut text["declarations"]["first"]));
    offered.is_no_checkpoint(&declared(|first| first["rule"] = 1.into()), "a rule that is a number");
    offered.is_no_checkpoint(&declared(|first| first["decay"] = json!(0.0)), "a decay without quotes");
    offered.is_no_checkpoint(&declared(|first| first["more"] = 1.into()), "a key of another version");
    offered.is_no_checkpoint(&declared(|first| drop(first.as_object_mut().unwrap().remove("rule"))), "no rule");
    for changed in [
        declared(|first| first["rule"] = "\n\0".into()),
        declared(|first| first["decay"] = "NaN".into()),
        with_text(&good, |text| text["declarations"] = json!({})),
        with_text(&good, |text| text["hyperparameters"] = json!({})),
        with_text(&good, |text| text["hyperparameters"]["\n"] = "".into()),
    ] {
        let error = offered.refuses(&changed, "other declarations");
        assert!(matches!(error, Error::ChangedDeclarations { .. }), "{error}");
    }
    offered.is_as_before();
}

#[test]
fn what_is_refused_is_refused_where_other_declarations_are_accepted_too() {
    let mut offered = Offered::new();
    let good = offered.good.clone();
    let other = |text: &mut Value| text["hyperparameters"]["beta1"] = "0.8".into();
    let files = [
        (good[..good.len() - 1].to_vec(), "one byte less"),
        (with_text(&good, |text| (other(text), text["steps"] = u64::MAX.into()).1), "too many steps"),
        (with_text(&good, |text| (other(text), text["scale"] = "NaN".into()).1), "a scale that is no number"),
        (
            with_text(&good, |text| (other(text), text["progress"]["first"]["steps"] = (-1).into()).1),
            "negative progress",
        ),
        (
            with_text(&good, |text| (other(text), text["progress"]["ghost"] = json!({"steps": 1})).1),
            "progress of nothing",
        ),
        (with_header(&good, |header| header["first"]["dtype"] = "I32".into()), "another dtype"),
        // The one that is no matter of the file: the program's declarations do not go with it.
        (with_text(&good, |text| (other(text), text["learning_rate"] = "1000".into()).1), "too large a step"),
    ];
    for (file, what) in files {
        fs::write(&offered.path, file).unwrap();
        let Training { opt, varmap, .. } = &mut offered.training;
        assert!(Checkpoint::load_with(&offered.path, opt, varmap, Declarations::Accept).is_err(), "{what}");
        offered.is_as_before();
    }
}

#[test]
fn training_goes_on_after_refused_files_as_if_nothing_had_been() {
    let (mut offered, mut other) = (Offered::new(), Offered::new());
    let good = offered.good.clone();
    offered.is_no_checkpoint(&good[..good.len() - 1], "one byte less");
    offered.does_not_fit(&with_header(&good, |header| header["second"]["shape"] = json!([4, 5])), "second, transposed");
    offered.is_no_checkpoint(&with_text(&good, |text| text["scale"] = "1e308".into()), "a scale out of range");
    offered.training.steps(3);
    other.training.steps(3);
    assert!(offered.training.bytes(&offered.folder) == other.training.bytes(&other.folder));
}

#[test]
fn a_file_as_large_as_it_says_is_refused_before_its_data_are_read() {
    let mut offered = Offered::new();
    let (good, path) = (offered.good.clone(), offered.path.clone());
    let end = (good.len() - header_of(&good).0) as u64;
    let size = 1_u64 << 40;
    for name in ["huge", "l1.state/first/huge"] {
        let file = with_header(&good, |header| {
            header[name] = json!({"dtype": "U8", "shape": [size], "data_offsets": [end, end + size]})
        });
        fs::write(&path, &file).unwrap();
        // A hole, which takes no room on the disk. Not every file system has holes of this size.
        if File::options().write(true).open(&path).unwrap().set_len(file.len() as u64 + size).is_err() {
            continue;
        }
        let error = offered.training.opt.load(&path, &offered.training.varmap).unwrap_err();
        assert!(matches!(error, Error::CheckpointMismatch { .. }), "{error}");
    }
    offered.is_as_before();
}

#[cfg(unix)]
#[test]
fn what_is_no_file_is_refused_or_read_to_its_end() {
    use std::{io::Write, process::Command, thread};
    let mut offered = Offered::new();
    let Training { opt, varmap, .. } = &mut offered.training;
    let error = opt.load(offered.folder.path(), varmap).unwrap_err();
    assert!(matches!(error, Error::CheckpointIo { action: "read", .. }), "{error}");
    let error = opt.load("/dev/null".as_ref(), varmap).unwrap_err();
    assert!(matches!(error, Error::NotACheckpoint { .. }), "{error}");

    let pipe = offered.folder.path().join("pipe");
    if !Command::new("mkfifo").arg(&pipe).status().is_ok_and(|status| status.success()) {
        return;
    }
    // Loads what is written into the pipe, and returns how much the other end got rid of.
    let mut load = |bytes: Vec<u8>| {
        let writer = pipe.clone();
        let writer = thread::spawn(move || {
            let mut writer = File::options().write(true).open(writer).unwrap();
            bytes.chunks(1 << 16).take_while(|chunk| writer.write_all(chunk).is_ok()).map(<[u8]>::len).sum::<usize>()
        });
        let loaded = opt.load(&pipe, varmap);
        (loaded, writer.join().unwrap())
    };
    let good = offered.good.clone();
    assert!(load(good.clone()).0.is_ok());
    for bytes in [good[..good.len() - 1].to_vec(), [&good[..], &[0]].concat()] {
        let error = load(bytes).0.unwrap_err();
        assert!(matches!(error, Error::NotACheckpoint { .. }), "{error}");
    }
    // Nothing but zeros, as of a device that has no end.
    let (loaded, read) = load(vec![0; 1 << 26]);
    assert!(matches!(loaded, Err(Error::NotACheckpoint { .. })));
    assert!(read < 1 << 21, "{read} bytes were taken");
    offered.is_as_before();
}
