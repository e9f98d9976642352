#!/usr/bin/env python3
"""The forecaster beside others on the same series: the largest demand of the next interval, foreseen as it begins.

    compare.py QUANTILES.csv [--days 2] [--interval 240]

QUANTILES.csv is the output of the example `quantiles`. The others see the same intervals: Dynamo's load predictors, as its
planner runs them (one value in, one value out), and augurs' MSTL with ETS, fitted anew on the last seven days each hour's
worth of intervals and moved along by what came since. The last days are scored: mean absolute error of the point forecast
(our median), and the pinball loss at .95 (of the last value and Dynamo's points too: they are all these have).
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


def dynamo_predictors():
    """Dynamo's module of predictors, without the runtime that it is shipped for: it takes only its logging from there."""
    logging.disable(logging.WARNING)
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


def online(name, predictor, values, scored_from, warm):
    """One-step forecasts of the scored intervals; only the last `warm` values before them are learned from."""
    for value in values[scored_from - warm:scored_from]:
        predictor.add_data_point(value)
    found = []
    for value in tqdm.tqdm(values[scored_from:], name):
        found.append(float(predictor.predict_next()))
        predictor.add_data_point(value)
    return found


def mstl(values, scored_from, interval):
    """augurs' MSTL with daily season: point and upper 90 % bound, which is the .95 quantile."""
    import augurs
    import numpy

    day, week, every = DAY_SECONDS // interval, WEEK_DAYS * DAY_SECONDS // interval, max(1, 3600 // interval)
    points, upper = [], []
    for begin in tqdm.tqdm(range(scored_from, len(values), every), "augurs"):
        model = augurs.MSTL.ets([day])
        past = numpy.array(values[max(0, begin - week):begin])
        model.fit(past)
        forecast = model.predict(every, 0.9)
        count = min(every, len(values) - begin)
        points += list(forecast.point()[:count])
        upper += list(forecast.upper()[:count])
    return points, upper


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("quantiles", type=pathlib.Path)
    parser.add_argument("--days", type=float, default=2, help="days to score, at the end of the series (default 2)")
    parser.add_argument("--interval", type=int, default=240, help="seconds of an interval (default 240)")
    options = parser.parse_args()
    rows = [[float(cell) for cell in row] for row in csv.reader(options.quantiles.open())]
    values = [row[1] for row in rows]
    scored_from = len(values) - int(options.days * DAY_SECONDS / options.interval)
    if scored_from < 3 * DAY_SECONDS // options.interval:
        sys.exit(f"{options.quantiles}: fewer than three days remain to learn from; lower --days")
    truth = values[scored_from:]

    predictors, settings = dynamo_predictors(), Settings(options.interval)
    day = DAY_SECONDS // options.interval
    forecasts = {"ours": ([row[2] for row in rows[scored_from:]], [row[4] for row in rows[scored_from:]])}
    # ARIMA is fitted once by Dynamo and then updated, each update a fit: a day of past is what it can bear.
    for name, kind, warm in [("constant", "ConstantPredictor", 1), ("Kalman", "KalmanPredictor", 7 * day),
                             ("ARIMA", "ARIMAPredictor", day), ("Prophet", "ProphetPredictor", 50)]:
        warm = min(warm, scored_from)
        found = online(f"Dynamo {name}", getattr(predictors, kind)(settings), values, scored_from, warm)
        forecasts[f"Dynamo: {name}"] = (found, found)
    forecasts["augurs: MSTL, ETS"] = mstl(values, scored_from, options.interval)

    def pinball(level, value, forecast):
        return level * (value - forecast) if value > forecast else (1 - level) * (forecast - value)

    print("| forecaster | mean absolute error, replicas | pinball loss at .95 | covered by .95, % |\n|---|---|---|---|")
    for name, (points, upper) in forecasts.items():
        error = sum(abs(value - point) for value, point in zip(truth, points)) / len(truth)
        loss = sum(pinball(0.95, value, bound) for value, bound in zip(truth, upper)) / len(truth)
        covered = 100 * sum(value <= bound for value, bound in zip(truth, upper)) / len(truth)
        print(f"| {name} | {error:.3f} | {loss:.3f} | {covered:.1f} |")


if __name__ == "__main__":
    main()
