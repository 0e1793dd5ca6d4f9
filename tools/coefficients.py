"""Print the minimax coefficients used for the exponential and for the normal tail.

EXP is 1 + r + r^2 p(r) ~ exp(r) for |r| <= 0.347. NORMAL_TAIL is
1 + p(z) ~ 2 (t + shift) exp(t^2/2) Q(t) for t >= 0 with z = shift / (t + shift) - center,
where Q is the upper tail of the standard normal distribution. Both minimise the largest
relative error, by Newton steps found with linear programming. The rounded coefficients
are a lattice point near the exact ones, where distance is the relative change of the
function.
"""

from functools import partial

import mpmath
import numpy as np
from scipy.optimize import linprog

mpmath.mp.dps = 50
to_real = np.frompyfunc(mpmath.mpf, 1, 1)


class Fit:
    """A quotient of polynomials in increasing powers, fitted to values at points."""

    def __init__(self, points, values, top, bottom, known=()):
        """Fit all but the leading coefficient, one, and the `known` lowest ones."""
        self.points, self.values, self.top = points, values, top
        self.exponents = np.array([*range(top + 1), *range(bottom + 1)])
        self.coefficients = to_real(np.ones(top + bottom + 2))
        self.coefficients[: len(known)] = known
        self.free = np.arange(top + bottom + 2) >= len(known)
        self.free[-1] = False
        for _ in range(10):
            slopes = self.slopes(np.ones(len(points), int))
            target = -slopes[:, ~self.free] @ self.coefficients[~self.free]
            orthogonal, triangle = orthogonalise(slopes[:, self.free])
            self.coefficients[self.free] = solve(triangle, orthogonal.T @ target)

    def error(self):
        """Return the relative error at all points."""
        numerator = np.polyval(self.coefficients[self.top :: -1], self.points)
        denominator = np.polyval(self.coefficients[: self.top : -1], self.points)
        return numerator / (denominator * self.values) - 1

    def slopes(self, ratio):
        """Return the slopes of the error, given the ratio of quotient and values."""
        denominator = np.polyval(self.coefficients[: self.top : -1], self.points)
        slopes = self.points[:, None] ** self.exponents / denominator[:, None]
        slopes[:, : self.top + 1] /= self.values[:, None]
        slopes[:, self.top + 1 :] *= -ratio[:, None]
        return slopes

    def improve(self):
        """Make the largest error as small as the free coefficients allow."""
        best, gain = np.abs(self.error()).max(), 0
        while gain < 0.999:
            error = self.error()
            orthogonal, triangle = orthogonalise(self.slopes(error + 1)[:, self.free])
            error, size = (error / best).astype(float), np.abs(orthogonal).max()
            matrix = (orthogonal / size).astype(float)
            rows = np.pad(np.vstack([matrix, -matrix]), ((0, 0), (0, 1)), constant_values=-1)
            goal, bound = np.eye(rows.shape[1])[-1], np.append(-error, error)
            step = linprog(goal, rows, bound, bounds=(None, None)).x[:-1]
            step = solve(triangle, to_real(step)) * best / size
            previous, gain = self.coefficients[self.free], 1
            while gain >= 1 and np.abs(step).max() > 1e-40:
                self.coefficients[self.free] = previous + step
                step, gain = step / 4, np.abs(self.error()).max() / best
            best *= gain

    def round(self, kind):
        """Round the free coefficients to the given format."""
        exact = self.coefficients[self.free]
        nearest = exact.astype(kind)
        units = to_real(np.spacing(np.abs(nearest)).astype(float))
        offset = (exact - to_real(nearest.astype(float))) / units
        slopes = self.slopes(self.error() + 1)[:, self.free]
        basis = orthogonalise(slopes * units)[1]
        chosen = exact + units * (nearest_lattice_point(basis, offset) - offset)
        self.coefficients[self.free] = to_real(chosen.astype(kind).astype(float))


