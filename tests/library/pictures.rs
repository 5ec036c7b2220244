//! Pictures: what is on them and where, the same bytes twice, and results that there is nothing to draw of.
//!
//! `PICTURES=folder cargo test -p tests --test library pictures` writes them there, to be looked at.

use std::{collections::BTreeSet, env, fs, path::Path as File, sync::LazyLock};

use candle_core::{DType, Tensor, Var};
use candle_nn::{Linear, Module, Optimizer, loss};
use l1_core::{
    CrossValidated, CrossValidation, Error, Fista, Grouping, History, ParamsFista, ParamsProxAdamW, Path, PathRun,
    Place, ProxAdamW, Regularized, Rule, StabilitySelected, StabilitySelection, Visitor,
    plot::{
        CoefficientPathOptions, CrossValidationOptions, StabilityOptions, Tiles, TrainingOptions, WeightMapOptions,
        coefficient_path, cross_validation, stability, training, weight_map,
    },
};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use tests::device;

use crate::models::{Single, flat};

/// Shows a picture to whoever asked for it.
fn shown(name: &str, svg: String) -> String {
    if let Ok(folder) = env::var("PICTURES") {
        fs::create_dir_all(&folder).unwrap();
        fs::write(File::new(&folder).join(format!("{name}.svg")), &svg).unwrap();
    }
    svg
}

/// One element of an SVG: its name, its attributes, and the text in it.
#[derive(Debug)]
struct Element {
    name: String,
    attributes: Vec<(String, String)>,
    text: String,
}

impl Element {
    fn get(&self, name: &str) -> &str {
        &self.attributes.iter().find(|(known, _)| known == name).unwrap_or_else(|| panic!("{self:?}: no {name}")).1
    }

    fn number(&self, name: &str) -> f64 {
        self.get(name).parse().unwrap()
    }

    fn points(&self) -> Vec<(f64, f64)> {
        let point = |point: &str| {
            let (x, y) = point.split_once(',').unwrap();
            (x.parse().unwrap(), y.parse().unwrap())
        };
        self.get("points").split_whitespace().map(point).collect()
    }
}

/// Reads an SVG as strictly as XML asks: every tag closed in its order, every attribute in quotes, no bare `<`, `&` or control character.
fn elements(svg: &str) -> Vec<Element> {
    assert!(svg.starts_with("<svg ") && svg.contains("xmlns=\"http://www.w3.org/2000/svg\""));
    assert!(!svg.chars().any(|c| c.is_control() && c != '\n'), "a control character");
    let (mut elements, mut open) = (Vec::<Element>::new(), Vec::<(String, usize)>::new());
    let mut rest = svg;
    while let Some(start) = rest.find('<') {
        let text = &rest[..start];
        if let Some((_, index)) = open.last() {
            elements[*index].text.push_str(&unescaped(text));
        } else {
            assert!(text.trim().is_empty(), "text outside: {text}");
        }
        let end = start + rest[start..].find('>').expect("a tag ends");
        let tag = &rest[start + 1..end];
        rest = &rest[end + 1..];
        if let Some(name) = tag.strip_prefix('/') {
            assert_eq!(open.pop().expect("it was opened").0, name);
            continue;
        }
        let closed = tag.ends_with('/');
        let tag = tag.trim_end_matches('/');
        let (name, mut given) = tag.split_once(' ').unwrap_or((tag, ""));
        let mut attributes = Vec::new();
        while let Some((name, behind)) = given.trim_start().split_once("=\"") {
            let (value, behind) = behind.split_once('"').expect("an attribute ends");
            attributes.push((name.to_owned(), unescaped(value)));
            given = behind;
        }
        assert!(given.trim().is_empty(), "<{tag}>");
        if !closed {
            open.push((name.to_owned(), elements.len()));
        }
        elements.push(Element { name: name.to_owned(), attributes, text: String::new() });
    }
    assert!(open.is_empty() && rest.trim().is_empty(), "{open:?} {rest}");
    elements
}

fn unescaped(text: &str) -> String {
    let mut plain = String::new();
    let mut parts = text.split('&');
    plain.push_str(parts.next().unwrap());
    for part in parts {
        let (entity, rest) = part.split_once(';').expect("& begins an entity");
        plain.push(match entity {
            "lt" => '<',
            "gt" => '>',
            "amp" => '&',
            "quot" => '"',
            "apos" | "#39" => '\'',
            _ => panic!("&{entity};"),
        });
        plain.push_str(rest);
    }
    plain
}

