//! What the expressions of MATCH_RECOGNIZE may name, and what becomes of it.
//!
//! `A.price`, `LAST(A.price, 1)`, `SUM(B.x)` and the like are taken out of a syntax tree and become
//! [`Atom`]s; what is left is planned as an expression over them.

use std::ops::ControlFlow;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema};
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{DFSchema, DFSchemaRef, DataFusionError, ScalarValue};
use datafusion::error::Result;
use datafusion::logical_expr::expr::AggregateFunction;
use datafusion::logical_expr::planner::RelationPlannerContext;
use datafusion::logical_expr::simplify::SimplifyContext;
use datafusion::logical_expr::{Expr, ExprSchemable, Volatility};
use datafusion::optimizer::simplify_expressions::ExprSimplifier;
use datafusion::sql::sqlparser::ast::{
    AccessExpr, Expr as AstExpr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, Ident,
    ObjectNamePart, Spanned, Value, VisitMut, VisitorMut,
};
use datafusion::sql::sqlparser::tokenizer::Span;

use super::super::coerce::{floats_first_in, text_casts};
use super::super::diagnostics::hint_for;
use super::super::dialect::{FINAL, RUNNING};
use super::super::output::normal_type;
use super::super::proctime;
use super::super::window_tvf::fail;
use super::node::{ALL_VARIABLES, Atom, MatchExpr, RowChoice, Variables, row_column};
use crate::error::Error;

/// The names that are in scope, and what of the rows has been asked for.
pub(super) struct Scope<'a> {
    pub(super) context: &'a mut dyn RelationPlannerContext,
    pub(super) schema: DFSchemaRef,
    pub(super) variables: Vec<String>,
    pub(super) subsets: Vec<(String, Variables)>,
    /// Expressions over the input, each once.
    pub(super) rows: Vec<Expr>,
    /// The column of `MATCH_ROWTIME()`.
    pub(super) time: usize,
    /// Where the clause stands.
    pub(super) span: Span,
}

fn refuse<T>(error: Error, span: Span) -> Result<T> {
    Err(fail(error, span))
}

