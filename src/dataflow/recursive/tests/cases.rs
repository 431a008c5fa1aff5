//! Recursive queries, each with what it means by its definition.

use std::collections::BTreeMap;

use super::{Bag, Edge, Values};

/// A query and its meaning: the rows of its names, each with the name's number if there are more.
pub(super) struct Case {
    pub(super) query: &'static str,
    pub(super) naive: fn(&[Edge]) -> Bag,
}

/// `step` from nothing until nothing changes, or `limit` times.
fn iterated<S: Default + PartialEq>(limit: usize, step: impl Fn(&S) -> S) -> S {
    let mut state = S::default();
    for _ in 0..limit {
        let next = step(&state);
        if next == state {
            break;
        }
        state = next;
    }
    state
}

fn distinct(rows: impl IntoIterator<Item = Values>) -> Bag {
    rows.into_iter().map(|row| (row, 1)).collect()
}

fn bag(rows: impl IntoIterator<Item = (Values, i64)>) -> Bag {
    let mut bag = Bag::new();
    for (row, count) in rows {
        *bag.entry(row).or_default() += count;
    }
    bag.retain(|_, count| *count != 0);
    bag
}

fn ints(values: &[i64]) -> Values {
    values.iter().map(|v| Some(*v)).collect()
}

fn at(row: &Values, column: usize) -> i64 {
    row[column].unwrap()
}

/// Least second column by first.
fn least(rows: impl IntoIterator<Item = (i64, i64)>) -> Bag {
    let mut groups: BTreeMap<i64, i64> = BTreeMap::new();
    for (key, value) in rows {
        let known = groups.entry(key).or_insert(value);
        *known = value.min(*known);
    }
    distinct(groups.into_iter().map(|(key, value)| ints(&[key, value])))
}

pub(super) const REACHABLE: Case = Case {
    query: "WITH RECURSIVE reach (a, b) AS (
              SELECT src, dst FROM edges
              UNION SELECT r.a, e.dst FROM reach AS r JOIN edges AS e ON r.b = e.src)
            SELECT * FROM reach",
    naive: |edges| {
        iterated(usize::MAX, |reach: &Bag| {
            let first = edges.iter().map(|e| ints(&[e.src, e.dst]));
            let next = reach.keys().flat_map(|row| {
                let on = edges.iter().filter(move |e| e.src == at(row, 1));
                on.map(|e| ints(&[at(row, 0), e.dst]))
            });
            distinct(first.chain(next))
        })
    },
};

pub(super) const SHORTEST: Case = Case {
    query: "WITH MUTUALLY RECURSIVE d (node BIGINT, dist BIGINT) AS (
              SELECT node, MIN(dist) AS dist FROM (
                SELECT src AS node, CAST(0 AS BIGINT) AS dist FROM edges WHERE src = 0
                UNION ALL SELECT e.dst, d.dist + e.w FROM d JOIN edges AS e ON d.node = e.src
              ) AS paths GROUP BY node)
            SELECT * FROM d",
    naive: |edges| {
        iterated(usize::MAX, |d: &Bag| {
            let first = edges.iter().filter(|e| e.src == 0).map(|_| (0, 0));
            let next = d.keys().flat_map(|row| {
                let on = edges.iter().filter(move |e| e.src == at(row, 0));
                on.map(|e| (e.dst, at(row, 1) + e.w))
            });
            least(first.chain(next))
        })
    },
};

pub(super) const COMPONENTS: Case = Case {
    query: "WITH MUTUALLY RECURSIVE c (node BIGINT, label BIGINT) AS (
              SELECT node, MIN(label) AS label FROM (
                SELECT src AS node, src AS label FROM edges
                UNION ALL SELECT dst, dst FROM edges
                UNION ALL SELECT e.dst, c.label FROM c JOIN edges AS e ON c.node = e.src
                UNION ALL SELECT e.src, c.label FROM c JOIN edges AS e ON c.node = e.dst
              ) AS labels GROUP BY node)
            SELECT * FROM c",
    naive: |edges| {
        iterated(usize::MAX, |c: &Bag| {
            let first = edges.iter().flat_map(|e| [(e.src, e.src), (e.dst, e.dst)]);
            let next = c.keys().flat_map(|row| {
                edges.iter().flat_map(move |e| {
                    let along = (e.src == at(row, 0)).then(|| (e.dst, at(row, 1)));
                    let back = (e.dst == at(row, 0)).then(|| (e.src, at(row, 1)));
                    along.into_iter().chain(back)
                })
            });
            least(first.chain(next))
        })
    },
};

