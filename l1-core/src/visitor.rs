//! The walk over a model: path and inherited rules on the way down, one entry for each tensor found.

use std::fmt;

use candle_core::Tensor;

use crate::{
    Error, Origin, ParamPath, Penalty, Reason, Regularized, Result, Role, RoleName, Rule,
    penalty::{STRENGTH, is_strength},
};

/// Walks a model's fields and notes every tensor with its path, its role and the rule that holds there.
///
/// Implementations of [`Regularized`] call [`field`](Self::field) for a part that is `Regularized` itself and
/// [`param`](Self::param) for a tensor whose role they know.
#[derive(Debug)]
pub struct Visitor<'a> {
    found: &'a mut Found,
    path: String,
    /// Length of the path of the type that the visited field belongs to.
    parent: usize,
    scope: Scope,
}

/// All that a walk has found, in the order of the visit.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub(crate) entries: Vec<Entry>,
    pub(crate) declarations: Vec<Declaration>,
    pub(crate) unvisited: Vec<Unvisited>,
    pub(crate) absent: usize,
    roles_used: usize,
    /// Where each declaration and each `skip` stands, by its number.
    origins: Vec<Origin>,
}

impl Found {
    pub(crate) fn declared<T>(&mut self, value: T, origin: Origin) -> Declared<T> {
        self.origins.push(origin);
        Declared { value, number: self.origins.len() - 1 }
    }

    pub(crate) fn origin(&self, number: usize) -> Option<&Origin> {
        self.origins.get(number)
    }

    /// Whether there was nothing to visit at all.
    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty() && self.unvisited.is_empty() && self.absent == 0
    }
}

/// One tensor at one path.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) path: ParamPath,
    pub(crate) tensor: Tensor,
    pub(crate) role: Role,
    /// What keeps every declaration from it, if anything does.
    pub(crate) closed: Option<Reason>,
    /// The number of the `skip` above it, if that is what does.
    pub(crate) skip: Option<usize>,
    /// The penalty declared there, with every `scale` on the path.
    pub(crate) penalty: Option<Declared<Penalty>>,
    /// The decay declared there; no scale multiplies it.
    pub(crate) decay: Option<Declared<f64>>,
    /// What else the attributes around it say.
    pub(crate) around: Around,
    /// What a forced rule for names has overruled.
    pub(crate) overruled: Overruled,
    /// Whether only a rule for names knows of it, and no model shows it.
    pub(crate) hidden: bool,
}

/// What attributes say of everything below them, whether a penalty is declared there or not.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Around {
    pub(crate) bias: Option<bool>,
    pub(crate) norm: Option<bool>,
    /// The product of all scales on the path.
    pub(crate) scale: f64,
}

impl Around {
    pub(crate) const NOTHING: Self = Self { bias: None, norm: None, scale: 1.0 };
}

/// Which declarations of the model a forced rule for names has overruled.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Overruled {
    pub(crate) penalty: bool,
    pub(crate) decay: bool,
}

/// What a declaration says, and its number.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Declared<T> {
    pub(crate) value: T,
    pub(crate) number: usize,
}

/// A penalty or decay that stands on a field itself and so has to reach something.
#[derive(Debug)]
pub(crate) struct Declaration {
    pub(crate) path: ParamPath,
    pub(crate) what: Declarable,
    pub(crate) number: usize,
    pub(crate) type_name: &'static str,
    /// The entries and unvisited fields below the field.
    pub(crate) entries: std::ops::Range<usize>,
    pub(crate) unvisited: std::ops::Range<usize>,
    /// Whether an empty `Option`, `Vec` or map lies below: there is nothing now, but there may be.
    pub(crate) has_absent: bool,
}

/// What can be declared of a field and reach nothing.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Declarable {
    Penalty(Penalty),
    Decay(f64),
}

impl Declaration {
    /// Whether it is this declaration, and no nearer one, that holds for a tensor.
    pub(crate) fn holds_for(&self, entry: &Entry) -> bool {
        let number = match self.what {
            Declarable::Penalty(_) => entry.penalty.map(|penalty| penalty.number),
            Declarable::Decay(_) => entry.decay.map(|decay| decay.number),
        };
        number == Some(self.number)
    }