impl Scope<'_> {
    /// The rows of a variable or subset.
    pub(super) fn variable(&self, name: &str) -> Option<Variables> {
        if let Some(number) = self.variables.iter().position(|known| known == name) {
            return Some(1 << number);
        }
        self.subsets.iter().find(|(known, _)| known == name).map(|(_, of)| *of)
    }

    /// The same, or an error that names those there are.
    pub(super) fn required(&self, name: &Ident) -> Result<Variables> {
        self.variable(&name.value).ok_or_else(|| {
            let mut known = self.variables.clone();
            known.extend(self.subsets.iter().map(|(name, _)| name.clone()));
            let message = format!("'{}' is no variable of PATTERN", name.value);
            let mut error = Error::sql(message);
            error.hint = hint_for(&name.value, "the pattern's variables", &known);
            fail(error, self.place(name.span))
        })
    }

    fn place(&self, span: Span) -> Span {
        if span.start.line == 0 { self.span } else { span }
    }

    /// The column of an expression over the input, with its types.
    pub(super) fn add(&mut self, expr: Expr) -> usize {
        match self.rows.iter().position(|known| *known == expr) {
            Some(same) => same,
            None => {
                self.rows.push(expr);
                self.rows.len() - 1
            }
        }
    }

    /// The column of an expression over one row.
    pub(super) fn row(&mut self, expr: AstExpr) -> Result<usize> {
        let schema = Arc::clone(&self.schema);
        let expr = self.context.sql_to_expr(expr, &schema)?;
        let expr = self.typed(expr, &schema)?;
        let wanted = normal_type(&expr.get_type(&schema)?);
        Ok(self.add(expr.cast_to(&wanted, &schema)?))
    }

    /// `expr` with types that fit, as the optimiser would leave it.
    fn typed(&self, expr: Expr, schema: &DFSchemaRef) -> Result<Expr> {
        let expr = expr.transform_up(|expr| match expr {
            Expr::Literal(ScalarValue::Utf8(text), metadata) => {
                Ok(Transformed::yes(Expr::Literal(ScalarValue::Utf8View(text), metadata)))
            }
            other => Ok(Transformed::no(other)),
        })?;
        let options = Arc::new(self.context.context_provider().options().clone());
        let context = SimplifyContext::builder()
            .with_schema(Arc::clone(schema))
            .with_config_options(options)
            .build();
        let simplifier = ExprSimplifier::new(context);
        let expr = simplifier.coerce(floats_first_in(expr.data, schema)?.data, schema)?;
        let expr = text_casts(expr, schema)?;
        if matches!(expr, Expr::AggregateFunction(_)) {
            return Ok(expr);
        }
        simplifier.simplify(expr)
    }

    /// A condition of DEFINE.
    pub(super) fn condition(&mut self, ast: AstExpr) -> Result<MatchExpr> {
        self.match_expr(ast, true, true)
    }

    /// A measure, of the rows so far or of the whole match.
    pub(super) fn measure(&mut self, ast: AstExpr, running: bool) -> Result<MatchExpr> {
        self.match_expr(ast, running, false)
    }

    fn match_expr(&mut self, mut ast: AstExpr, running: bool, define: bool) -> Result<MatchExpr> {
        let span = self.place(ast.span());
        let (atoms, fields) = (Vec::new(), Vec::new());
        let mut reader = Reader { scope: self, running, define, atoms, fields };
        if let ControlFlow::Break(error) = ast.visit(&mut reader) {
            return Err(error);
        }
        let Reader { atoms, fields, .. } = reader;
        let schema = Arc::new(DFSchema::try_from(Schema::new(fields))?);
        let expr = self.context.sql_to_expr(ast, &schema)?;
        let expr = self.typed(expr, &schema)?;
        expr.apply(|part| match part {
            Expr::ScalarFunction(call)
                if call.func.signature().volatility == Volatility::Volatile =>
            {
                let name = call.func.name().to_uppercase();
                let message = format!("{name} is not deterministic: a replay would differ");
                refuse(Error::sql(message), span)
            }
            Expr::AggregateFunction(_) | Expr::WindowFunction(_) => {
                refuse(Error::sql("window functions do not go into MATCH_RECOGNIZE"), span)
            }
            _ => Ok(TreeNodeRecursion::Continue),
        })?;
        Ok(MatchExpr { expr, atoms, schema })
    }
}

/// Replaces what reads rows by placeholders.
struct Reader<'s, 'a> {
    scope: &'s mut Scope<'a>,
    running: bool,
    /// Whether this is a condition of DEFINE, which sees the rows so far alone.
    define: bool,
    atoms: Vec<Atom>,
    fields: Vec<Field>,
}

/// The name of an unqualified, unquoted function, in lower case.
fn function_name(function: &Function) -> String {
    match function.name.0.as_slice() {
        [ObjectNamePart::Identifier(name)] if name.quote_style.is_none() => {
            name.value.to_ascii_lowercase()
        }
        _ => String::new(),
    }
}

/// The arguments of a call, as far as they are plain expressions.
fn arguments(function: &Function) -> Vec<AstExpr> {
    let FunctionArguments::List(list) = &function.args else { return Vec::new() };
    let plain = |arg: &FunctionArg| match arg {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => Some(expr.clone()),
        _ => None,
    };
    list.args.iter().filter_map(plain).collect()
}

impl VisitorMut for Reader<'_, '_> {
    type Break = DataFusionError;

    fn pre_visit_expr(&mut self, expr: &mut AstExpr) -> ControlFlow<DataFusionError> {
        match self.read(expr) {
            Ok(Some(placeholder)) => {
                *expr = placeholder;
                ControlFlow::Continue(())
            }
            Ok(None) => ControlFlow::Continue(()),
            Err(error) => ControlFlow::Break(error),
        }
    }
}

impl Reader<'_, '_> {
    fn read(&mut self, expr: &AstExpr) -> Result<Option<AstExpr>> {
        match expr {
            AstExpr::Identifier(_)
            | AstExpr::CompoundIdentifier(_)
            | AstExpr::CompoundFieldAccess { .. } => {
                let (expr, of) = self.one_row(expr.clone())?;
                let row = self.choice(true, of, 0, self.running);
                self.value(row, expr).map(Some)
            }
            AstExpr::Function(function) => self.function(function, self.running),
            AstExpr::Subquery(_) | AstExpr::InSubquery { .. } | AstExpr::Exists { .. } => {
                let message = "a subquery cannot stand inside MATCH_RECOGNIZE";
                refuse(Error::sql(message), self.scope.place(expr.span()))
            }
            _ => Ok(None),
        }
    }

