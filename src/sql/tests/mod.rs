//! Tests of the SQL front end: statements, types, queries, errors.
