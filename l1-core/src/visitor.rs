//! The walk over a model: path and inherited rules on the way down, one entry for each tensor found.

use candle_core::Tensor;

use crate::{
    Decision, Error, ParamPath, Penalty, Reason, Regularized, Result, Role, RoleName, Rule,
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
    last_rule: usize,
}

/// One tensor at one path.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) path: ParamPath,
    pub(crate) tensor: Tensor,
    pub(crate) role: Role,
    pub(crate) decision: Decision,
    /// Number of the declaration whose penalty it has.
    pub(crate) rule: usize,
}

/// A penalty that stands on a field itself and so has to reach something.
#[derive(Debug)]
pub(crate) struct Declaration {
    pub(crate) path: ParamPath,
    pub(crate) penalty: Penalty,
    pub(crate) rule: usize,
    pub(crate) type_name: &'static str,
    /// The entries and unvisited fields below the field.
    pub(crate) entries: std::ops::Range<usize>,
    pub(crate) unvisited: std::ops::Range<usize>,
    /// Whether an empty `Option`, `Vec` or map lies below: there is nothing now, but there may be.
    pub(crate) has_absent: bool,
}

/// A field that was not looked into.
#[derive(Clone, Debug)]
pub(crate) struct Unvisited {
    pub(crate) path: ParamPath,
    pub(crate) reason: Reason,
}

/// What is inherited on the way down.
#[derive(Clone, Copy, Debug)]
struct Scope {
    penalty: Option<Penalty>,
    rule: usize,
    bias: bool,
    norm: bool,
    scale: f64,
    role: Option<RoleName>,
    skip: Option<Option<&'static str>>,
}

impl<'a> Visitor<'a> {
    pub(crate) fn new(found: &'a mut Found) -> Self {
        let scope = Scope { penalty: None, rule: 0, bias: false, norm: false, scale: 1.0, role: None, skip: None };
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
        // Below a `skip` nothing is to be reached, and `lambda = 0` takes a penalty away.
        if let (true, Some(penalty), None) = (rule.on_field, own.penalty, own.skip)
            && !penalty.is_none()
        {
            self.found.declarations.push(Declaration {
                path: self.path(),
                penalty,
                rule: own.rule,
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

    /// Notes that a container is empty: a penalty above it need not reach anything.
    pub fn absent(&mut self) {
        self.found.absent += 1;
    }

    /// Notes a field that is not to be looked into (`#[l1(opaque)]`). It does not fail; it returns what `visit` returns.
    pub fn opaque(&mut self, name: &str) -> Result<()> {
        self.unvisited(name, Reason::Opaque)
    }

    /// Visits a field so that nothing below it is penalized (`#[l1(skip)]`); its parameters are listed with this reason.
    ///
    /// # Errors
    /// What the field's own visit returns.
    pub fn skip<T: ?Sized + Regularized>(&mut self, name: &str, reason: Option<&'static str>, value: &T) -> Result<()> {
        let outer = self.scope;
        // The outermost skip is the one that decided.
        self.scope.skip = outer.skip.or(Some(reason));
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
    /// [`Error::InvalidValue`] when a strength times the scales on its path is beyond the range of the tensor's arithmetic.
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
    /// [`Error::InvalidValue`] when a strength times the scales on its path is beyond the range of the tensor's arithmetic.
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
            let path = visitor.path();
            visitor.found.unvisited.push(Unvisited { path, reason });
        });
        Ok(())
    }

    fn scope_under(&mut self, rule: &Rule) -> Result<Scope> {
        let invalid = rule.penalty.and_then(|penalty| penalty.invalid());
        let invalid_scale = (!is_strength(rule.scale)).then_some(("scale", rule.scale, STRENGTH));
        if let Some((key, value, expected)) = invalid.or(invalid_scale) {
            // A penalty that stands on the struct is to be looked for there, not on the field that came first.
            let on_struct = invalid.is_some() && !rule.on_field;
            let path = if on_struct { ParamPath::from(&self.path[..self.parent]) } else { self.path() };
            return Err(Error::InvalidValue { path, key, value, expected });
        }
        let mut scope = self.scope;
        if let Some(penalty) = rule.penalty {
            self.found.last_rule += 1;
            scope.penalty = Some(penalty);
            scope.rule = self.found.last_rule;
        }
        scope.bias = rule.bias.unwrap_or(scope.bias);
        scope.norm = rule.norm.unwrap_or(scope.norm);
        scope.scale *= rule.scale;
        scope.role = rule.role;
        Ok(scope)
    }

    fn record(&mut self, role: Role, tensor: &Tensor) -> Result<()> {
        let decision = self.decide(role, tensor)?;
        let entry = Entry { path: self.path(), tensor: tensor.clone(), role, decision, rule: self.scope.rule };
        self.found.entries.push(entry);
        Ok(())
    }

    fn decide(&self, role: Role, tensor: &Tensor) -> Result<Decision> {
        let scope = &self.scope;
        let reason = if let Some(reason) = scope.skip {
            Reason::Skipped(reason)
        } else if !crate::kernel::is_supported(tensor.dtype()) {
            Reason::DType(tensor.dtype())
        } else if !tensor.is_variable() {
            Reason::Frozen
        } else if role == Role::Buffer {
            Reason::Buffer
        } else if let Some(penalty) = scope.penalty {
            match role {
                Role::Bias if !scope.bias => Reason::Bias,
                Role::Norm if !scope.norm => Reason::Norm,
                _ => return Ok(Decision::Penalized(self.resolve(penalty, tensor)?)),
            }
        } else {
            Reason::NothingDeclared
        };
        Ok(Decision::Unpenalized(reason))
    }

    fn resolve(&self, penalty: Penalty, tensor: &Tensor) -> Result<Penalty> {
        let resolved = penalty.scaled(self.scope.scale);
        let Some((key, value, expected)) = resolved.invalid_for(tensor.dtype()) else { return Ok(resolved) };
        let key = match key {
            _ if self.scope.scale == 1.0 => key,
            "l2" => "l2 times the scales on its path",
            _ => "lambda times the scales on its path",
        };
        Err(Error::InvalidValue { path: self.path(), key, value, expected })
    }
}
