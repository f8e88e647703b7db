"""The Optuna study of a search, in SQLite: finished trials, the next one to try, and pruning."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from diptych.errors import ConfigError
from diptych.rng import generator
from diptych.settings.config import Config
from diptych.settings.sources import to_toml
from diptych.storage.atomic import write_table, write_text
from diptych.storage.history import lowest_loss, read_epochs
from diptych.storage.run_dir import RunDir
from diptych.tuning.search_space import Searched, with_values

try:
    import optuna
    from optuna.trial import FrozenTrial, Trial, TrialState
except ImportError as error:
    raise ConfigError("diptych tune needs Optuna: pip install 'diptych[tune]', or pip install optuna.") from error

log = logging.getLogger(__name__)

Outcome = Literal["finished", "pruned", "failed"]
STATES: Mapping[Outcome, TrialState] = {
    "finished": TrialState.COMPLETE,
    "pruned": TrialState.PRUNED,
    "failed": TrialState.FAIL,
}
WORDS = {state: outcome for outcome, state in STATES.items()}
# With fewer finished trials, pruning by earlier ones would rest on chance.
RANDOM_TRIALS = 4
# An early epoch says little: nothing is pruned in the first quarter of a trial.
UNPRUNED_SHARE = 0.25


@dataclass(frozen=True)
class Search:
    """A search.

    Attributes:
        root: its folder.
        config: what is the same in all trials.
        space: what is varied.
        study: Optuna's record of the trials.
    """

    root: Path
    config: Config
    space: tuple[Searched, ...]
    study: optuna.Study

    def run_of(self, number: int) -> RunDir:
        """Return the run of a trial, counted from 0."""
        return RunDir(self.root / "trials" / f"trial-{number + 1:03d}")

    def trials(self, *states: TrialState) -> list[FrozenTrial]:
        """Return the trials in some states, or in all."""
        return self.study.get_trials(deepcopy=False, states=states or None)

    @property
    def ended(self) -> list[int]:
        """The numbers of the trials that have ended, counted from 0."""
        return [trial.number for trial in self.trials(*WORDS)]

    @property
    def best(self) -> FrozenTrial | None:
        """The finished trial with the lowest validation loss; of equals the first."""
        return min(self.trials(TrialState.COMPLETE), key=lambda trial: (trial.value, trial.number), default=None)


def open_search(root: Path, config: Config, space: tuple[Searched, ...], unpruned_trials: int) -> Search:
    """Open the record of a search, or begin it with the user's own settings as the first trial."""
    unpruned = max(1, round(UNPRUNED_SHARE * config.training.epochs))
    # By the median, for 20 trials are too few for the brackets of Hyperband (Li et al., JMLR 2018).
    pruner = optuna.pruners.MedianPruner(unpruned_trials, n_warmup_steps=unpruned)
    storage = f"sqlite:///{(root / 'study.db').resolve()}"
    study = optuna.create_study(storage=storage, study_name="diptych", pruner=pruner, direction="minimize", load_if_exists=True)
    if not study.get_trials(deepcopy=False):
        study.enqueue_trial({searched.key: searched.own_value(config) for searched in space})
    return Search(root, config, space, study)


def next_trial(search: Search, trials: int) -> Trial | None:
    """Return the trial that was left unfinished, or a new one; None where there are enough."""
    begun = [trial for trial in search.trials() if trial.state != TrialState.WAITING]
    unfinished = [trial for trial in begun if trial.state == TrialState.RUNNING]
    number = unfinished[0].number if unfinished else len(begun)
    # Seeded anew for each trial, so that a search that was stopped draws what it would have drawn. TPE: Bergstra et al.,
    # NeurIPS 2011.
    seed = int(generator(search.config.training.seed, "search", number).integers(2**31))
    search.study.sampler = optuna.samplers.TPESampler(n_startup_trials=RANDOM_TRIALS, seed=seed)
    if unfinished:
        return Trial(search.study, unfinished[0]._trial_id)
    return search.study.ask() if number < trials else None


def values_of(search: Search, trial: Trial) -> dict[str, Any]:
    """Draw the values of a trial, by their keys; of one that was left unfinished, those that were drawn then."""
    values: dict[str, Any] = {}
    for searched in search.space:
        if searched.choices:
            values[searched.key] = trial.suggest_categorical(searched.key, searched.choices)
        else:
            values[searched.key] = trial.suggest_float(searched.key, searched.low, searched.high, log=searched.log)
    return rounded(values)


def rounded(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return values as they are used: floats to three digits, which is finer than a small search can tell apart."""
    return {key: float(f"{value:.3g}") if isinstance(value, float) else value for key, value in values.items()}


def report(search: Search, trial: Trial) -> bool:
    """Tell Optuna the validation loss of each epoch so far, and say whether the trial shall end early."""
    known, epochs = search.trials()[trial.number].intermediate_values, search.config.training.epochs
    pruned = bool(known) and max(known) < epochs and trial.should_prune()
    for epoch, loss in read_epochs(search.run_of(trial.number))[["epoch", "val_loss"]].itertuples(index=False):
        if epoch not in known:
            trial.report(float(loss), int(epoch))
            pruned = pruned or (epoch < epochs and trial.should_prune())
    return pruned


def tell(search: Search, trial: Trial, outcome: Outcome, message: str) -> tuple[Outcome, str]:
    """Record the outcome of a trial.

    Returns:
        What became of it, and its figures, in words.
    """
    epochs = read_epochs(search.run_of(trial.number))
    lowest = lowest_loss(epochs, search.config.data.image_size)
    if outcome == "finished" and lowest is None:
        outcome, message = "failed", "it ended before an epoch at the full image size"
    figures = {} if lowest is None else {key: float(lowest[key]) for key in ("epoch", "val_loss", "val_accuracy")}
    facts = {**figures, "epochs": len(epochs), "seconds": float(epochs["seconds"].sum()), "message": message}
    for key, value in facts.items():
        trial.set_user_attr(key, value)
    search.study.tell(trial, figures["val_loss"] if outcome == "finished" else None, STATES[outcome])
    write_results(search)
    reached = f": validation loss {figures['val_loss']:.4f}, accuracy {figures['val_accuracy']:.1%}" if figures else ""
    return outcome, f"after {len(epochs)} epochs{reached}{f' ({message})' if message else ''}"


def write_results(search: Search) -> None:
    """Write trials.csv, a row for each trial that has ended, the best one first, and best.toml."""
    table = overview(search)
    write_table(search.root / "trials.csv", table)
    if search.best is not None:
        best = with_values(search.config, search.space, rounded(search.best.params))
        write_text(search.root / "best.toml", to_toml(best))


def overview(search: Search) -> pd.DataFrame:
    """Lay out the trials that have ended: the finished ones by their validation loss, then the others."""
    columns = ["trial", "state", "val_loss", "val_accuracy", "epoch", "epochs", "seconds"]
    columns += [*(searched.key for searched in search.space), "message"]
    ended = search.trials(*WORDS)
    rows = [{"trial": t.number + 1, "state": WORDS[t.state], **t.user_attrs, **rounded(t.params)} for t in ended]
    table = pd.DataFrame(rows, columns=columns).sort_values(["val_loss", "trial"], kind="stable")
    return table.sort_values("state", key=lambda states: states != "finished", kind="stable", ignore_index=True)