    fn choice(&self, last: bool, of: Variables, offset: u64, running: bool) -> RowChoice {
        RowChoice { last, of, offset, back: 0, running }
    }

    fn function(&mut self, function: &Function, running: bool) -> Result<Option<AstExpr>> {
        let name = function_name(function);
        let args = arguments(function);
        match name.as_str() {
            FINAL | RUNNING => {
                let Some(AstExpr::Function(inner)) = args.first() else {
                    let message = "FINAL and RUNNING stand before FIRST, LAST or an aggregate";
                    return self.wrong(function, message);
                };
                if name == FINAL && self.define {
                    let message = "FINAL has no place in DEFINE, which sees the rows so far";
                    return self.wrong(inner, message);
                }
                self.function(inner, name == RUNNING)
            }
            "first" | "last" | "prev" => {
                let (row, target) = self.navigation(function, running)?;
                match target {
                    Target::Row(expr) => self.value(row, *expr).map(Some),
                    Target::Classifier => Ok(Some(self.classifier(row))),
                }
            }
            "next" => {
                let error = Error::sql("NEXT looks at a row that is not there yet")
                    .with_hint("give the next row a variable of its own in PATTERN");
                refuse(error, self.scope.place(function.name.span()))
            }
            "classifier" => {
                let of = self.classified(function)?;
                let row = self.choice(true, of, 0, running);
                Ok(Some(self.classifier(row)))
            }
            "match_number" => {
                let field = Field::new("", DataType::Int64, true);
                Ok(Some(self.atom(Atom::Number, field)))
            }
            "match_rowtime" => {
                let row = self.choice(true, ALL_VARIABLES, 0, running);
                let column = self.scope.time;
                self.value_at(row, column).map(Some)
            }
            proctime::NAME => {
                let row = self.choice(true, ALL_VARIABLES, 0, running);
                self.value(row, AstExpr::Function(function.clone())).map(Some)
            }
            _ if function.over.is_none()
                && self.scope.context.context_provider().get_aggregate_meta(&name).is_some() =>
            {
                self.aggregate(function, running).map(Some)
            }
            _ => Ok(None),
        }
    }

    fn wrong<T>(&self, function: &Function, message: &str) -> Result<T> {
        refuse(Error::sql(message), self.scope.place(function.name.span()))
    }

    fn atom(&mut self, atom: Atom, field: Field) -> AstExpr {
        let index = self.atoms.iter().position(|known| *known == atom).unwrap_or_else(|| {
            self.atoms.push(atom);
            let name = row_column(self.fields.len());
            self.fields.push(field.with_name(name).with_nullable(true));
            self.fields.len() - 1
        });
        AstExpr::Identifier(Ident::with_quote('`', row_column(index)))
    }

    fn value(&mut self, row: RowChoice, expr: AstExpr) -> Result<AstExpr> {
        let column = self.scope.row(expr)?;
        self.value_at(row, column)
    }

    fn value_at(&mut self, row: RowChoice, column: usize) -> Result<AstExpr> {
        let data_type = match self.scope.rows.get(column) {
            Some(expr) => expr.get_type(&self.scope.schema)?,
            None => DataType::Null,
        };
        let field = Field::new("", normal_type(&data_type), true);
        Ok(self.atom(Atom::Value { row, column }, field))
    }

    fn classifier(&mut self, row: RowChoice) -> AstExpr {
        self.atom(Atom::Classifier(row), Field::new("", DataType::Utf8View, true))
    }

    /// The variables of `CLASSIFIER()` or `CLASSIFIER(subset)`.
    fn classified(&self, function: &Function) -> Result<Variables> {
        match arguments(function).as_slice() {
            [] => Ok(ALL_VARIABLES),
            [AstExpr::Identifier(name)] => self.scope.required(name),
            _ => self.wrong(function, "CLASSIFIER takes the name of a variable, or nothing"),
        }
    }