pub(super) const PARTS: Case = Case {
    query: "WITH RECURSIVE parts (whole, part, qty) AS (
              SELECT src, dst, w FROM edges WHERE src < dst
              UNION ALL SELECT p.whole, e.dst, p.qty * e.w FROM parts AS p
                        JOIN edges AS e ON p.part = e.src WHERE e.src < e.dst)
            SELECT * FROM parts",
    naive: |edges| {
        let up = || edges.iter().filter(|e| e.src < e.dst);
        iterated(usize::MAX, |parts: &Bag| {
            let first = up().map(|e| (ints(&[e.src, e.dst, e.w]), 1));
            let next = parts.iter().flat_map(|(row, count)| {
                let on = up().filter(move |e| e.src == at(row, 1));
                on.map(move |e| (ints(&[at(row, 0), e.dst, at(row, 2) * e.w]), *count))
            });
            bag(first.chain(next))
        })
    },
};

pub(super) const EVEN_AND_ODD: Case = Case {
    query: "WITH RECURSIVE odd (a, b) AS (
              SELECT src, dst FROM edges
              UNION SELECT v.a, e.dst FROM even AS v JOIN edges AS e ON v.b = e.src),
            even (a, b) AS (
              SELECT DISTINCT o.a, e.dst FROM odd AS o JOIN edges AS e ON o.b = e.src)
            SELECT odd.a FROM odd, even",
    naive: |edges| {
        type Both = (Bag, Bag);
        let (odd, even) = iterated(usize::MAX, |(odd, even): &Both| {
            let onward = |rows: &Bag| -> Vec<Values> {
                let pairs = rows.keys().flat_map(|row| edges.iter().map(move |e| (row, e)));
                let on = pairs.filter(|(row, e)| e.src == at(row, 1));
                on.map(|(row, e)| ints(&[at(row, 0), e.dst])).collect()
            };
            let first = edges.iter().map(|e| ints(&[e.src, e.dst]));
            (distinct(first.chain(onward(even))), distinct(onward(odd)))
        });
        let wide = |index: i64, row: &Values| {
            let mut wide = ints(&[index]);
            wide.extend(vec![None; 2 * index as usize]);
            wide.extend(row.iter().copied());
            wide.resize(5, None);
            wide
        };
        let odd = odd.keys().map(|row| wide(0, row));
        distinct(odd.chain(even.keys().map(|row| wide(1, row))))
    },
};

/// Positions from which a move leads to one that is not won: not monotone, stopped on the way.
pub(super) const WON: Case = Case {
    query: "WITH MUTUALLY RECURSIVE (RETURN AT RECURSION LIMIT 5) won (node BIGINT) AS (
              SELECT DISTINCT src FROM edges
              WHERE NOT EXISTS (SELECT 1 FROM won WHERE won.node = edges.dst))
            SELECT * FROM won",
    naive: |edges| {
        iterated(5, |won: &Bag| {
            let free = edges.iter().filter(|e| !won.contains_key(&ints(&[e.dst])));
            distinct(free.map(|e| ints(&[e.src])))
        })
    },
};