/// A picture that was read.
struct Picture(Vec<Element>);

impl Picture {
    fn read(svg: &str) -> Self {
        Self(elements(svg))
    }

    fn texts(&self) -> Vec<&str> {
        self.0.iter().filter(|element| element.name == "text").map(|element| element.text.trim()).collect()
    }

    fn has(&self, text: &str) -> bool {
        self.texts().iter().any(|found| found.contains(text))
    }

    fn of_text(&self, text: &str) -> &Element {
        let found = self.0.iter().find(|element| element.name == "text" && element.text.trim() == text);
        found.unwrap_or_else(|| panic!("no `{text}` among {:?}", self.texts()))
    }

    /// The longest line of a colour.
    fn line(&self, colour: &str) -> Vec<(f64, f64)> {
        let lines = self.0.iter().filter(|element| element.name == "polyline" && element.get("stroke") == colour);
        lines.map(Element::points).max_by_key(Vec::len).expect("a line of this colour")
    }

    /// Texts lie inside the picture, and none upon another.
    fn is_tidy(&self) {
        let (width, height) = (self.0[0].number("width"), self.0[0].number("height"));
        let boxes: Vec<_> = self
            .0
            .iter()
            .filter(|element| element.name == "text")
            .map(|text| {
                let (x, y, size) = (text.number("x"), text.number("y"), text.number("font-size"));
                // A letter of a usual font is half as wide as it is high.
                let long = 0.5 * size * text.text.trim().chars().count() as f64;
                let left = match text.get("text-anchor") {
                    "start" => x,
                    "middle" => x - 0.5 * long,
                    _ => x - long,
                };
                let upright = text.attributes.iter().any(|(name, _)| name == "transform");
                // The baseline lies somewhat above y where `dy` moves it; half a letter is enough to tell lines apart.
                let of = if upright {
                    (x - 0.3 * size, y - 0.5 * long, x + 0.3 * size, y + 0.5 * long)
                } else {
                    (left, y - 0.3 * size, left + long, y + 0.3 * size)
                };
                (text.text.trim().to_owned(), of)
            })
            .collect();
        for (index, (text, (left, top, right, bottom))) in boxes.iter().enumerate() {
            assert!(*left >= 0.0 && *right <= width && *top >= 0.0 && *bottom <= height, "`{text}` leaves the picture");
            for (other, (l, t, r, b)) in &boxes[..index] {
                let overlap = left < r && l < right && top < b && t < bottom;
                assert!(!overlap, "`{text}` lies upon `{other}`");
            }
        }
    }
}

const BLUE: &str = "#0072B2";
const VERMILLION: &str = "#D55E00";

fn data(file: &str, name: &str) -> Tensor {
    let path = File::new(env!("CARGO_MANIFEST_DIR")).join("../examples/data").join(file);
    candle_core::safetensors::load(path, &device()).unwrap().remove(name).unwrap()
}

/// Linear regression of the diabetes data, λ = 1 on its weights.
struct Diabetes {
    fc: Linear,
    vars: Vec<Var>,
    x: Tensor,
    y: Tensor,
}

const FEATURES: [&str; 10] = ["age", "sex", "bmi", "bp", "s1", "s2", "s3", "s4", "s5", "s6"];

impl Regularized for Diabetes {
    fn visit(&self, visitor: &mut Visitor<'_>) -> l1_core::Result<()> {
        visitor.field("fc", Rule::l1(1.0), &self.fc)
    }
}

impl Diabetes {
    fn of(x: Tensor, y: Tensor) -> Self {
        let vars: Vec<_> = [vec![1, 10], vec![1]].map(|dims| Var::zeros(dims, DType::F64, &device()).unwrap()).into();
        let fc = Linear::new(vars[0].as_tensor().clone(), Some(vars[1].as_tensor().clone()));
        Self { fc, vars, x, y }
    }

    /// Measurements and progress, each with mean 0 and standard deviation 1.
    fn data() -> (Tensor, Tensor) {
        let standard = |t: Tensor| {
            let t = t.broadcast_sub(&t.mean_keepdim(0).unwrap()).unwrap();
            t.broadcast_div(&t.sqr().unwrap().mean_keepdim(0).unwrap().sqrt().unwrap()).unwrap()
        };
        let (x, y) = (data("diabetes.safetensors", "x"), data("diabetes.safetensors", "y"));
        (standard(x), standard(y.unsqueeze(1).unwrap()))
    }