    /// `FIRST`, `LAST` or `PREV`: which row, and what of it.
    fn navigation(&mut self, function: &Function, running: bool) -> Result<(RowChoice, Target)> {
        let name = function_name(function);
        let mut args = arguments(function).into_iter();
        let (Some(target), offset, None) = (args.next(), args.next(), args.next()) else {
            let name = name.to_uppercase();
            let message = format!("{name} takes an expression and a number of rows");
            return self.wrong(function, &message);
        };
        let offset = match offset {
            Some(expr) => self.row_count(&expr, function)?,
            None => u64::from(name == "prev"),
        };
        if name == "prev" {
            if let AstExpr::Function(inner) = &target
                && matches!(function_name(inner).as_str(), "first" | "last")
            {
                let (row, target) = self.navigation(inner, running)?;
                return Ok((RowChoice { back: offset, ..row }, target));
            }
            let (row, target) = self.target(target, true, 0, running)?;
            return Ok((RowChoice { back: offset, ..row }, target));
        }
        self.target(target, name == "last", offset, running)
    }

    fn target(
        &mut self,
        expr: AstExpr,
        last: bool,
        offset: u64,
        running: bool,
    ) -> Result<(RowChoice, Target)> {
        if let AstExpr::Function(inner) = &expr
            && function_name(inner) == "classifier"
        {
            let of = self.classified(inner)?;
            return Ok((self.choice(last, of, offset, running), Target::Classifier));
        }
        let (expr, of) = self.one_row(expr)?;
        Ok((self.choice(last, of, offset, running), Target::Row(Box::new(expr))))
    }

    fn row_count(&self, expr: &AstExpr, function: &Function) -> Result<u64> {
        let number = match expr {
            AstExpr::Value(value) => match &value.value {
                Value::Number(text, _) => text.parse().ok(),
                _ => None,
            },
            _ => None,
        };
        match number {
            Some(number) => Ok(number),
            None => {
                let name = function_name(function).to_uppercase();
                let message = format!("the number of rows of {name} is a constant from 0");
                refuse(Error::sql(message), self.scope.place(expr.span()))
            }
        }
    }

    fn aggregate(&mut self, function: &Function, running: bool) -> Result<AstExpr> {
        let mut function = function.clone();
        let of = self.strip_wildcard(&mut function)?;
        let (expr, named) = self.one_row(AstExpr::Function(function.clone()))?;
        let of = match (of, named) {
            (Some(of), ALL_VARIABLES) => of,
            (Some(_), _) => {
                return self.wrong(&function, "an aggregate is over the rows of one variable");
            }
            (None, named) => named,
        };
        let schema = Arc::clone(&self.scope.schema);
        // `COUNT(*)` comes under the name that was written.
        let expr = self.scope.context.sql_to_expr(expr, &schema)?.unalias_nested().data;
        let expr = self.scope.typed(expr, &schema)?;
        let data_type = normal_type(&expr.get_type(&schema)?);
        let Expr::AggregateFunction(mut call) = expr else {
            return self.wrong(&function, "this aggregate cannot stand inside MATCH_RECOGNIZE");
        };
        if !call.params.order_by.is_empty() {
            return self
                .wrong(&function, "an aggregate of MATCH_RECOGNIZE goes by its rows' order");
        }
        self.take_arguments(&mut call, &schema)?;
        let atom = Atom::Aggregate { call: Box::new(call), of, running };
        Ok(self.atom(atom, Field::new("", data_type, true)))
    }

    /// Puts the arguments of a call among the columns of rows.
    fn take_arguments(&mut self, call: &mut AggregateFunction, schema: &DFSchema) -> Result<()> {
        let filter = call.params.filter.as_mut().map(AsMut::as_mut);
        for arg in call.params.args.iter_mut().chain(filter) {
            if matches!(arg, Expr::Literal(..)) {
                continue;
            }
            let wanted = normal_type(&arg.get_type(schema)?);
            let column = self.scope.add(arg.clone().cast_to(&wanted, schema)?);
            *arg = datafusion::logical_expr::ident(row_column(column));
        }
        Ok(())
    }