/// An outer join with a condition, and a count that is there without rows.
pub(super) const COUNTED: Case = Case {
    query: "WITH MUTUALLY RECURSIVE (RETURN AT RECURSION LIMIT 4)
              c (node BIGINT, n BIGINT) AS (
                SELECT e.src, COUNT(c.n) AS n FROM edges AS e JOIN t ON e.w <= t.n + 2
                LEFT JOIN c ON e.dst = c.node AND c.n < e.w GROUP BY e.src),
              t (n BIGINT) AS (SELECT COUNT(*) FROM c)
            SELECT c.n FROM c, t",
    naive: |edges| {
        type Both = (Bag, Bag);
        let (c, t) = iterated(4, |(c, t): &Both| {
            let mut counts: BTreeMap<i64, i64> = BTreeMap::new();
            let enough = |e: &&Edge| t.keys().any(|row| e.w <= at(row, 0) + 2);
            for e in edges.iter().filter(enough) {
                let on = c.keys().filter(|row| at(row, 0) == e.dst && at(row, 1) < e.w);
                *counts.entry(e.src).or_default() += on.count() as i64;
            }
            let counts = counts.into_iter().map(|(node, n)| ints(&[node, n]));
            (distinct(counts), distinct([ints(&[c.len() as i64])]))
        });
        let c = c.keys().map(|row| vec![Some(0), row[0], row[1], None]);
        distinct(c.chain(t.keys().map(|row| vec![Some(1), None, None, row[0]])))
    },
};

/// Multiplicities that take turns.
pub(super) const EXCEPT: Case = Case {
    query: "WITH MUTUALLY RECURSIVE (RETURN AT RECURSION LIMIT 3) s (a BIGINT, b BIGINT) AS (
              SELECT src, dst FROM edges EXCEPT ALL SELECT b, a FROM s)
            SELECT * FROM s",
    naive: |edges| {
        let all = bag(edges.iter().map(|e| (ints(&[e.src, e.dst]), 1)));
        iterated(3, |s: &Bag| {
            bag(all.iter().map(|(row, count)| {
                let back = s.get(&vec![row[1], row[0]]).copied().unwrap_or(0);
                (row.clone(), (count - back).max(0))
            }))
        })
    },
};

/// Functions that read the rows of their groups.
pub(super) const SUMS: Case = Case {
    query: "WITH MUTUALLY RECURSIVE (RETURN AT RECURSION LIMIT 3)
              p (node BIGINT, r BIGINT, k BIGINT) AS (
                SELECT node, SUM(r) AS r, COUNT(DISTINCT r) AS k FROM (
                  SELECT src AS node, w AS r FROM edges
                  UNION ALL SELECT e.dst, p.r FROM p JOIN edges AS e ON p.node = e.src
                ) AS given GROUP BY node)
            SELECT * FROM p",
    naive: |edges| {
        iterated(3, |p: &Bag| {
            let mut groups: BTreeMap<i64, Vec<i64>> = BTreeMap::new();
            for e in edges {
                groups.entry(e.src).or_default().push(e.w);
                for row in p.keys().filter(|row| at(row, 0) == e.src) {
                    groups.entry(e.dst).or_default().push(at(row, 1));
                }
            }
            distinct(groups.into_iter().map(|(node, mut values)| {
                let sum = values.iter().sum();
                values.sort_unstable();
                values.dedup();
                ints(&[node, sum, values.len() as i64])
            }))
        })
    },
};

/// The two edges of least weight that leave what was reached, from 0 on.
pub(super) const NEAREST: Case = Case {
    query: "WITH MUTUALLY RECURSIVE (RETURN AT RECURSION LIMIT 4) n (node BIGINT) AS (
              SELECT src FROM edges WHERE src = 0
              UNION SELECT dst FROM (
                SELECT e.src, e.dst, ROW_NUMBER() OVER (
                         PARTITION BY e.src ORDER BY e.w DESC, e.dst) AS place
                FROM n JOIN edges AS e ON n.node = e.src) AS ranked WHERE place <= 2)
            SELECT * FROM n",
    naive: |edges| {
        iterated(4, |n: &Bag| {
            let mut found: Vec<i64> = edges.iter().filter(|e| e.src == 0).map(|_| 0).collect();
            for node in n.keys() {
                let mut on: Vec<&Edge> = edges.iter().filter(|e| e.src == at(node, 0)).collect();
                on.sort_by_key(|e| (-e.w, e.dst));
                found.extend(on.iter().take(2).map(|e| e.dst));
            }
            distinct(found.into_iter().map(|node| ints(&[node])))
        })
    },
};