    /// Whether a forced rule has taken the declaration's place.
    pub(crate) fn is_overruled_at(&self, entry: &Entry) -> bool {
        match self.what {
            Declarable::Penalty(_) => entry.overruled.penalty,
            Declarable::Decay(_) => entry.overruled.decay,
        }
    }
}

impl fmt::Display for Declarable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Penalty(penalty) => penalty.fmt(f),
            Self::Decay(decay) => write!(f, "decay = {decay}"),
        }
    }
}

/// A field that was not looked into.
#[derive(Clone, Debug)]
pub(crate) struct Unvisited {
    pub(crate) path: ParamPath,
    pub(crate) reason: Reason,
    /// Where the `skip` stands, if it is skipped.
    pub(crate) origin: Option<Origin>,
    pub(crate) around: Around,
    /// Whether rules for names reach all variables in it.
    pub(crate) is_reached: bool,
}

/// What is inherited on the way down.
#[derive(Clone, Copy, Debug)]
struct Scope {
    penalty: Option<Declared<Penalty>>,
    decay: Option<Declared<f64>>,
    around: Around,
    role: Option<RoleName>,
    skip: Option<Declared<Option<&'static str>>>,
}

impl<'a> Visitor<'a> {
    pub(crate) fn new(found: &'a mut Found) -> Self {
        let scope = Scope { penalty: None, decay: None, around: Around::NOTHING, role: None, skip: None };
        Self { found, path: String::new(), parent: 0, scope }
    }

    /// The path of what is being visited.
    #[must_use]
    pub fn path(&self) -> ParamPath {
        ParamPath::from(self.path.as_str())
    }

    /// Visits a field under a rule.
    ///
    /// * `name`: the path segment; it may hold dots.
    ///
    /// # Errors
    /// [`Error::InvalidValue`] when a number of the rule is out of its range, and what the field's own visit returns.
    pub fn field<T: ?Sized + Regularized>(&mut self, name: &str, rule: Rule, value: &T) -> Result<()> {
        self.field_with(name, rule, value, T::visit)
    }

    /// Visits a field under a rule without adding a path segment.
    ///
    /// # Errors
    /// As [`field`](Self::field).
    pub fn flatten<T: ?Sized + Regularized>(&mut self, rule: Rule, value: &T) -> Result<()> {
        self.flatten_with(rule, value, T::visit)
    }

