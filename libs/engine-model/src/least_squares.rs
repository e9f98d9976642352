//! Least squares with coefficients that may not be negative, for a handful of unknowns.

/// The `x >= 0` that minimises `xᵀ·matrix·x - 2·vectorᵀ·x`; with `matrix = Σ w·a·aᵀ` and `vector = Σ w·b·a` this is the
/// weighted least-squares solution of `a·x = b`.
///
/// The solution is the unconstrained one on the set of unknowns that are not 0 (Lawson and Hanson, 1974). With `N` of at
/// most a handful all `2^N - 1` sets are tried, which needs no rule to choose them and cannot cycle. `matrix` must be
/// symmetric; sets of unknowns that it cannot tell apart are passed over.
pub(crate) fn nonnegative_least_squares<const N: usize>(matrix: &[[f64; N]; N], vector: &[f64; N]) -> [f64; N] {
    const { assert!(N > 0 && N <= 8, "sets are enumerated") };
    // Of a convex problem the free solution is the best one wherever it is allowed.
    let all = (1_u32 << N) - 1;
    if let Some(free) = solve(matrix, vector, all).filter(|free| free.iter().all(|value| *value >= 0.0)) {
        return free;
    }
    let (mut best, mut least) = ([0.0; N], 0.0);
    for set in 1..all {
        let Some(solution) = solve(matrix, vector, set) else { continue };
        if solution.iter().any(|value| *value < 0.0) {
            continue;
        }
        // At a solution of the normal equations the quadratic form is -vectorᵀ·x.
        let value = -dot(vector, &solution);
        if value < least {
            (best, least) = (solution, value);
        }
    }
    best
}

/// The inverse of `matrix` on the unknowns of `set`, 0 elsewhere.
pub(crate) fn inverse<const N: usize>(matrix: &[[f64; N]; N], set: u32) -> Option<[[f64; N]; N]> {
    let mut columns = [[0.0; N]; N];
    for (index, column) in columns.iter_mut().enumerate() {
        if set & (1 << index) != 0 {
            let mut unit = [0.0; N];
            unit[index] = 1.0;
            *column = solve(matrix, &unit, set)?;
        }
    }
    Some(columns)
}

pub(crate) fn dot<const N: usize>(left: &[f64; N], right: &[f64; N]) -> f64 {
    left.iter().zip(right).map(|(left, right)| left * right).sum()
}

/// A pivot below this share of its diagonal is rounding: the unknown is a combination of those before it.
const SINGULAR: f64 = 1e-10;

/// Solves `matrix·x = vector` for the unknowns of `set`, with 0 for the others, by Cholesky's decomposition of the matrix
/// scaled to a diagonal of 1; `None` when it is singular there.
fn solve<const N: usize>(matrix: &[[f64; N]; N], vector: &[f64; N], set: u32) -> Option<[f64; N]> {
    let is_in = |index: usize| set & (1 << index) != 0;
    let mut scale = [0.0; N];
    for index in (0..N).filter(|index| is_in(*index)) {
        let diagonal = matrix[index][index];
        if !(diagonal.is_finite() && diagonal > 0.0) {
            return None;
        }
        scale[index] = diagonal.sqrt();
    }
    let mut lower = [[0.0; N]; N];
    for row in (0..N).filter(|row| is_in(*row)) {
        for column in (0..=row).filter(|column| is_in(*column)) {
            let known: f64 = (0..column).map(|k| lower[row][k] * lower[column][k]).sum();
            let rest = matrix[row][column] / (scale[row] * scale[column]) - known;
            if row == column {
                if rest < SINGULAR {
                    return None;
                }
                lower[row][row] = rest.sqrt();
            } else {
                lower[row][column] = rest / lower[column][column];
            }
        }
    }
    let mut solution = [0.0; N];
    for row in (0..N).filter(|row| is_in(*row)) {
        let known: f64 = (0..row).map(|k| lower[row][k] * solution[k]).sum();
        solution[row] = (vector[row] / scale[row] - known) / lower[row][row];
    }
    for row in (0..N).rev().filter(|row| is_in(*row)) {
        let known: f64 = (row + 1..N).map(|k| lower[k][row] * solution[k]).sum();
        solution[row] = (solution[row] - known) / lower[row][row];
    }
    for row in (0..N).filter(|row| is_in(*row)) {
        solution[row] /= scale[row];
    }
    solution.iter().all(|value| value.is_finite()).then_some(solution)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn close(left: &[f64], right: &[f64]) -> bool {
        left.iter().zip(right).all(|(left, right)| (left - right).abs() < 1e-9)
    }

    #[test]
    fn a_solution_that_is_positive_is_the_ordinary_one() {
        // x + y = 3, x - y = 1 in normal form.
        assert!(close(&nonnegative_least_squares(&[[2.0, 0.0], [0.0, 2.0]], &[4.0, 2.0]), &[2.0, 1.0]));
    }

    #[test]
    fn a_coefficient_that_would_be_negative_is_zero_and_the_rest_adapts() {
        // Rows (1, 1) = 1 and (0, 1) = 2: the ordinary solution is (-1, 2); with x at 0, y = 1.5.
        let (matrix, vector) = ([[1.0, 1.0], [1.0, 2.0]], [1.0, 3.0]);
        assert!(close(&nonnegative_least_squares(&matrix, &vector), &[0.0, 1.5]));
    }

    #[test]
    fn unknowns_that_cannot_be_told_apart_do_not_break_it() {
        let found = nonnegative_least_squares(&[[1.0, 2.0], [2.0, 4.0]], &[3.0, 6.0]);
        assert!((found[0] + 2.0 * found[1] - 3.0).abs() < 1e-9, "{found:?}");
        assert!(close(&nonnegative_least_squares(&[[0.0, 0.0], [0.0, 0.0]], &[0.0, 0.0]), &[0.0, 0.0]));
    }

    #[test]
    fn the_inverse_of_a_part_leaves_the_rest_at_zero() {
        let matrix = [[4.0, 1.0, 0.0], [1.0, 3.0, 9.0], [0.0, 9.0, 0.0]];
        let inverse = inverse(&matrix, 0b011).expect("positive definite there");
        assert!(close(&inverse[0], &[3.0 / 11.0, -1.0 / 11.0, 0.0]));
        assert!(close(&inverse[2], &[0.0; 3]));
        assert!(super::inverse(&matrix, 0b100).is_none());
    }

    proptest! {
        /// Of a convex problem: no step in an allowed direction improves the solution.
        #[test]
        fn nothing_allowed_is_better_than_the_solution(rows in prop::collection::vec(prop::array::uniform4(-3.0..3.0f64), 4..12)) {
            let (mut matrix, mut target) = ([[0.0; 3]; 3], [0.0; 3]);
            for row in &rows {
                for i in 0..3 {
                    target[i] += row[i] * row[3];
                    for j in 0..3 {
                        matrix[i][j] += row[i] * row[j];
                    }
                }
            }
            let cost = |x: &[f64; 3]| -> f64 {
                rows.iter().map(|row| (row[0] * x[0] + row[1] * x[1] + row[2] * x[2] - row[3]).powi(2)).sum()
            };
            let best = nonnegative_least_squares(&matrix, &target);
            prop_assert!(best.iter().all(|value| *value >= 0.0));
            for index in 0..3 {
                for change in [0.01, -0.01] {
                    let mut moved = best;
                    moved[index] = (moved[index] + change).max(0.0);
                    prop_assert!(cost(&moved) >= cost(&best) - 1e-6 * (1.0 + cost(&best)), "{best:?} {moved:?}");
                }
            }
        }
    }
}