    /// `COUNT(A.*)` as `COUNT(*)`; returns its variable.
    fn strip_wildcard(&self, function: &mut Function) -> Result<Option<Variables>> {
        let FunctionArguments::List(list) = &mut function.args else { return Ok(None) };
        let [FunctionArg::Unnamed(arg)] = list.args.as_mut_slice() else { return Ok(None) };
        let FunctionArgExpr::QualifiedWildcard(name) = arg else { return Ok(None) };
        let Some(name) = name.0.first().and_then(ObjectNamePart::as_ident) else { return Ok(None) };
        let of = self.scope.required(name)?;
        *arg = FunctionArgExpr::Wildcard;
        Ok(Some(of))
    }

    /// `expr` over the columns of a row, and the variables of that row.
    fn one_row(&mut self, mut expr: AstExpr) -> Result<(AstExpr, Variables)> {
        let span = self.scope.place(expr.span());
        let mut stripper = Stripper { scope: self.scope, found: None, span };
        match expr.visit(&mut stripper) {
            ControlFlow::Break(error) => Err(error),
            ControlFlow::Continue(()) => {
                let of = stripper.found.unwrap_or(ALL_VARIABLES);
                Ok((expr, of))
            }
        }
    }
}

/// What a navigation takes of its row.
enum Target {
    Row(Box<AstExpr>),
    Classifier,
}

/// Takes the variables off the columns of an expression over one row.
struct Stripper<'s, 'a> {
    scope: &'s Scope<'a>,
    found: Option<Variables>,
    span: Span,
}

impl Stripper<'_, '_> {
    fn strip(&mut self, expr: &mut AstExpr) -> Result<()> {
        let of = match expr {
            AstExpr::Identifier(_) => ALL_VARIABLES,
            AstExpr::CompoundIdentifier(parts) => {
                let of = match parts.first() {
                    Some(first) => self.qualifier(first)?,
                    None => None,
                };
                if of.is_some() {
                    parts.remove(0);
                    if let [only] = parts.as_slice() {
                        *expr = AstExpr::Identifier(only.clone());
                    }
                }
                of.unwrap_or(ALL_VARIABLES)
            }
            AstExpr::CompoundFieldAccess { root, access_chain } => {
                // `A.items[1]`: the variable is the root, the column its first field.
                let is_variable = matches!(root.as_ref(), AstExpr::Identifier(name)
                    if self.scope.variable(&name.value).is_some());
                if is_variable
                    && let Some(AccessExpr::Dot(AstExpr::Identifier(column))) = access_chain.first()
                    && let AstExpr::Identifier(name) = root.as_ref()
                {
                    **root = AstExpr::CompoundIdentifier(vec![name.clone(), column.clone()]);
                    access_chain.remove(0);
                }
                return Ok(());
            }
            AstExpr::Function(function)
                if matches!(
                    function_name(function).as_str(),
                    "first" | "last" | "prev" | "next" | "classifier" | "match_number"
                ) =>
            {
                let name = function_name(function).to_uppercase();
                let message = format!("{name} cannot stand inside another function of rows");
                return refuse(Error::sql(message), self.scope.place(function.name.span()));
            }
            _ => return Ok(()),
        };
        match self.found {
            Some(known) if known != of => {
                let message = "an expression over a row refers to rows of two variables";
                let error = Error::sql(message)
                    .with_hint("take the parts apart: LAST(A.x) - LAST(B.x), not LAST(A.x - B.x)");
                refuse(error, self.span)
            }
            _ => {
                self.found = Some(of);
                Ok(())
            }
        }
    }

    /// The variable that qualifies a column; `None` if it is a table or a column itself.
    fn qualifier(&self, name: &Ident) -> Result<Option<Variables>> {
        if let Some(of) = self.scope.variable(&name.value) {
            return Ok(Some(of));
        }
        let is_known = self.scope.schema.iter().any(|(qualifier, field)| {
            field.name() == &name.value || qualifier.is_some_and(|q| q.table() == name.value)
        });
        if is_known { Ok(None) } else { self.scope.required(name).map(Some) }
    }
}

impl VisitorMut for Stripper<'_, '_> {
    type Break = DataFusionError;

    fn pre_visit_expr(&mut self, expr: &mut AstExpr) -> ControlFlow<DataFusionError> {
        match self.strip(expr) {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => ControlFlow::Break(error),
        }
    }
}