    fn loss_of(&self, x: &Tensor, y: &Tensor) -> candle_core::Result<Tensor> {
        loss::mse(&self.fc.forward(x)?, y)
    }

    fn path(&self, path: &Path, held_out: Option<(&Tensor, &Tensor)>) -> l1_core::Result<PathRun> {
        let loss = || self.loss_of(&self.x, &self.y);
        path.run(&self.regularizer()?, &self.vars, loss, |fit| {
            let params = ParamsFista { lr: 0.2, ..ParamsFista::new(fit.regularizer().clone(), loss) };
            let solution = Fista::new(self.vars.clone(), params)?.minimize(1e-9, 5000)?;
            assert!(solution.converged, "{solution}");
            if let Some((x, y)) = held_out {
                fit.held_out(self.loss_of(x, y)?.to_scalar()?);
            }
            Ok(())
        })
    }
}

static RUN: LazyLock<PathRun> = LazyLock::new(|| {
    let (x, y) = Diabetes::data();
    Diabetes::of(x, y).path(&Path::descending(40, 1e-3), None).unwrap()
});

fn validated() -> CrossValidated {
    let (x, y) = Diabetes::data();
    let grid = Path::grid(RUN.scales());
    let fit = |fold: &l1_core::Fold| {
        let model = Diabetes::of(fold.train(&x)?, fold.train(&y)?);
        model.path(&grid, Some((&fold.test(&x)?, &fold.test(&y)?)))
    };
    CrossValidation::new(5).seed(1).run(442, fit).unwrap()
}

fn selected() -> StabilitySelected {
    let (x, y) = Diabetes::data();
    let scales: Vec<_> = RUN.scales().into_iter().take(20).collect();
    let grid = Path::grid(scales.clone());
    let selection = StabilitySelection::pairs(10).seed(1).scales(scales).names(FEATURES);
    let fit = |half: &l1_core::Subsample| {
        let run = Diabetes::of(half.select(&x)?, half.select(&y)?).path(&grid, None)?;
        let coefficients = run.coefficients("fc.weight")?;
        let at = |point: usize| {
            coefficients.lines.iter().filter(|line| line.values[point] != 0.0).map(|line| line.entry).collect()
        };
        Ok((0..run.points.len()).map(at).collect())
    };
    selection.run(442, 10, fit).unwrap()
}

/// Digits of 8 × 8 pixels, 24 hidden neurons.
struct Digits {
    fc1: Linear,
    fc2: Linear,
}

impl Regularized for Digits {
    fn visit(&self, visitor: &mut Visitor<'_>) -> l1_core::Result<()> {
        visitor.field("fc1", Rule::l1(5e-4).group(Grouping::Output).element(3e-3), &self.fc1)?;
        visitor.field("fc2", Rule::l1(3e-3), &self.fc2)
    }
}

/// The weights of its first layer, and how it was trained.
fn digits() -> (Tensor, History) {
    let mut rng = StdRng::seed_from_u64(1);
    let mut var = |dims: (usize, usize), scale: f64| {
        let values: Vec<_> = (0..dims.0 * dims.1).map(|_| rng.random_range(-scale..scale) as f32).collect();
        Var::from_tensor(&Tensor::from_vec(values, dims, &device()).unwrap()).unwrap()
    };
    let vars = vec![var((24, 64), 0.2), var((1, 24), 0.0001), var((10, 24), 0.3), var((1, 10), 0.0001)];
    let layer = |weight: &Var, bias: &Var| Linear::new(weight.as_tensor().clone(), Some(bias.as_tensor().clone()));
    let net = Digits { fc1: layer(&vars[0], &vars[1]), fc2: layer(&vars[2], &vars[3]) };
    let images = (data("digits.safetensors", "images").to_dtype(DType::F32).unwrap() / 16.0).unwrap();
    let labels = data("digits.safetensors", "labels");
    let regularizer = net.regularizer().unwrap();
    let mut history = History::new(&regularizer).unwrap().every(5);
    let mut opt =
        ProxAdamW::new(vars.clone(), ParamsProxAdamW { lr: 0.01, ..ParamsProxAdamW::new(regularizer) }).unwrap();
    for step in 0..400 {
        let start = 32 * (step % 40);
        let (x, y) = (images.narrow(0, start, 32).unwrap(), labels.narrow(0, start, 32).unwrap());
        let hidden = net.fc1.forward(&x).unwrap().relu().unwrap();
        let loss = loss::cross_entropy(&net.fc2.forward(&hidden).unwrap(), &y).unwrap();
        history.step(&mut opt, &loss.backward().unwrap(), &loss).unwrap();
    }
    (vars[0].as_tensor().clone(), history)
}

