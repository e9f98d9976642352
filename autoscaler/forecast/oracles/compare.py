#!/usr/bin/env python3
"""The forecaster beside others on the same series: the largest demand of the next interval, foreseen as it begins.

    compare.py QUANTILES.csv... [--days 7] [--every 7]

QUANTILES.csv is the output of the example `quantiles`: intervals of the start-up time, or of the series' step where that is
longer. The others see the same intervals: Dynamo's load predictors as its planner runs them (one value in, one value out),
and augurs' MSTL with ETS, fitted anew on the last seven days each hour and moved along by what came since.

All see every interval of the last days, and are judged on one in seven of them, the same for all: Dynamo's ARIMA and Prophet
fit anew for each forecast. Seven shares no factor with the intervals of a day, so every time of day is judged. Judged are the
mean absolute error of the point forecast (our median) and the pinball loss at .95. Dynamo's predictors have no quantiles, only
points; so the loss at .95 is also given for each point times the one factor that would have been best over the judged
intervals. That is tuned in hindsight; ours is as it is.
"""

import argparse
import csv
import importlib.util
import logging
import pathlib
import sys
import sysconfig
import types

import tqdm

DAY_SECONDS = 86_400
WEEK_DAYS = 7
LEAST_TRAINING_DAYS = 3
FACTORS = [step / 50 for step in range(25, 501)]


def dynamo_predictors():
    """Dynamo's module of predictors, without the runtime that it is shipped for: it takes only its logging from there."""
    logging.disable(logging.ERROR)
    for name, attributes in {
        "dynamo.runtime.logging": {"configure_dynamo_logging": lambda: None},
        "dynamo.planner.config.planner_config": {"PlannerConfig": object},
    }.items():
        module = types.ModuleType(name)
        vars(module).update(attributes)
        sys.modules[name] = module
    path = pathlib.Path(sysconfig.get_paths()["purelib"]) / "dynamo/planner/core/load/predictors.py"
    spec = importlib.util.spec_from_file_location("dynamo_predictors", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Settings:
    """The defaults of Dynamo's planner, as version 1.6 ships them."""

    load_predictor_log1p = False
    prophet_window_size = 50
    kalman_q_level = 1.0
    kalman_q_trend = 0.1
    kalman_r = 10.0
    kalman_min_points = 5

    def __init__(self, interval):
        self.throughput_adjustment_interval_seconds = interval


def online(name, predictor, values, judged, warm):
    """One-step forecasts of the judged intervals; of what was before the first, only the last `warm` values are seen."""
    seen = judged[0] - warm
    found = []
    for index in tqdm.tqdm(judged, name):
        for value in values[seen:index]:
            predictor.add_data_point(value)
        seen = index
        found.append(float(predictor.predict_next()))
    return found


def mstl(name, values, judged, interval):
    """augurs' MSTL with daily season: point and upper 90 % bound, which is the .95 quantile."""
    import augurs
    import numpy

    day, week, every = DAY_SECONDS // interval, WEEK_DAYS * DAY_SECONDS // interval, max(1, 3600 // interval)
    fitted_at, forecast = None, None
    points, upper = [], []
    for index in tqdm.tqdm(judged, name):
        begin = judged[0] + (index - judged[0]) // every * every
        if begin != fitted_at:
            model = augurs.MSTL.ets([day])
            model.fit(numpy.array(values[max(0, begin - week):begin]))
            fitted_at, forecast = begin, model.predict(every, 0.9)
        points.append(float(forecast.point()[index - begin]))
        upper.append(float(forecast.upper()[index - begin]))
    return points, upper


def pinball(truth, bounds, level=0.95):
    """Mean loss of a quantile forecast."""
    losses = (level * (value - bound) if value > bound else (1 - level) * (bound - value) for value, bound in zip(truth, bounds))
    return sum(losses) / len(truth)


class Judged:
    """What one forecaster reached on one series."""

    def __init__(self, truth, points, upper):
        self.error = sum(abs(value - point) for value, point in zip(truth, points)) / len(truth)
        self.loss = pinball(truth, upper)
        self.covered = sum(value <= bound for value, bound in zip(truth, upper)) / len(truth)
        self.tuned_loss, self.factor = min((pinball(truth, [factor * p for p in points]), factor) for factor in FACTORS)


def compare(path, options):
    """Every forecaster on one series, by name, ours first."""
    rows = [[float(cell) for cell in row] for row in csv.reader(path.open())]
    interval = round(rows[1][0] - rows[0][0])
    day = DAY_SECONDS // interval
    values = [row[1] for row in rows]
    first = len(values) - int(options.days * day)
    if first < LEAST_TRAINING_DAYS * day:
        sys.exit(f"{path}: fewer than {LEAST_TRAINING_DAYS} days remain to learn from; lower --days")
    judged = list(range(first, len(values), options.every))
    truth = [values[index] for index in judged]

    predictors, settings = dynamo_predictors(), Settings(interval)
    found = {"ours": Judged(truth, [rows[index][2] for index in judged], [rows[index][4] for index in judged])}
    # Dynamo fits ARIMA once, on what it has then, and updates it; a day of past before the first forecast is what it gets.
    for name, kind, warm in [("constant", "ConstantPredictor", 1), ("Kalman", "KalmanPredictor", WEEK_DAYS * day),
                             ("ARIMA", "ARIMAPredictor", day), ("Prophet", "ProphetPredictor", 50)]:
        name = f"Dynamo: {name}"
        points = online(f"{path.stem}, {name}", getattr(predictors, kind)(settings), values, judged, min(warm, first))
        found[name] = Judged(truth, points, points)
    name = "augurs: MSTL, ETS"
    found[name] = Judged(truth, *mstl(f"{path.stem}, {name}", values, judged, interval))
    print(f"\n{path.stem}: {len(judged)} of the {len(values) - first} intervals of {interval} s in the last {options.days:g} days\n")
    print("| forecaster | mean absolute error, replicas | pinball loss at .95 | covered by .95, % | loss with the best factor |\n"
          "|---|---|---|---|---|")
    for name, it in found.items():
        print(f"| {name} | {it.error:.3f} | {it.loss:.3f} | {100 * it.covered:.1f} | {it.tuned_loss:.3f} (× {it.factor:.2f}) |")
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("quantiles", type=pathlib.Path, nargs="+")
    parser.add_argument("--days", type=float, default=7, help="days to judge, at the end of the series (default 7)")
    parser.add_argument("--every", type=int, default=7, help="judge one in so many intervals (default 7)")
    options = parser.parse_args()
    found = {path.stem: compare(path, options) for path in options.quantiles}

    print("\nours ÷ theirs: error of the point, loss at .95, loss at .95 with their best factor\n")
    print("| forecaster |", " | ".join(found), "|")
    print("|---" * (len(found) + 1) + "|")
    for name in next(iter(found.values())):
        if name != "ours":
            pairs = [(judged["ours"], judged[name]) for judged in found.values()]
            cells = [f"{our.error / it.error:.2f}, {our.loss / it.loss:.2f}, {our.loss / it.tuned_loss:.2f}" for our, it in pairs]
            print(f"| {name} |", " | ".join(cells), "|")


if __name__ == "__main__":
    main()