    /// Visits a field of a foreign type by a function that knows its tensors (`#[l1(with = path)]`).
    ///
    /// # Errors
    /// As [`field`](Self::field).
    pub fn field_with<T: ?Sized>(
        &mut self,
        name: &str,
        rule: Rule,
        value: &T,
        with: impl FnOnce(&T, &mut Visitor<'_>) -> Result<()>,
    ) -> Result<()> {
        self.within(name, |visitor| visitor.flatten_with(rule, value, with))
    }

    /// [`field_with`](Self::field_with) without a path segment.
    ///
    /// # Errors
    /// As [`field`](Self::field).
    pub fn flatten_with<T: ?Sized>(
        &mut self,
        rule: Rule,
        value: &T,
        with: impl FnOnce(&T, &mut Visitor<'_>) -> Result<()>,
    ) -> Result<()> {
        let outer = self.scope;
        self.scope = self.scope_under(&rule)?;
        let (entries, unvisited, absent, roles_used) =
            (self.found.entries.len(), self.found.unvisited.len(), self.found.absent, self.found.roles_used);
        let result = with(value, self);
        let own = std::mem::replace(&mut self.scope, outer);
        result?;

        let has_absent = self.found.absent > absent;
        // `lambda = 0` and `decay = 0` take something away.
        let penalty = own.penalty.filter(|declared| rule.penalty_on_field && !declared.value.is_none());
        let decay = own.decay.filter(|declared| rule.decay_on_field && declared.value != 0.0);
        let penalty = penalty.map(|declared| (Declarable::Penalty(declared.value), declared.number));
        let decay = decay.map(|declared| (Declarable::Decay(declared.value), declared.number));
        // Below a `skip` nothing is to be reached.
        for (what, number) in [penalty, decay].into_iter().flatten().filter(|_| own.skip.is_none()) {
            self.found.declarations.push(Declaration {
                path: self.path(),
                what,
                number,
                type_name: std::any::type_name::<T>(),
                entries: entries..self.found.entries.len(),
                unvisited: unvisited..self.found.unvisited.len(),
                has_absent,
            });
        }
        if let Some(role) = rule.role
            && self.found.roles_used == roles_used
            && !has_absent
        {
            return Err(Error::UnusedRole { path: self.path(), role });
        }
        Ok(())
    }

    /// Visits one element of a container: rules and roles of the field hold for it as they are.
    ///
    /// # Errors
    /// As [`field`](Self::field).
    pub fn item<T: ?Sized + Regularized>(&mut self, segment: &str, value: &T) -> Result<()> {
        self.within(segment, |visitor| value.visit(visitor))
    }

    /// Notes that a container is empty: a penalty or decay above it need not reach anything.
    pub fn absent(&mut self) {
        self.found.absent += 1;
    }

    /// Notes a field that is not to be looked into (`#[l1(opaque)]`). It does not fail; it returns what `visit` returns.
    pub fn opaque(&mut self, name: &str) -> Result<()> {
        self.unvisited(name, Reason::Opaque)
    }

    /// Visits a field so that no declaration reaches what is below it (`#[l1(skip)]`); its parameters are listed with this
    /// reason.
    ///
    /// # Errors
    /// What the field's own visit returns.
    pub fn skip<T: ?Sized + Regularized>(&mut self, name: &str, reason: Option<&'static str>, value: &T) -> Result<()> {
        let outer = self.scope;
        // The outermost skip is the one that decided.
        if outer.skip.is_none() {
            let field = self.within(name, |visitor| visitor.path());
            self.scope.skip = Some(self.found.declared(reason, Origin::Field(field)));
        }
        let result = self.field(name, Rule::inherit(), value);
        self.scope = outer;
        result
    }

    /// Notes a skipped field of a type that cannot be visited, by its name. It does not fail; it returns what `visit` returns.
    pub fn skip_unvisited(&mut self, name: &str, reason: Option<&'static str>) -> Result<()> {
        self.unvisited(name, Reason::Skipped(reason))
    }

    /// Notes a bare tensor: a bias if its last path segment is `bias`, else a weight, unless `role = ..` says otherwise.
    ///
    /// # Errors
    /// [`Error::InvalidValue`] when a strength times the scales on its path is beyond the range of the tensor's arithmetic,
    /// [`Error::Grouping`] when the tensor has no such groups as are declared.
    pub fn tensor(&mut self, tensor: &Tensor) -> Result<()> {
        let role = match self.scope.role {
            Some(name) => {
                self.found.roles_used += 1;
                name.into()
            }
            None if self.path.rsplit('.').next() == Some("bias") => Role::Bias,
            None => Role::WEIGHT,
        };
        self.record(role, tensor)
    }

    /// Notes a tensor whose role is known, as a layer does for its own.
    ///
    /// # Errors
    /// [`Error::InvalidValue`] when a strength times the scales on its path is beyond the range of the tensor's arithmetic,
    /// [`Error::Grouping`] when the tensor has no such groups as are declared.
    pub fn param(&mut self, name: &str, role: Role, tensor: &Tensor) -> Result<()> {
        self.within(name, |visitor| visitor.record(role, tensor))
    }

    fn within<R>(&mut self, segment: &str, visit: impl FnOnce(&mut Self) -> R) -> R {
        let length = self.path.len();
        // A field without a name of its own (a transparent newtype's, say) adds no segment.
        if !segment.is_empty() && length > 0 {
            self.path.push('.');
        }
        self.path.push_str(segment);
        let parent = std::mem::replace(&mut self.parent, length);
        let result = visit(self);
        self.parent = parent;
        self.path.truncate(length);
        result
    }

    fn unvisited(&mut self, name: &str, reason: Reason) -> Result<()> {
        self.within(name, |visitor| {
            let (path, around) = (visitor.path(), visitor.scope.around);
            // The outermost skip is the one that decided.
            let (reason, origin) = match (visitor.scope.skip, reason) {
                (Some(skip), _) => (Reason::Skipped(skip.value), visitor.found.origin(skip.number).cloned()),
                (None, Reason::Opaque) => (Reason::Opaque, None),
                (None, reason) => (reason, Some(Origin::Field(path.clone()))),
            };
            visitor.found.unvisited.push(Unvisited { path, reason, origin, around, is_reached: false });
        });
        Ok(())
    }

    fn scope_under(&mut self, rule: &Rule) -> Result<Scope> {
        // What stands on the struct is to be looked for there, not on the field that came first.
        let place = |on_field| if on_field { self.path() } else { ParamPath::from(&self.path[..self.parent]) };
        let origin = |on_field| if on_field { Origin::Field(place(true)) } else { Origin::Type(place(false)) };
        let refuse =
            |on_field, (key, value, expected)| Err(Error::InvalidValue { path: place(on_field), key, value, expected });
        if let Some(invalid) = rule.penalty.and_then(|penalty| penalty.invalid()) {
            return refuse(rule.penalty_on_field, invalid);
        }
        if let Some(decay) = rule.decay.filter(|&decay| !is_strength(decay)) {
            return refuse(rule.decay_on_field, ("decay", decay, STRENGTH));
        }
        if !is_strength(rule.scale) {
            return refuse(true, ("scale", rule.scale, STRENGTH));
        }
        let mut scope = self.scope;
        let penalty_at = rule.penalty.map(|penalty| (penalty, origin(rule.penalty_on_field)));
        let decay_at = rule.decay.map(|decay| (decay, origin(rule.decay_on_field)));
        if let Some((penalty, at)) = penalty_at {
            scope.penalty = Some(self.found.declared(penalty, at));
        }
        if let Some((decay, at)) = decay_at {
            scope.decay = Some(self.found.declared(decay, at));
        }
        scope.around.bias = rule.bias.or(scope.around.bias);
        scope.around.norm = rule.norm.or(scope.around.norm);
        scope.around.scale *= rule.scale;
        scope.role = rule.role;
        Ok(scope)
    }

    fn record(&mut self, role: Role, tensor: &Tensor) -> Result<()> {
        let Scope { penalty, decay, around, skip, .. } = self.scope;
        let (path, scale) = (self.path(), around.scale);
        let closed = match skip {
            Some(skip) => Some(Reason::Skipped(skip.value)),
            None => closed(role, tensor, around),
        };
        let penalty = match penalty {
            Some(declared) if closed.is_none() => {
                Some(Declared { value: fitted(declared.value, scale, &path, role, tensor)?, ..declared })
            }
            // Of what is not charged only the strength is told.
            declared => declared.map(|declared| Declared { value: declared.value.scaled(scale), ..declared }),
        };
        let (skip, overruled) = (skip.map(|skip| skip.number), Overruled::default());
        let tensor = tensor.clone();
        let entry = Entry { path, tensor, role, closed, skip, penalty, decay, around, overruled, hidden: false };
        self.found.entries.push(entry);
        Ok(())
    }
}

/// What keeps every declaration from a tensor, if nobody skips it.
pub(crate) fn closed(role: Role, tensor: &Tensor, around: Around) -> Option<Reason> {
    if !crate::kernel::is_supported(tensor.dtype()) {
        return Some(Reason::DType(tensor.dtype()));
    }
    if !tensor.is_variable() {
        return Some(Reason::Frozen);
    }
    match role {
        Role::Buffer => Some(Reason::Buffer),
        Role::Bias if around.bias != Some(true) => Some(Reason::Bias),
        Role::Norm if around.norm != Some(true) => Some(Reason::Norm),
        _ => None,
    }
}

/// A penalty as it is charged on a tensor: times the scales on its path, its groups as dimensions.
///
/// # Errors
/// [`Error::InvalidValue`] where a strength times the scales is beyond what the tensor computes in, [`Error::Grouping`] where it has
/// no such groups.
pub(crate) fn fitted(penalty: Penalty, scale: f64, path: &ParamPath, role: Role, tensor: &Tensor) -> Result<Penalty> {
    let penalty = penalty.scaled(scale);
    if let Some((key, value, expected)) = penalty.invalid_for(tensor.dtype()) {
        let key = match key {
            _ if scale == 1.0 => key,
            "l2" => "l2 times the scales on its path",
            "element" => "element times the scales on its path",
            _ => "lambda times the scales on its path",
        };
        return Err(Error::InvalidValue { path: path.clone(), key, value, expected });
    }
    penalty.for_tensor(role, tensor.dims()).map_err(|expected| Error::Grouping {
        path: path.clone(),
        group: penalty.group(),
        shape: tensor.shape().clone(),
        expected,
    })
}
