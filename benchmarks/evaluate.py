"""Seconds that `evaluate` takes beyond the network's forward pass for 100,000 predictions of two classes: decision, all figures
with their intervals, curves, three subgroups, tables, metrics.json and report.html, without pictures. The promise: under 20 s on
two cores. The reference is a stratified bootstrap of
scikit-learn's own figures, as one would write it by hand, in one thread; its time is that of 20 draws times 50.
"""

import argparse
import dataclasses
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import expit


def make_predictions(images: int, seed: int) -> tuple[pd.DataFrame, np.ndarray, np.ndarray]:
    """Return a test table, raw probabilities (N, 2), and pooled features' scores (N,)."""
    random = np.random.default_rng(seed)
    logits = 2 * random.normal(size=images)
    targets = (random.random(images) < expit(logits)).astype(np.int64)
    names = [f"{target}/{number:06d}.png" for number, target in enumerate(targets)]
    table = pd.DataFrame({"path": names, "image_name": names, "target": targets, "kind": random.choice(list("abc"), images)})
    ones = expit(1.3 * logits)
    return table.assign(sha256="", split="test"), np.stack([1 - ones, ones], axis=1), random.random(images)


def measure(images: int) -> tuple[float, dict[str, Any]]:
    from diptych.evaluation.judge import JudgeOptions, Predictions, judge
    from diptych.evaluation.provenance import describe_data, describe_run
    from diptych.evaluation.report_page import render_report
    from diptych.inference.choosing import choose_decision
    from diptych.inference.prediction_table import with_predictions
    from diptych.settings.config import Config
    from diptych.storage.atomic import write_json, write_table, write_text
    from diptych.storage.run_dir import RunDir

    table, probabilities, scores = make_predictions(images, 0)
    validation, shown, _ = make_predictions(images, 1)
    with tempfile.TemporaryDirectory() as folder:
        run, config, names = RunDir(Path(folder)), Config(), ("0", "1")
        started = time.perf_counter()
        decision = choose_decision(validation["target"].to_numpy(), shown, "youden", "error:0.1")
        columns = {"kind": table["kind"].to_numpy(str)}
        predictions = Predictions(names, table["target"].to_numpy(), probabilities, tuple(table["path"]), columns=columns)
        report = judge(predictions, JudgeOptions(decision, ["kind"]))
        data = describe_data(run, config, table, names, False)
        report = dataclasses.replace(report, data=data, run=describe_run(run, config))
        write_table(run.predictions, with_predictions(table, probabilities, names, decision, scores, 0.95))
        write_json(run.metrics, report.to_json())
        write_text(run.report, render_report(run, report, {}))
        return time.perf_counter() - started, report.to_json()


def reference(images: int, draws: int) -> float:
    """Seconds of scikit-learn's figures under a bootstrap, estimated from 20 draws."""
    from sklearn import metrics

    table, probabilities, _ = make_predictions(images, 0)
    targets, random = table["target"].to_numpy(), np.random.default_rng(0)
    tried = 20
    started = time.perf_counter()
    for _ in range(tried):
        rows = np.concatenate([random.choice(found, len(found)) for found in (np.flatnonzero(targets == k) for k in (0, 1))])
        drawn, ones = targets[rows], probabilities[rows, 1]
        predicted = (ones >= 0.5).astype(np.int64)
        metrics.precision_recall_fscore_support(drawn, predicted, average="binary")
        metrics.matthews_corrcoef(drawn, predicted)
        metrics.balanced_accuracy_score(drawn, predicted)
        metrics.roc_auc_score(drawn, ones)
        metrics.average_precision_score(drawn, ones)
        metrics.log_loss(drawn, ones)
        metrics.brier_score_loss(drawn, ones)
    return (time.perf_counter() - started) * draws / tried


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=100_000)
    parser.add_argument("--draws", type=int, default=1000)
    arguments = parser.parse_args()
    from diptych.machine.backend import load_backend

    load_backend()
    value, figures = measure(arguments.images)
    other = reference(arguments.images, arguments.draws)
    result = {"benchmark": "evaluate", "value": value, "reference": other, "ratio": value / other, "unit": "s"}
    print(json.dumps(result | vars(arguments) | {"roc_auc": figures["roc_auc"], "interval": figures["intervals"]["roc_auc"]}))


if __name__ == "__main__":
    main()