fn feature(place: &Place) -> String {
    FEATURES[place.ranges()[1].start].to_owned()
}

mod coefficients {
    use super::*;

    fn options() -> CoefficientPathOptions<'static> {
        CoefficientPathOptions::new().strongest(6).name(&feature).marks(&[(12, "a choice")])
    }

    #[test]
    fn it_names_the_strongest_and_says_what_its_axes_are() {
        let svg = shown("coefficient_path", coefficient_path(&RUN, "fc.weight", &options()).unwrap());
        let picture = Picture::read(&svg);
        picture.is_tidy();
        for text in ["bmi", "s1", "s5", "a choice", "weight", "nonzero weights", "λ (logarithmic, strong → weak)"] {
            assert!(picture.has(text), "{text}: {:?}", picture.texts());
        }
        assert!(!picture.has("age"), "it is not among the six strongest");
        assert_eq!(svg, coefficient_path(&RUN, "fc.weight", &options()).unwrap(), "the same bytes twice");
    }

    #[test]
    fn a_point_is_where_the_numbers_beside_the_axes_say() {
        let picture = Picture::read(&coefficient_path(&RUN, "fc.weight", &options()).unwrap());
        let coefficients = RUN.coefficients("fc.weight").unwrap();
        let strongest = coefficients.lines.iter().max_by(|a, b| a.largest().total_cmp(&b.largest())).unwrap();
        let line = picture.line(BLUE);
        assert_eq!(line.len(), RUN.points.len());
        let x_of = |text: &str| picture.of_text(text).number("x");
        let (x1, x2) = (x_of("1"), x_of("0.1"));
        // The line through 0.2 of the left axis: from its name, whose middle it is.
        let y_of = |number: f64| {
            let text = format!("{number:.1}").replace('-', "−");
            let texts =
                picture.0.iter().filter(|e| e.name == "text" && e.text.trim() == text && e.get("text-anchor") == "end");
            texts.map(|text| text.number("y")).next().unwrap()
        };
        let (y1, y2) = (y_of(0.2), y_of(-0.2));
        for (point, at) in RUN.points.iter().zip(&line) {
            let x = x1 + (x2 - x1) * -point.scale.log10();
            let y = y1 + (y2 - y1) * (0.2 - strongest.values[point.index]) / 0.4;
            // Three roundings to whole pixels, stretched up to four times beyond the two numbers.
            assert!((at.0 - x).abs() <= 6.0 && (at.1 - y).abs() <= 6.0, "{at:?} is not ({x}, {y})");
        }
    }

    #[test]
    fn many_names_do_not_lie_upon_each_other() {
        let options = options().strongest(1000);
        Picture::read(&coefficient_path(&RUN, "fc.weight", &options).unwrap()).is_tidy();
    }

    #[test]
    fn words_of_a_users_own_do_no_harm() {
        let name = |_: &Place| "<b>\"&\u{0}\n".repeat(20);
        let options = CoefficientPathOptions::new().title("</svg> & 'more'").name(&name);
        let picture = Picture::read(&coefficient_path(&RUN, "fc.weight", &options).unwrap());
        picture.is_tidy();
        assert!(picture.has("</svg> & 'more'"));
    }

    #[test]
    fn one_point_no_weight_and_lambda_0_are_drawn_too() {
        let (x, y) = Diabetes::data();
        for (name, scales) in [("one", vec![0.1]), ("empty", vec![50.0, 100.0]), ("zero", vec![0.0, 0.01, 0.1, 1.0])] {
            let model = Diabetes::of(x.clone(), y.clone());
            let path = if name == "zero" { Path::ascending(0.01, 10.0).max_points(6) } else { Path::grid(scales) };
            let run = model.path(&path, None).unwrap();
            let svg = shown(
                &format!("coefficient_path_{name}"),
                coefficient_path(&run, "fc.weight", &CoefficientPathOptions::default()).unwrap(),
            );
            let picture = Picture::read(&svg);
            picture.is_tidy();
            assert_eq!(run.points[0].scale == 0.0, name == "zero");
            assert_eq!(picture.has("every weight is 0 at every point"), name == "empty");
        }
    }

    #[test]
    fn what_cannot_be_drawn_is_an_error() {
        let options = CoefficientPathOptions::default();
        let error = coefficient_path(&RUN, "fc.wieght", &options).unwrap_err();
        assert!(matches!(&error, Error::UnknownField { nearest, .. } if nearest[0] == "fc.weight"), "{error}");
        let error = coefficient_path(&RUN, "fc.weight", &options.clone().marks(&[(40, "")])).unwrap_err();
        assert!(matches!(error, Error::NoSuchPoint { index: 40, points: 40 }), "{error}");
        let mut empty = RUN.clone();
        empty.points.clear();
        let error = coefficient_path(&empty, "fc.weight", &options).unwrap_err();
        assert!(matches!(error, Error::Picture { .. }), "{error}");
    }

    #[test]
    fn numbers_that_are_none_interrupt_the_line() {
        let mut run = RUN.clone();
        for (index, point) in run.points.iter_mut().enumerate() {
            point.scale = [f64::NAN, f64::INFINITY, -1.0, 0.0, 1e-320, 1e308][index % 6];
            point.fields.clear();
        }
        Picture::read(&coefficient_path(&run, "fc.weight", &CoefficientPathOptions::default()).unwrap());
    }
}