def orthogonalise(matrix):
    """Return an orthonormal and an upper triangular factor of the matrix."""
    orthogonal = matrix.copy()
    triangle = to_real(np.zeros((matrix.shape[1], matrix.shape[1])))
    for k in range(matrix.shape[1]):
        for j in range(k):
            triangle[j, k] = orthogonal[:, j] @ orthogonal[:, k]
            orthogonal[:, k] -= triangle[j, k] * orthogonal[:, j]
        triangle[k, k] = mpmath.sqrt(orthogonal[:, k] @ orthogonal[:, k])
        orthogonal[:, k] /= triangle[k, k]
    return orthogonal, triangle


def solve(upper, target, choose=mpmath.mpf):
    """Solve an upper triangular system, passing each unknown through `choose`."""
    result = target.copy()
    for k in range(len(target))[::-1]:
        result[k] = choose(result[k] / upper[k, k])
        result[:k] -= upper[:k, k] * result[k]
    return result


def nearest_lattice_point(basis, target):
    """Return integers x that make basis @ (x - target) small."""
    image, k = basis @ target, 1
    work = np.vstack([basis, to_real(np.eye(len(target)))])  # reduced basis, its change
    while k < len(target):
        triangle = np.linalg.qr(work[: len(target)].astype(float), mode="r")
        for j in range(k - 1, -1, -1):
            factor = np.rint(triangle[j, k] / triangle[j, j])
            triangle[:, k] -= factor * triangle[:, j]
            work[:, k] -= mpmath.mpf(factor) * work[:, j]
        if swap := np.hypot(*triangle[k - 1 : k + 1, k]) < 0.99 * abs(triangle[k - 1, k - 1]):
            work[:, [k - 1, k]] = work[:, [k, k - 1]]
        k = max(k - 1, 1) if swap else k + 1
    orthogonal, triangle = orthogonalise(work[: len(target)])
    return work[len(target) :] @ solve(triangle, orthogonal.T @ image, mpmath.nint)


def normal_ratio(z, shift, center):
    """Return 2 (t + shift) exp(t^2/2) Q(t) at the t whose shift / (t + shift) is z + center."""
    t = shift / (z + center) - shift
    return mpmath.exp(t * t / 2) * mpmath.erfc(t / mpmath.sqrt(2)) * (t + shift)


def exp_points(count, limit=0.347):
    """Return Chebyshev points in [-limit, limit]."""
    return limit * to_real(np.cos(np.linspace(0, np.pi, count)))


def normal_points(count, shift, center, limit):
    """Return Chebyshev points in z for t from 0 to the limit."""
    low = mpmath.mpf(shift) / (limit + shift)
    return low + (1 - low) * (1 + exp_points(count, 1)) / 2 - center


def show(name, function, grid, kind, *shape):
    """Fit, round, measure the error on other points, and print Python tuples."""
    value = np.frompyfunc(function, 1, 1)
    fit = Fit(grid(200), value(grid(200)), *shape)
    fit.improve()
    fit.round(kind)
    fit.points, fit.values = grid(2000), value(grid(2000))
    error = float(mpmath.log(np.abs(fit.error()).max(), 2))
    print(f"# {name}, {kind.__name__}: largest relative error 2^{error:.2f}")
    for part in np.split(fit.coefficients.astype(float), [fit.top + 1]):
        print("(", *(f"    {c!r},  # {c.hex()}" for c in part.tolist()), ")", sep="\n")


if __name__ == "__main__":
    show("EXP", mpmath.exp, exp_points, np.float32, 6, 0, (1, 1))
    show("EXP", mpmath.exp, exp_points, np.float64, 11, 0, (1, 1))
    for kind, degree, shift, center, limit in ((np.float32, 11, 1.5, 0.625, 14.5), (np.float64, 34, 1.5, 0.5, 39.0)):
        ratio = partial(normal_ratio, shift=shift, center=center)
        grid = partial(normal_points, shift=shift, center=center, limit=limit)
        show("NORMAL_TAIL", ratio, grid, kind, degree, 0)
