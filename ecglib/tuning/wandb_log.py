"""Trials of a search as runs of Weights & Biases: a group a search, a run a trial, a step an epoch."""

from __future__ import annotations

import os
from typing import Any

from ecglib.errors import UserError
from ecglib.tuning.search import Search, Trial
from ecglib.tuning.space import OPTION, Values


def library() -> Any:
    """W&B, logged in where it is to send. A `UserError` where it is not installed, or there is no key and nobody to ask
    for one."""
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")  # read when it is imported
    try:
        import wandb
    except ImportError:
        do = 'pip install "ecglib-book[wandb]"'
        raise UserError("--wandb", "wandb is not installed", "the extra wandb", do) from None
    if wandb.setup().settings.mode in ("online", "shared"):
        try:
            wandb.login()
        except wandb.Error as error:
            do = "wandb login, or WANDB_MODE=offline, which sends nothing"
            raise UserError("--wandb", str(error), do=do) from None
    return wandb


class Log:
    """Where trials are logged that ended, each once, also of a search that was gone on with.

    `WANDB_MODE=offline` writes below the search's folder, or `WANDB_DIR`, and sends nothing.
    """

    def __init__(self, search: Search, project: str) -> None:
        self.wandb, self.search, self.project = library(), search, project
        self.kept = search.folder / "wandb.txt"
        lines = self.kept.read_text(encoding="utf-8").splitlines() if self.kept.is_file() else []
        self.seen = set(lines)

    def log(self, trial: Trial) -> None:
        """Log a trial that has ended, unless it was logged before. Errors are those of W&B."""
        known = f"{self.project}/{trial.number}"
        if known in self.seen:
            return
        self._run(trial)
        self.seen.add(known)
        with self.kept.open("a", encoding="utf-8") as file:
            file.write(f"{known}\n")

    def _run(self, trial: Trial) -> None:
        quiet = self.wandb.Settings(
            console="off", silent=True, disable_code=True, disable_git=True, x_disable_meta=True,
            x_disable_stats=True, x_disable_machine_info=True, x_save_requirements=False,
        )  # fmt: skip
        run = self.wandb.init(
            project=self.project, group=self.search.name, name=f"{self.search.name} {trial.number}",
            reinit="create_new",
            dir=None if "WANDB_DIR" in os.environ else str(self.search.folder), settings=quiet,
            config={"base": self.search.asked.base, **config_of(self.search.asked.fixed, trial.drawn)},
        )  # fmt: skip
        metric = self.search.asked.metric
        for epoch in trial.curve:
            run.log({metric: epoch.value, f"best_{metric}": epoch.best, "seconds": epoch.seconds}, step=epoch.epoch)
        run.summary.update({"state": trial.state, "why": trial.why, "trial": trial.number})
        run.finish(exit_code=1 if trial.state == "failed" else 0)


def config_of(fixed: Values, drawn: Values) -> Values:
    """The parameters of a trial that differ from the base's, options of the model within `model_options`."""
    options = {name.removeprefix(OPTION): value for name, value in drawn.items() if name.startswith(OPTION)}
    values = fixed | {name: value for name, value in drawn.items() if not name.startswith(OPTION)}
    if options:
        values["model_options"] = fixed.get("model_options", {}) | options
    return values