mod scores {
    use super::*;

    #[test]
    fn both_choices_are_marked_and_said() {
        let validated = validated();
        let options = CrossValidationOptions::default();
        let svg = shown("cross_validation", cross_validation(&validated, &options).unwrap());
        let picture = Picture::read(&svg);
        picture.is_tidy();
        for text in [
            "lowest mean",
            "one standard error",
            "held out",
            "scale of λ (logarithmic, strong → weak)",
            "5 folds",
            "nonzero weights",
        ] {
            assert!(picture.has(text), "{text}: {:?}", picture.texts());
        }
        // The choice of one standard error is the sparser one: to the left.
        let dots = |colour: &str| {
            picture
                .0
                .iter()
                .filter(|e| e.name == "circle" && e.get("fill") == colour)
                .map(|e| e.number("cx"))
                .fold(f64::MAX, f64::min)
        };
        assert!(dots(VERMILLION) < dots(BLUE));
        assert_eq!(svg, cross_validation(&validated, &options).unwrap());
    }

    #[test]
    fn hostile_scores_are_drawn_or_refused() {
        let good = validated();
        let draw = |change: &dyn Fn(&mut CrossValidated)| {
            let mut validated = good.clone();
            change(&mut validated);
            cross_validation(&validated, &CrossValidationOptions::default()).map(|svg| Picture::read(&svg))
        };
        assert!(matches!(draw(&|v| v.points.clear()).map(|_| ()), Err(Error::Picture { .. })));
        draw(&|v| v.points.truncate(1)).unwrap().is_tidy();
        draw(&|v| (v.best, v.one_standard_error) = (usize::MAX, 7)).unwrap().is_tidy();
        draw(&|v| v.points.iter_mut().for_each(|point| point.mean = f64::NAN)).unwrap().is_tidy();
        draw(&|v| v.points.iter_mut().for_each(|point| (point.mean, point.standard_error) = (1.0, 0.0)))
            .unwrap()
            .is_tidy();
        draw(&|v| v.points[3].standard_error = f64::INFINITY).unwrap().is_tidy();
        draw(&|v| v.points[3].mean = 1e308).unwrap().is_tidy();
        draw(&|v| v.points.iter_mut().for_each(|point| (point.mean, point.nonzeros) = (-1e-310, 1e9)))
            .unwrap()
            .is_tidy();
        draw(&|v| v.points.iter_mut().for_each(|point| point.scale = 0.0)).unwrap().is_tidy();
    }

    #[test]
    fn the_same_choice_twice_shows_both() {
        let mut validated = validated();
        validated.one_standard_error = validated.best;
        let svg =
            shown("cross_validation_same", cross_validation(&validated, &CrossValidationOptions::default()).unwrap());
        let picture = Picture::read(&svg);
        for colour in [BLUE, VERMILLION] {
            assert!(picture.0.iter().any(|e| e.name == "circle" && e.get("fill") == colour));
        }
    }
}

mod selection {
    use super::*;

