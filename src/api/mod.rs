//! The HTTP edge: routes, limits, wire types.
