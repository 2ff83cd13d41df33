"""Means and orders are accepted and rejected at the stated rates."""

import numpy as np
import pytest

from companion.claims import ClaimFailed, check
from companion.claims.evidence import critical_z, z_scores

STEPS = np.array([0.1, 0.05, 0.025, 0.0125])
HALVED = {"order one": 1.0, "Euler": STEPS}


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape)


def refused(words: str) -> "pytest.RaisesExc":
    return pytest.raises(ClaimFailed, match=f"^thm-test: .*{words}")


def test_unbiased_samples_pass_and_other_truths_and_samples_are_rejected() -> None:
    samples, truth = normal(4000, 2), np.array([1.0, -2.0])
    samples = samples + truth
    wrong = {"sign": -truth, "biased": samples + 0.2, "one off": truth - np.array([0, 0.1])}
    verdict = check("thm-test").unbiased(samples, truth, wrong=wrong)
    assert verdict.worst.error < verdict.worst.allowed == critical_z(1e-4, 2)
    assert verdict.rejected["sign"].error == pytest.approx(4 * np.sqrt(4000), rel=0.1)
    assert "false-alarm rate ≤ 1e-04" in str(verdict)
    assert "standard error 0.016" in str(verdict)  # 1 / sqrt(4000)


@pytest.mark.parametrize("bias", [0.2, -0.2])
def test_a_bias_of_six_standard_errors_is_found(bias: float) -> None:
    for seed in range(20):
        samples = normal(1000, seed=seed) + bias  # 6.3 standard errors, critical |z| is 4.06
        with pytest.raises(ClaimFailed, match="standard errors"):
            check("thm-test").unbiased(samples, 0.0, wrong={"a": 1.0, "b": -1.0})


def test_a_wrong_truth_within_the_noise_is_refused() -> None:
    with refused("'too near' is not rejected.*cannot fail"):
        check("thm-test").unbiased(normal(1000), 0.0, wrong={"far": 1.0, "too near": 0.05})


@pytest.mark.parametrize(("law", "mean"), [("normal", 0.0), ("exponential", 1.0)])
def test_the_false_alarm_rate_is_at_most_its_level(law: str, mean: float) -> None:
    level, n = 0.01, 600  # the exponential's skewness of 2 is let in from n = 564 on
    rng, z = np.random.default_rng(1), []
    for _ in range(20):
        samples = getattr(rng, f"standard_{law}")((n, 1000))
        z.append(z_scores(samples, np.full(1000, mean))[0])
    for entries in (1, 5):
        largest = np.abs(z).reshape(-1, entries).max(axis=1)
        rate = (largest > critical_z(level, entries)).mean()
        error = np.sqrt(level * (1 - level) / len(largest))
        assert rate <= level + 4 * error
        assert rate >= level / 4  # half of the level is kept for skewness, no more is given away


def test_samples_too_skewed_for_the_normal_law_are_refused() -> None:
    rng = np.random.default_rng(0)
    wrong = {"a": 2.0, "b": 0.0}
    with refused("too skewed for n = 1000: take"):
        check("thm-test").unbiased(rng.exponential(size=1000), 1.0, wrong=wrong)
    check("thm-test").unbiased(rng.exponential(size=4000), 1.0, wrong=wrong)
    with refused("too skewed"):
        check("thm-test").unbiased(rng.standard_cauchy(100_000), 0.0, wrong=wrong)


def test_an_entry_that_never_varies_must_be_exact() -> None:
    samples = np.stack([normal(2000), np.full(2000, 0.1)], axis=1)
    truth = np.array([0.0, 0.1])
    wrong = {"first": np.array([1.0, 0.1]), "second": np.array([0.0, 0.1 + 1e-6])}
    assert (
        check("thm-test").unbiased(samples, truth, wrong=wrong).rejected["second"].error == np.inf
    )
    with refused("off by inf"):
        check("thm-test").unbiased(samples, wrong["second"], wrong={"a": truth, "b": -truth})
    with refused("never vary"):
        check("thm-test").unbiased(np.ones(2000), 1.0, wrong={"a": 2.0, "b": 0.0})


@pytest.mark.parametrize("shape", [(999,), (1000, 1), ()])
def test_too_few_samples_or_another_shape_are_refused(shape: tuple[int, ...]) -> None:
    with refused("samples must be at least 1000 times"):
        check("thm-test").unbiased(normal(*shape), 0.0, wrong={"a": 1.0, "b": -1.0})
    with refused("'other shape' must be at least 1000 times"):
        wrong = {"a": 1.0, "other shape": normal(500)}
        check("thm-test").unbiased(normal(1000), 0.0, wrong=wrong)


def test_a_false_alarm_rate_above_one_in_ten_thousand_is_refused() -> None:
    with pytest.raises(ValueError, match=r"level 0\.05"):
        check("thm-test").unbiased(normal(1000), 0.0, wrong={"a": 1.0, "b": -1.0}, level=0.05)


def test_the_order_is_the_slope_and_other_orders_are_rejected() -> None:
    errors = 3 * STEPS**2 * (1 + 0.1 * STEPS)
    verdict = check("thm-test").order(STEPS, errors, 2, wrong=HALVED)
    assert verdict.worst.error < 0.01
    assert verdict.rejected["Euler"].error == pytest.approx(1)
    with refused("the order is 2.0.., not 3"):
        check("thm-test").order(STEPS, errors, 3, wrong=HALVED)
    for name, wrong in {"2.1": 2.1, "also two": 5 * STEPS**2}.items():
        with refused(f"'{name}' is not rejected"):
            check("thm-test").order(STEPS, errors, 2, wrong={**HALVED, name: wrong})


def test_errors_that_stop_falling_have_no_order() -> None:
    errors = np.array([1.0, 0.25, 0.02, 0.02])
    with refused("off any power"):
        check("thm-test").order(STEPS, errors, 2, wrong=HALVED, tolerance=0.25)


@pytest.mark.parametrize(
    "steps",
    [STEPS[:3], STEPS[[0, 0, 1, 3]], 1 + STEPS, -STEPS, STEPS * [0, 1, 1, 1], STEPS[:, None]],
)
def test_steps_that_cannot_show_a_slope_are_refused(steps: np.ndarray) -> None:
    with refused("steps must be 4 or more"):
        check("thm-test").order(steps, np.abs(steps), 1, wrong={"a": 2.0, "b": 3.0})


@pytest.mark.parametrize("bad", [0 * STEPS, -STEPS, STEPS[:3]])
def test_errors_without_a_logarithm_or_a_step_are_refused(bad: np.ndarray) -> None:
    with refused("errors (must be positive|has shape)"):
        check("thm-test").order(STEPS, bad, 2, wrong=HALVED)
    with refused("'bad' must be positive"):
        check("thm-test").order(STEPS, STEPS**2, 2, wrong={**HALVED, "bad": bad})


def test_a_tolerance_that_confuses_orders_is_refused() -> None:
    with pytest.raises(ValueError, match=r"tolerance 0\.5"):
        check("thm-test").order(STEPS, STEPS**2, 2, wrong=HALVED, tolerance=0.5)