    #[test]
    fn stable_features_are_named_and_the_threshold_is_drawn() {
        let selected = selected();
        let svg = shown("stability", stability(&selected, &StabilityOptions::default()).unwrap());
        let picture = Picture::read(&svg);
        picture.is_tidy();
        assert!(picture.has("threshold 0.75") && picture.has("share of subsamples that select it"));
        for (feature, name) in FEATURES.iter().enumerate() {
            assert_eq!(picture.texts().contains(name), selected.selected.contains(&feature), "{name}");
        }
        assert_eq!(svg, stability(&selected, &StabilityOptions::default()).unwrap());
    }

    #[test]
    fn hostile_proportions_are_drawn_or_refused() {
        let good = selected();
        let draw = |change: &dyn Fn(&mut StabilitySelected)| {
            let mut selected = good.clone();
            change(&mut selected);
            stability(&selected, &StabilityOptions::default()).map(|svg| Picture::read(&svg))
        };
        let empty: [fn(&mut StabilitySelected); 3] = [
            |selected| selected.proportions.clear(),
            |selected| selected.proportions[0].clear(),
            |selected| selected.proportions[2].truncate(3),
        ];
        for empty in empty {
            assert!(matches!(draw(&empty).map(|_| ()), Err(Error::Picture { .. })));
        }
        let one = |s: &mut StabilitySelected| {
            s.proportions.truncate(1);
            s.scales.as_mut().unwrap().truncate(1);
        };
        draw(&one).unwrap().is_tidy();
        let error = draw(&|s| s.scales.as_mut().unwrap().truncate(1)).map(|_| ()).unwrap_err();
        assert!(error.to_string().contains("scales"), "{error}");
        let numbered = draw(&|s| s.scales = None).unwrap();
        numbered.is_tidy();
        assert!(numbered.has("index of the point"), "{:?}", numbered.texts());
        draw(&|s| s.selected = vec![3, 99]).unwrap().is_tidy();
        draw(&|s| s.selected.clear()).unwrap().is_tidy();
        draw(&|s| s.names = Some(vec![])).unwrap().is_tidy();
        draw(&|s| (s.proportions[3][2], s.threshold) = (f64::NAN, f64::NAN)).unwrap().is_tidy();
    }

    #[test]
    fn more_names_than_there_is_room_for_are_counted() {
        let selection = StabilitySelection::pairs(2).scales([1.0, 0.1]);
        let selected = selection.run(20, 60, |_| Ok(vec![vec![0], (0..60).collect()])).unwrap();
        let picture = Picture::read(&stability(&selected, &StabilityOptions::default()).unwrap());
        picture.is_tidy();
        let named =
            picture.texts().into_iter().filter(|text| text.starts_with("feature ")).collect::<BTreeSet<_>>().len();
        // 18 looks, and the threshold's.
        assert!(
            (11..=18).contains(&named) && picture.has(&format!("and {} more", 60 - named)),
            "{:?}",
            picture.texts()
        );
    }
}

mod trainings {
    use super::*;

    #[test]
    fn loss_and_zeros_share_the_steps() {
        let (_, history) = digits();
        let svg = shown("training", training(&history, &TrainingOptions::default()).unwrap());
        let picture = Picture::read(&svg);
        picture.is_tidy();
        for text in ["step", "zeros (% of a field)", "loss", "penalty Ω(w)", "fc1.weight", "fc2.weight", "all of them"]
        {
            assert!(picture.has(text), "{text}: {:?}", picture.texts());
        }
        // The first field's line ends at its share of zeros, between the lines of 0 and 100 %.
        let line = picture.line(BLUE);
        let (x0, x1) = (line[0].0, line.last().unwrap().0);
        let of_loss = picture.line(VERMILLION);
        assert_eq!((of_loss[0].0, of_loss.last().unwrap().0), (x0, x1), "both panels have the same steps");
        assert_eq!(svg, training(&history, &TrainingOptions::default()).unwrap());
    }

    #[test]
    fn hostile_histories_are_drawn_or_refused() {
        let model = Single::new(&[1.0, 2.0], DType::F64, Rule::l1(0.1));
        let history = || History::new(&model.regularizer().unwrap()).unwrap();
        let error = training(&history(), &TrainingOptions::default()).unwrap_err();
        assert!(matches!(error, Error::Picture { .. }), "{error}");
        for losses in [
            vec![1.0],
            vec![f64::NAN; 3],
            vec![f64::INFINITY, -1.0, 0.0],
            vec![1e308, 1e-308, 1.0],
            vec![0.0; 5],
            vec![2.0; 4],
        ] {
            let mut history = history();
            for (index, loss) in losses.iter().enumerate() {
                history.record(1 + index as u64, *loss).unwrap();
            }
            Picture::read(&training(&history, &TrainingOptions::default()).unwrap()).is_tidy();
        }
        let mut history = history();
        history.record(u64::MAX / 2, 1.0).unwrap();
        history.record(u64::MAX - 1, 1.0).unwrap();
        Picture::read(&training(&history, &TrainingOptions::default()).unwrap()).is_tidy();
    }

    #[test]
    fn of_many_fields_the_largest_are_named() {
        let model = crate::models::Many::new(&(1..=40).collect::<Vec<_>>(), DType::F64);
        let mut history = History::new(&model.regularizer().unwrap()).unwrap();
        for step in 1..=3 {
            history.record(step, 1.0).unwrap();
        }
        let picture = Picture::read(&training(&history, &TrainingOptions::default()).unwrap());
        picture.is_tidy();
        assert!(picture.has("weights.39") && !picture.has("weights.0"));
    }
}

mod weights {
    use super::*;

    #[test]
    fn zeros_are_white_and_every_other_number_has_a_tint() {
        let w = Tensor::new(&[[1f32, -1.0, 0.0, 1e-30], [0.0, 0.0, 0.0, 0.0]], &device()).unwrap();
        let svg = weight_map(&w, (2, 2), &WeightMapOptions::new().names(&["one", "two"])).unwrap();
        let picture = Picture::read(&svg);
        picture.is_tidy();
        // Squares of the tiles: those above the measure.
        let measure = picture.of_text("exactly 0").number("y") - 60.0;
        let squares: Vec<_> = picture
            .0
            .iter()
            .filter(|e| e.name == "rect" && e.get("fill") != "none" && e.number("y") < measure && e.number("y") > 0.0)
            .collect();
        let fills: Vec<_> = squares.iter().map(|square| square.get("fill")).collect();
        assert_eq!(fills, ["#5C2400", "#002850", "#FFE2C4"], "1, −1 and 1e-30; five zeros are paper");
        assert!(picture.has("5 exactly 0") && picture.has("1 of 2 neurons dead") && picture.has("one"));
    }

    #[test]
    fn a_trained_layer_shows_its_neurons_and_its_pixels() {
        let (weight, _) = digits();
        for (name, tiles) in [("weight_map", Tiles::Neurons), ("weight_map_pixels", Tiles::PixelNorms)] {
            let options = WeightMapOptions::new().tiles(tiles);
            let svg = shown(name, weight_map(&weight, (8, 8), &options).unwrap());
            Picture::read(&svg).is_tidy();
            assert_eq!(svg, weight_map(&weight, (8, 8), &options).unwrap());
        }
        assert!(flat(&weight).contains(&0.0));
    }

    #[test]
    fn hostile_weights_are_drawn_or_refused() {
        let tensor = |values: &[f64], dims: &[usize]| Tensor::from_vec(values.to_vec(), dims, &device()).unwrap();
        let options = WeightMapOptions::default();
        for tiles in [Tiles::Neurons, Tiles::PixelNorms] {
            let options = options.tiles(tiles);
            for values in [[0.0; 4], [f64::NAN, f64::INFINITY, -1.0, 0.0], [1e308, -1e308, 5e-324, 1e-300]] {
                for (dims, sides) in
                    [(vec![1, 4], (2, 2)), (vec![1, 2, 2], (2, 2)), (vec![4, 1], (1, 1)), (vec![1, 1, 4], (4, 1))]
                {
                    Picture::read(&weight_map(&tensor(&values, &dims), sides, &options).unwrap()).is_tidy();
                }
            }
        }
        let w = tensor(&[1.0; 12], &[3, 4]);
        for (weight, sides) in [
            (w.clone(), (3, 4)),
            (w.clone(), (0, 4)),
            (w.clone(), (usize::MAX, 2)),
            (tensor(&[1.0; 4], &[4]), (2, 2)),
            (tensor(&[], &[0, 4]), (2, 2)),
            (tensor(&[1.0], &[]), (1, 1)),
            (Tensor::zeros((1, 600_000), DType::F32, &device()).unwrap(), (600, 1000)),
        ] {
            let error = weight_map(&weight, sides, &options).unwrap_err();
            assert!(matches!(error, Error::Picture { .. }), "{error}");
        }
    }
}
